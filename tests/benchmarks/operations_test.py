"""Tests of the FLOPs and times of the operations of a compiled program."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import operations


@pytest.fixture(scope="module")
def compiled():
    """A loop of three iterations with a product and a strided convolution of its result."""

    def body(i, x):
        image = jnp.tanh(x @ x.T).reshape(1, 16, 16, 1)
        kernel = jnp.full((3, 3, 1, 5), 0.1) * x[0, 0]
        dims = ("NHWC", "HWIO", "NHWC")
        z = jax.lax.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=dims)
        return x + z.sum()

    run = jax.jit(lambda x: jax.lax.fori_loop(0, 3, body, x))
    return run.lower(jnp.ones((16, 64))).compile()


def test_flops_of_products_and_convolutions_equal_counts_by_hand(compiled):
    program = operations.operations(compiled.as_text()).values()
    flops = dict.fromkeys(("products", "convolutions", "other"), 0.0)
    for operation in program:
        flops[operation.kind] += operation.flops
    assert flops["products"] == 2 * 16 * 16 * 64
    assert flops["other"] == 0
    assert flops["convolutions"] == 2 * 8 * 8 * 5 * 9
    (product,) = (o for o in program if o.kind == "products")
    assert product.shape == "f32[16,16]"
    assert product.source.endswith("dot_general")


def test_times_are_summed_by_operation(tmp_path):
    events = [
        {"ph": "X", "name": "dot.1", "dur": 20.0},
        {"ph": "X", "name": "dot.1", "dur": 30.0},
        {"ph": "X", "name": "kernel", "dur": 7.0, "args": {"hlo_op": "add.2"}},
        {"ph": "X", "name": "while.3", "dur": 90.0},
        {"ph": "M", "name": "dot.1"},
    ]
    folder = tmp_path / "plugins"
    folder.mkdir()
    with gzip.open(folder / "host.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": events}, file)
    seconds = operations.seconds_by_operation(tmp_path, ["dot.1", "add.2", "mul.4"])
    assert seconds == pytest.approx({"dot.1": 50e-6, "add.2": 7e-6})
