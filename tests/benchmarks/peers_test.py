"""Tests of `python -m benchmarks.peers` that need no PyTorch."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.cases import CASES, UNIT, data
from benchmarks.peers.competitors import COMPETITORS, VAEJAX
from benchmarks.peers.rounds import quiet, spread
from benchmarks.peers.vaejax_training import family, product_flops
from benchmarks.peers.worker import memory
from vaejax.core.game import init

TRAINED = sorted(set(CASES) - {"quantizer", "search"})


def dense(*widths):
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def conv(kernel, *channels):
    return sum((kernel**2 * a + 1) * b for a, b in itertools.pairwise(channels))


# Counted by hand from the architectures in the table.
PARAMETERS = {
    "mlp": dense(784, 512, 256, 32) + dense(16, 256, 512, 784),
    "small": dense(784, 128, 64, 16) + dense(8, 64, 128, 784),
    "tiny": dense(2, 32, 32, 4) + dense(2, 32, 32, 2),
    "conv": conv(4, 1, 32, 32, 64, 64) + dense(1024, 256, 20)
    + dense(10, 256, 1024) + conv(4, 64, 64, 32, 32, 1),
    "vqvae": conv(4, 3, 64, 128) + conv(3, 128, 128) + 4 * (conv(3, 128, 32) + conv(1, 32, 128))
    + conv(1, 128, 64) + conv(3, 64, 128) + conv(4, 128, 64, 3) + 512 * 64,
}  # fmt: skip
PARAMETERS["factor"] = PARAMETERS["conv"] + dense(10, *(1000,) * 6, 2)


@pytest.mark.parametrize("name", TRAINED)
def test_models_have_the_parameters_of_the_architecture_in_the_table(name):
    case = CASES[name]
    field = "vector" if len(case.shape) == 1 else "image" if len(case.shape) == 3 else "sequence"
    batch = {field: jax.ShapeDtypeStruct((case.batch, *case.shape), "float32")}
    params = jax.eval_shape(functools.partial(init, family(name)), jax.random.key(0), batch)
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    if name in PARAMETERS:
        assert size == PARAMETERS[name]
    else:  # as in PyTorch, whose LSTM has two biases
        assert size == {"kl": 954_567, "td_vae": 982_608 - 4 * 128, "lvae": 2_127_280}[name]


def test_every_case_has_vaejax_as_a_competitor():
    assert set(COMPETITORS) == set(CASES)
    assert all(VAEJAX in competitors for competitors in COMPETITORS.values())
    assert all(len(data(name)) % CASES[name].batch == 0 for name in CASES)


def test_ratios_are_computed_per_round():
    assert spread([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]) == [2.0, 1.0, 3.0]


def test_rounds_on_a_slow_machine_do_not_count():
    rounds = [(100.0, {"a": 1.0}), (60.0, {"a": 2.0}), (95.0, {"a": 3.0}), (89.0, {"a": 4.0})]
    assert quiet(rounds, 0.0) == ([{"a": 1.0}, {"a": 3.0}], 100.0)
    assert quiet(rounds, 106.0) == ([{"a": 1.0}], 100.0)
    assert quiet(rounds[1:], 150.0) == ([{"a": 3.0}, {"a": 4.0}], 95.0)  # all are slow


def test_the_table_names_the_fastest_of_each_group():
    def measured(group, ms):
        return {"whose": group, "parameters": 1, "seconds_to_start": 3.0, "ms_per_step": ms,
                "over_ours": [ms / 2, ms / 2, ms / 2]}  # fmt: skip

    ways = {VAEJAX: {**measured(VAEJAX, 2.0), "seconds_to_start_cached": 1.0}}
    ways["eager"], ways["pythae"] = measured("torch", 6.0), measured("pythae", 8.0)
    ways["eager"]["bytes"], ways[VAEJAX]["bytes"] = 3 * 2**20, 2**20
    ways["vaejax, a device for each core"] = measured("vaejax, tuned", 1.5)
    row = {"what": "a case", "ways": ways, f"best of {VAEJAX}": VAEJAX, "best of torch": "eager"}
    row["best of vaejax, tuned"] = "vaejax, a device for each core"
    row |= {"commit": "c", "rounds": 3, "rounds_in_all": 5}
    row |= {"product_flops": 1e8, "gigaflops": 100.0}  # 1 ms of 2
    record = {"device": "d", "processor": "p", "cores": 1, "jax": "j", "torch": "t",
              "seconds": 1.0, "cases": {"x": {**row, "best of pythae": "pythae"}}}  # fmt: skip
    last = peers.as_table(record).splitlines()[-1]
    assert last.startswith("| a case | 2 | 0.75 (0.75–0.75) | 3.00 (3.00–3.00), eager |  | 4.00 ")
    assert last.endswith("| 3.0, 1.0, 3.0 | 1, 3 | 50 | 3 of 5 | c |")


def test_products_of_a_perceptron_are_those_of_its_layers():
    """Three products for each layer and example, but none for the gradient of the data."""
    case = CASES["mlp"]
    sizes = (784, *case.hidden, 2 * case.latent), (case.latent, *case.hidden[::-1], 784)
    layers = [a * b for widths in sizes for a, b in itertools.pairwise(widths)]
    norms = 2 * sum(dense(*widths) for widths in sizes)  # of the gradient and of the update
    assert product_flops("mlp") == 2 * case.batch * (3 * sum(layers) - layers[0]) + 2 * norms


def test_memory_is_the_maximum_of_the_steps():
    def take_steps(steps):
        assert steps == UNIT
        np.ones(steps * 2**17).sum()  # 20 MiB, of which nothing is left

    needed = memory(take_steps, 0)
    if needed is None:
        pytest.skip("no /proc/self/clear_refs")
    again = memory(lambda steps: None, 0)
    assert 19 * 2**20 <= needed - again <= 25 * 2**20
