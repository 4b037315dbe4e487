"""Selection by a metric: the best checkpoint, early stopping, lower rates, and their resumption."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import families
from vaejax.core.ranking import Ranking, ranking
from vaejax.core.sharding import make_mesh
from vaejax.data import from_arrays
from vaejax.optimizers.build import players
from vaejax.optimizers.check_players import check_players
from vaejax.optimizers.reduce_on_plateau import PlateauState, reduce_on_plateau
from vaejax.sweeps import Sweep, product, select
from vaejax.training import Settings, Trainer, fit
from vaejax.training.checkpoint_index import best_step
from vaejax.training.restore import restore_state
from vaejax.training.transfer_state import transferred

# Of the evaluations after 2, 4, ... steps. The best is the third.
ELBOS = (-9.0, -7.0, -5.0, -6.0, -5.5, -8.0, -7.5, -7.0)
PLATEAU = {"factor": 0.5, "patience": 2}


def settings_of(**changes):
    common = {"steps": 16, "batch_size": 4, "steps_per_dispatch": 2, "log_every": 4}
    return Settings(**common | {"checkpoint_every": 2} | changes)


def vae(plateau=PLATEAU, rate=0.05):
    table = {"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "sgd", "learning_rate": rate}
    network = {"kind": "mlp", "hidden": (4,)}
    table["reduce_on_plateau"] = plateau
    return families.beta_vae((3,), players({"vae": table}), latent_dim=2, network=network)


@pytest.fixture(name="source", scope="module")
def vectors():
    return from_arrays(np.random.RandomState(0).randn(12, 3).astype(np.float32), holdout=0)


@pytest.fixture(name="trainer", scope="module")
def one_trainer(source):
    """One compiled program for the tests below."""
    return Trainer(vae(), source, settings_of(), mesh=make_mesh(1))


def evaluate(params, step):
    return {"elbo": ELBOS[step // 2 - 1], "mse": float(step % 6)}


def scale_of(state):
    (node,) = (
        node
        for node in jax.tree.leaves(state.opt_state, is_leaf=lambda n: isinstance(n, PlateauState))
        if isinstance(node, PlateauState)
    )
    return node.plateau.scale


def assert_same_bits(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(actual), jax.device_get(expected))


def test_directions():
    assert ranking("elbo", "auto") == Ranking("elbo", True)
    assert ranking("nll", "auto") == Ranking("nll", False)
    assert ranking("tc", "min").score({"tc": 3.0}) == -3.0
    assert ranking("elbo", "max").score({"elbo": float("nan")}) == -np.inf
    with pytest.raises(ValueError, match=r"Set train\.best_direction to max or min"):
        settings_of(best_metric="tc")


def test_the_best_checkpoint_by_any_metric(trainer, tmp_path):
    """`mse` is lowest, 0, after 6 and after 12 steps; the later one is the best of equals."""
    for metric, expected in (("elbo", 6), ("mse", 12)):
        settings = settings_of(best_metric=metric)
        fit(trainer, settings, workdir=tmp_path / metric, evaluate=evaluate)
        assert best_step(tmp_path / metric / "checkpoints", settings.ranking) == expected
        like = trainer.state_shape
        best = restore_state(tmp_path / metric / "checkpoints", like, "best", settings.ranking)
        assert int(best.step) == expected


@pytest.mark.parametrize(("patience", "steps"), [(1, 8), (3, 12), (5, 16), (6, 16)])
def test_training_stops_after_evaluations_without_a_better_one(trainer, tmp_path, patience, steps):
    settings = settings_of(patience=patience)
    outcome = fit(trainer, settings, workdir=tmp_path, evaluate=evaluate)
    assert (int(outcome.state.step), outcome.interrupted) == (steps, False)
    assert outcome.stopped_early == (patience < 6)
    again = fit(trainer, settings, workdir=tmp_path, evaluate=evaluate)
    assert again.stopped_early == outcome.stopped_early
    assert_same_bits(again.state, outcome.state)


@pytest.mark.parametrize("stops", [2, 6, 10])
def test_a_resumed_training_stops_and_lowers_its_rate_alike(trainer, tmp_path, stops):
    settings = settings_of(patience=4)
    expected = fit(trainer, settings, workdir=tmp_path / "a", evaluate=evaluate).state
    fit(trainer, settings_of(patience=4, steps=stops), workdir=tmp_path / "b", evaluate=evaluate)
    actual = fit(trainer, settings, workdir=tmp_path / "b", evaluate=evaluate).state
    assert int(expected.step) == 14
    assert float(scale_of(expected)) == 0.5
    assert_same_bits(actual, expected)
    a, b = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in "ab")
    assert a == b


def test_the_rule_is_optax_s(source):
    """A gradient of ones, with evaluations between the updates."""
    rule = optax.contrib.reduce_on_plateau(0.5, 2)
    tx = optax.with_extra_args_support(reduce_on_plateau(optax.sgd(1.0), factor=0.5, patience=2))
    params, expected = jnp.zeros(3), rule.init(jnp.zeros(3))
    state, update = tx.init(params), jax.jit(tx.update)
    with jax.numpy_dtype_promotion("standard"):
        for elbo in (*ELBOS, *ELBOS):
            state = state._replace(value=jnp.float32(-elbo), pending=jnp.int32(1))
            _, expected = rule.update(params, expected, value=-elbo)
            for _ in range(3):  # the value is used once
                updates, state = update(jnp.ones(3), state, params)
                np.testing.assert_array_equal(updates, -expected.scale * np.ones(3))
    assert float(expected.scale) < 0.5


def test_the_rule_on_the_training_objective():
    """Means over two steps: 3, 3, 3, 1, 1, 1; the rate falls after the third and the sixth."""
    losses = [2.0, 4.0, 3.0, 3.0, 4.0, 2.0, 1.0, 1.0, 0.0, 2.0, 1.0, 1.0]

    class Trace:
        step = 0

    tx = reduce_on_plateau(
        optax.sgd(1.0), lambda losses, step: losses["nll"], every=2, patience=2, factor=0.5
    )
    state, scales = tx.init(jnp.zeros(())), []
    with jax.numpy_dtype_promotion("standard"):
        for value in losses:
            named = {"nll": jnp.float32(value)}
            update, state = tx.update(jnp.ones(()), state, losses=named, trace=Trace)
            scales.append(-float(update))
    assert scales == [1.0] * 5 + [0.5] * 6 + [0.25]


@pytest.mark.slow
def test_models_of_a_sweep_stop_by_themselves(source, tmp_path):
    """Model 0 is best at the first evaluation, model 1 at the fourth; each as in its own run."""
    elbos = np.array([[-1.0, -2, -3, -4, -5, -6, -7, -8], [-4, -3, -2, -1, -5, -6, -7, -8]])

    def metrics(params, step):
        return {"elbo": elbos[:, step // 2 - 1]}

    settings = settings_of(patience=2)
    grid = product({"rate": (0.05, 0.01)}, (0,))
    options = {"mesh": make_mesh(1)}

    def make(values):
        return vae(rate=values["rate"])

    sweep = Sweep(make, grid, source, settings, keep_best=True, **options)
    whole = fit(sweep, settings, workdir=tmp_path / "a", evaluate=metrics)
    assert (int(whole.state.step[0]), whole.stopped_early) == (12, True)
    assert whole.state.total_skipped.tolist() == [0, 0]
    fit(sweep, settings_of(patience=2, steps=8), workdir=tmp_path / "b", evaluate=metrics)
    resumed = fit(sweep, settings, workdir=tmp_path / "b", evaluate=metrics)
    assert_same_bits(resumed.state, whole.state)
    assert whole.state.best_step.tolist() == [2, 8]
    # The one that stops while the other is trained.
    seen = {}

    def evaluate_one(params, step):
        seen[step] = jax.device_get(params)
        return {"elbo": elbos[0, step // 2 - 1]}

    state = fit(Trainer(vae(), source, settings, **options), settings, evaluate=evaluate_one).state
    assert int(state.step) == 6
    of_sweep = select(whole.state, 0)
    pairs = ((of_sweep.params, state.params), (of_sweep.best_params, seen[2]))
    for actual, expected in pairs:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual, expected)


def test_a_missing_metric_is_named(trainer, tmp_path):
    with pytest.raises(ValueError, match=r"no metric elbo.*train\.patience"):
        fit(trainer, settings_of(patience=1), workdir=tmp_path, evaluate=lambda p, s: {"mse": 1.0})


@pytest.mark.parametrize(
    ("player", "message"),
    [
        ({"reduce_on_plateau": {"factor": 2.0}}, "factor must be between 0 and 1"),
        ({"reduce_on_plateau": {"factr": 0.5}}, "did you mean 'factor'"),
        ({"reduce_on_plateau": {"rtol": 0.0}}, "needs rtol or atol above 0"),
        ({"reduce_on_plateau": {"patience": 0}}, "patience must be at least 1"),
        ({"optimizer": "ema_codebook", "reduce_on_plateau": {}}, "has no learning rate"),
    ],
)
def test_impossible_plateaus_are_refused(player, message):
    row = {"minimizes": {"nll": 1.0}, "learning_rate": 1e-3, **player}
    if "optimizer" in player:
        del row["learning_rate"]
    with pytest.raises(ValueError, match=message):
        check_players({"vae": row})


def test_records_name_the_split(trainer, tmp_path):
    fit(trainer, settings_of(steps=2), workdir=tmp_path, evaluate=evaluate, split="validation")
    (record,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert record["split"] == "validation"


def test_the_state_of_other_optimizers():
    """Adam keeps its moments under clipping and a schedule, which counts from the first step."""
    params = {"a": {"w": jnp.arange(3.0)}, "b": {"w": jnp.ones(2)}}
    grads = jax.tree.map(lambda w: w + 1, params)
    labels = {"a": "one", "b": "two"}

    def optimizers(one):
        two = optax.sgd(0.1, momentum=0.9)
        return optax.partition({"one": one, "two": two}, labels)

    old = optimizers(optax.adam(0.1))
    new = optimizers(optax.chain(optax.clip(1.0), optax.adam(optax.constant_schedule(0.1))))
    state = old.init(params)
    with jax.numpy_dtype_promotion("standard"):  # as in `game.optimizer`
        for _ in range(4):
            _, state = old.update(grads, state, params)
    kept = transferred(new.init(params), state, jnp.int32(4))
    adam, counts = kept.inner_states["one"].inner_state[1]
    before = state.inner_states["one"].inner_state[0]
    assert_same_bits(adam, before)
    assert int(counts.count) == 4
    assert_same_bits(kept.inner_states["two"], state.inner_states["two"])
