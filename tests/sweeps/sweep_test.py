"""A sweep against its models trained alone, on other devices, and interrupted and resumed."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from vaejax import families
from vaejax.core.sharding import make_mesh
from vaejax.data.batches import batch_indices
from vaejax.data.readers.npz import from_arrays
from vaejax.optimizers.build import players
from vaejax.quantizers import vector
from vaejax.sweeps import Sweep, product, select
from vaejax.training import NotFiniteError, Settings, Trainer, fit

SHAPE = (4, 4, 1)
NETWORK = {"kind": "mlp", "hidden": (8,)}
PAIRS = [(0.5, 3e-4), (4.0, 1e-3)]


def settings_of(**changes):
    common = {"steps": 100, "batch_size": 8, "steps_per_dispatch": 20, "log_every": 50}
    return Settings(**common | {"checkpoint_every": 0} | changes)


def beta_vae(values):
    minimizes = {"nll": 1.0, "kl": values["beta"]}
    vae = {"minimizes": minimizes, "learning_rate": values["rate"], "optimizer": "adamw"}
    return families.beta_vae(SHAPE, players({"vae": vae}), latent_dim=2, network=NETWORK)


def vqvae(values):
    """With an EMA codebook and revival of unused codes."""
    vae = {"minimizes": {"nll": 1.0, "vq": values["beta"]}, "learning_rate": values["rate"]}
    book = {"optimizer": "ema_codebook", "decay": 0.9, "revive_below": 0.03}
    table = {"vae": vae, "codebook": {"minimizes": {"vq": 1.0}, **book}}
    sizes = {"quantizer": vector(8, 4), "likelihood": "bernoulli"}
    return families.vqvae(SHAPE, players(table), network=NETWORK, **sizes)


def factor_vae(values):
    vae = {"minimizes": {"nll": 1.0, "kl": 1.0, "tc": values["beta"]}, "clip_norm": 5.0}
    discriminator = {"minimizes": {"discriminator_loss": 1.0}, "learning_rate": 1e-3, "b1": 0.5}
    table = players(
        {"vae": {**vae, "learning_rate": values["rate"]}, "discriminator": discriminator}
    )
    networks = {"network": NETWORK, "discriminator": {"hidden": (8,)}}
    return families.factor_vae(SHAPE, table, latent_dim=2, **networks)


SLOW = pytest.mark.slow  # minutes of compilation in total
GRID = product({"beta": (0.5, 4.0), "rate": (3e-4, 1e-3)}, (0, 7))
ON_ONE = {"mesh": make_mesh(1), "binarize": "dynamic"}


@pytest.fixture(scope="module")
def grey():
    """40 grey images; with `grey(streamed=True)` they are not resident on the devices."""

    def make(streamed=False):
        pixels = np.random.RandomState(0).randint(0, 256, (40, *SHAPE)).astype(np.uint8)
        source = from_arrays(pixels, holdout=0)
        return dataclasses.replace(source, arrays=None) if streamed else source

    return make


def sweep_of(make, source, settings=None, grid=GRID, **options):
    return Sweep(make, grid, source, settings or settings_of(), **{**ON_ONE, **options})


def assert_close(actual, expected, atol=1e-5):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=atol, rtol=0)


def assert_same_bits(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(actual), jax.device_get(expected))


@pytest.fixture(scope="module")
def reference(grey):
    """The state of the β-VAEs after 100 steps, in one chunk on one device, on the host."""
    sweep = sweep_of(beta_vae, grey())
    return jax.device_get(fit(sweep, settings_of()).state)


@pytest.mark.parametrize(
    "make", [beta_vae, pytest.param(vqvae, marks=SLOW), pytest.param(factor_vae, marks=SLOW)]
)
def test_each_model_equals_the_same_model_trained_alone(make, grey, reference):
    settings = settings_of()
    state = reference if make is beta_vae else fit(sweep_of(make, grey()), settings).state
    for i in (6, 1) if make is beta_vae else (6,):
        assert (GRID.of(i), GRID.seeds[i]) == (
            {"beta": PAIRS[i // 4][0], "rate": (3e-4, 1e-3)[i // 2 % 2]},
            (0, 7)[i % 2],
        )
        trainer = Trainer(make(GRID.of(i)), grey(), settings, seed=int(GRID.seeds[i]), **ON_ONE)
        start, single = trainer.init(), fit(trainer, settings).state
        changes = [
            float(abs(a - b).max())
            for a, b in zip(*map(jax.tree.leaves, (start.params, single.params)), strict=True)
        ]
        assert min(changes) > 1e-3  # a hundred times the tolerance
        assert_close(select(state, i).params, single.params)
        assert_close(select(state, i).opt_state, single.opt_state, atol=1e-4)


@pytest.mark.parametrize(
    ("devices", "chunk"),
    [(3, 1), *(pytest.param(*c, marks=SLOW) for c in [(1, 1), (1, 3), (3, 2), (8, 0), (8, 1)])],
    ids=str,
)
def test_devices_and_chunks_do_not_change_the_result(grey, reference, devices, chunk):
    """8 models; of 3 devices the last has two models and a copy."""
    sweep = sweep_of(beta_vae, grey(), mesh=make_mesh(devices), chunk=chunk)
    state = sweep.init()
    replicated = {leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.params)}
    assert replicated == {devices != 8}
    assert_close(fit(sweep, settings_of()).state, reference)


@SLOW
@pytest.mark.parametrize("per_dispatch", [1, 20])
def test_streaming_and_single_step_dispatches_do_not_change_the_result(
    grey, reference, per_dispatch
):
    settings = settings_of(steps_per_dispatch=per_dispatch)
    state = fit(sweep_of(beta_vae, grey(streamed=True), settings), settings).state
    assert_close(state, reference)


@SLOW
def test_moving_average_and_micro_batches_equal_a_single_run(grey):
    settings = settings_of(steps=20, ema_decay=0.9, grad_accumulation_steps=2)
    grid = product({}, (3, 4))

    def make(values):
        return beta_vae({"beta": 2.0, "rate": 1e-2, **values})

    state = fit(sweep_of(make, grey(), settings, grid), settings).state
    trainer = Trainer(make({}), grey(), settings, seed=4, **ON_ONE)
    assert_close(select(state, 1), fit(trainer, settings).state, atol=1e-4)


def records_of(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_resuming_is_exact_bit_for_bit(grey, tmp_path):
    settings = settings_of(steps=30, log_every=5, checkpoint_every=10, ema_decay=0.9)

    def evaluate(params, step):
        leaves = [np.abs(np.asarray(a)).reshape(8, -1).sum(1) for a in jax.tree.leaves(params)]
        return {"elbo": -np.sum(leaves, axis=0), "step_evaluated": np.full(8, step)}

    sweep = sweep_of(beta_vae, grey(), settings)
    uninterrupted = fit(sweep, settings, workdir=tmp_path / "a", evaluate=evaluate).state
    for steps in (10, 20, 30):
        part = dataclasses.replace(settings, steps=steps)
        resumed = fit(sweep, part, workdir=tmp_path / "b", evaluate=evaluate).state
    assert_same_bits(resumed, uninterrupted)
    assert sweep.run._cache_size() == 1
    records = records_of(tmp_path / "a")
    assert records == records_of(tmp_path / "b")
    assert len(records) == 8 * (6 + 3)
    assert records[8 + 5].items() >= {"step": 10, "model": 5, "seed": 7, "beta": 4.0}.items()
    assert records[8 + 5].items() >= {"split": "train", "rate": 3e-4, "failed": 0.0}.items()


RATES = product({"rate": (1e-3, 1e30, 1e-2)}, (0, 1))  # of SGD; the second diverges


def sgd(values):
    minimizes = {"nll": 1.0, "kl": 1.0}
    vae = {"minimizes": minimizes, "optimizer": "sgd", "learning_rate": values["rate"]}
    return families.beta_vae(SHAPE, players({"vae": vae}), latent_dim=2, network=NETWORK)


@pytest.mark.slow
def test_a_diverging_model_is_frozen_without_changing_the_others(grey, tmp_path):
    settings = settings_of(max_consecutive_nonfinite=7)
    sweep = sweep_of(sgd, grey(), settings, RATES)
    state = fit(sweep, settings, workdir=tmp_path).state
    np.testing.assert_array_equal(sweep.failed(state), [False, False, True, True, False, False])
    np.testing.assert_array_equal(state.skipped, [0, 0, 7, 7, 0, 0])
    np.testing.assert_array_equal(state.step, [100] * 6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))

    grid = product({"rate": (1e-3, 2e-3, 1e-2)}, (0, 1))  # the same program without divergence
    without = fit(sweep_of(sgd, grey(), settings, grid), settings).state
    for i in (0, 1, 4, 5):
        assert_same_bits(select(state, i), select(without, i))
    for record in records_of(tmp_path):
        bad = record["model"] in (2, 3)
        assert record["failed"] == float(bad)
        assert (record["nll"] is None) == bad  # no step was taken in the last dispatch

    resumed = fit(
        sweep, settings_of(steps=120, max_consecutive_nonfinite=7), workdir=tmp_path
    ).state
    for i in (2, 3):  # still frozen
        assert_same_bits(select(resumed.params, i), select(state.params, i))


@SLOW
def test_a_failed_model_stays_frozen_in_later_steps(grey):
    """Only the first step is not finite, and the limit is 1."""
    source = grey(streamed=True)
    (bad, *_) = batch_indices(0, 0, 40, 8)

    def take(indices):
        rows = source.take(indices)
        return {"image": rows["image"], "label": np.where(indices == bad, 1, 0)}

    def decode(rows):
        nan = jax.numpy.where(rows["label"] == 1, np.float32("nan"), np.float32(0.0))
        return {"image": source.decode(rows)["image"] + nan[:, None, None, None]}

    data = dataclasses.replace(source, take=take, decode=decode)
    grid, settings = product({"rate": (1e-3,)}, (0, 9)), settings_of(max_consecutive_nonfinite=1)
    sweep = sweep_of(sgd, data, settings, grid, binarize="none")
    start = jax.device_get(sweep.init())
    # An epoch has five steps; seed 9 gets the bad example in the fifth.
    span, batches = next(sweep.loader.batches([(0, 4)]))
    state, _ = sweep.dispatch(sweep.init(), span, batches)
    np.testing.assert_array_equal(state.skipped, [1, 0])
    assert_same_bits(select(state.params, 0), select(start.params, 0))
    assert not np.array_equal(*(jax.tree.leaves(s.params)[0][1] for s in (state, start)))


@SLOW
def test_training_ends_when_all_models_have_failed(grey):
    settings = settings_of(max_consecutive_nonfinite=7)
    grid = product({"rate": (9e3, 1e4)}, (0,))
    with pytest.raises(NotFiniteError, match=r"step 20: .* in the last 7 steps"):
        fit(sweep_of(sgd, grey(), settings, grid), settings)


def test_select_extracts_one_model_of_any_tree():
    tree = {"a": np.arange(6).reshape(3, 2), "b": (np.arange(3),)}
    jax.tree.map(np.testing.assert_array_equal, select(tree, 2), {"a": [4, 5], "b": (2,)})


def test_the_default_chunk_is_one_for_large_models_on_cpu(grey):
    def make(values):
        network = {"kind": "mlp", "hidden": (3000,)}
        table = {"vae": {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": values["rate"]}}
        return families.beta_vae(SHAPE, players(table), latent_dim=2, network=network)

    grid = product({"rate": (1e-3, 1e-2)}, (0,))
    assert sweep_of(make, grey(), grid=grid).chunk == (1 if jax.default_backend() == "cpu" else 2)
    assert sweep_of(make, grey(), grid=grid, chunk=5).chunk == 5
    assert sweep_of(sgd, grey(), grid=grid).chunk == 2
