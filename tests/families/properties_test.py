"""Properties of the training step of every family in the table, on one device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from tests.families.conftest import examples
from vaejax.core import game
from vaejax.data import from_arrays
from vaejax.data.spec import spec_of
from vaejax.experiment.other_data import fields_of_model
from vaejax.training.train_step import eval_params


def follow(law):
    def check(values):
        assert scipy.stats.kstest(values.reshape(-1), law).pvalue > 1e-3

    return check


def are_permutations(order):
    for column in order.T:
        np.testing.assert_array_equal(np.sort(column), np.arange(len(order)))
    assert len(np.unique(order, axis=1).T) == order.shape[1], "columns are not independent"


def are_pairs(times):
    """δ is 1 or 2 with probability ½, else one of 3 to 9."""
    first, second = times
    assert first.min() >= 0
    assert second.max() < 16
    counts = np.bincount(second - first, minlength=10)
    assert counts[0] == 0
    p = np.repeat([1 / 4, 1 / 14], [2, 7])
    assert scipy.stats.chisquare(counts[1:], p * len(first)).pvalue > 1e-3


# Of the random numbers that `tests.families.noise` finds.
LAWS = {
    "prior_noise": follow("norm"),
    "posterior_noise": follow("norm"),
    "slab_noise": follow("norm"),
    "eta": follow("uniform"),
    "gumbel": lambda noise: follow("logistic")(noise[..., ::2] - noise[..., 1::2]),
    "order": are_permutations,
    "times": are_pairs,
}


def test_every_group_has_one_owner_and_every_parameter_is_trained(case):
    first, last = case.trained[0].params, case.trained[-1].params
    assert set(game.owner_labels(case.family.players)) == set(first)
    for path, before in jax.tree_util.tree_leaves_with_path(first):
        after = last
        for part in path:
            after = after[part.key]
        name = jax.tree_util.keystr(path)
        constant = bool(case.constant_leaf) and f"'{case.constant_leaf}'" in name
        assert np.array_equal(before, after) == constant, name


def test_the_step_is_compiled_once(case):
    assert len(case.trained) == case.steps + 1
    for i in (0, case.steps):  # again, in case compiled programs have been dropped since
        case.step(case.trained[i], case.batch(i), 0)
    assert case.step._cache_size() == 1


def test_gradients_equal_those_of_the_reference_loss(case):
    gradient = game.game_gradient(game.losses_and_trace(case.family), case.family.players)

    @jax.jit
    def both(params, batch, step):
        key = jax.random.key(1)
        grads, _, trace = gradient(params, step, batch, key, step)
        trace = jax.lax.stop_gradient(trace)
        noise = case.noise(case.family, params, batch, key, step)
        arguments = params, batch["image"], trace, step.astype(jnp.float32)
        want = jax.grad(case.reference)(*arguments, **noise)
        if "prior_noise" in noise:
            node = trace.latents[0]
            noise["posterior_noise"] = (node.z - node.posterior.loc) / node.posterior.scale
        return grads, want, noise

    for step in (0, case.steps):
        got, want, noise = both(case.trained[step].params, case.batch(step), jnp.int32(step))
        assert all(np.isfinite(a).all() for a in case.batch(step).values())
        for name, values in noise.items():
            assert np.isfinite(values).all(), f"{name} is not finite at step {step}"
            LAWS[name](np.asarray(values))
        if "prior_noise" in noise:
            pair = (noise[name].reshape(-1) for name in ("prior_noise", "posterior_noise"))
            assert scipy.stats.pearsonr(*pair).pvalue > 1e-3, "one key for two samples"
        for path, leaf in jax.tree_util.tree_leaves_with_path(want):
            name = jax.tree_util.keystr(path)
            constant = any(
                leaf_name and f"'{leaf_name}'" in name
                for leaf_name in (case.constant_leaf, case.without_gradient)
            )
            if step or not case.zero_gradients_at_init:
                assert np.any(leaf) != constant, f"the gradient of {name} is zero"
        scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(want))
        chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-6 * scale)


def test_the_loss_decreases(case):
    state, values = case.trained[0], []
    for i in range(60):
        state, metrics, ok = case.step(state, case.batch(i), 0)
        assert ok
        values.append(float(metrics[case.decreasing_loss]))
    assert np.mean(values[-8:]) < 0.7 * np.mean(values[:2])


def test_nonfinite_gradients_are_skipped_and_counted(case):
    state = case.trained[3]
    bad = case.batch(0)
    bad["image"][5, 2, 3] = np.nan
    for count in (1, 2):
        after, _, ok = case.step(state, bad, 0)
        assert not ok
        assert int(after.skipped) == count
        assert int(after.step) == int(state.step) + 1
        for field in ("params", "opt_state", "ema"):
            chex.assert_trees_all_equal(getattr(after, field), getattr(state, field))
        state = after
    after, _, ok = case.step(state, case.batch(0), 0)
    assert ok
    assert int(after.skipped) == 0
    unchanged = jax.tree.map(np.array_equal, after.params, state.params)
    assert not all(jax.tree.leaves(unchanged))


def test_the_moving_average_of_the_weights_follows_its_recursion(case):
    ema = jax.tree.map(lambda a: np.asarray(a, np.float64), case.trained[0].params)
    for t, state in enumerate(case.trained[1:]):
        decay = min(case.ema_decay, (1 + t) / (10 + t))
        ema = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, ema, state.params)
        want = jax.tree.map(np.float32, ema)
        chex.assert_trees_all_close(state.ema, want, rtol=1e-5, atol=1e-6)
        assert eval_params(state) is state.ema


def test_the_fields_that_a_family_reads(case):
    """By which other data are checked against a trained model; nothing is computed."""
    spec = spec_of(from_arrays(examples(), holdout=0))
    params = jax.eval_shape(lambda: game.init(case.family, jax.random.key(0), case.batch(0)))
    reads = fields_of_model(case.family, params, spec)
    assert "image" in reads
    assert reads <= {"image", "label"}
