"""TD-VAE: dependencies between densities, streams, rollouts, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.random_params import random_params
from vaejax import families
from vaejax.core import game
from vaejax.distributions import Normal, kl

KEY = jax.random.key(0)
X = jnp.asarray(np.random.RandomState(0).rand(4, 6, 5, 4, 1) > 0.5, jnp.float32)
SETTINGS = {"latent_dims": (2, 3), "belief": {"kind": "gru", "size": 8}, "features": 7}
SETTINGS |= {"network": {"kind": "mlp", "hidden": (8,)}, "hidden": (8,), "steps": ((1, 3),)}


def td_vae(**options):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
    return families.td_vae(X.shape[1:], players, **{**SETTINGS, **options})


def compiled(sequences):
    """The functions of a sequence model, each as one program."""
    names = ("belief_states", "update_state", "sample_belief", "sample_transition")
    names = (*names, "rollout", "sample_smoothing")
    return sequences._replace(**{name: jax.jit(getattr(sequences, name)) for name in names})


@pytest.fixture(scope="module")
def trained():
    family = td_vae(num_pairs=3)
    family = family._replace(
        model=family.model._replace(sequences=compiled(family.model.sequences))
    )
    params = random_params(functools.partial(game.init, family), KEY, {"sequence": X})
    return family, params


def test_a_trace_has_a_row_for_each_pair_and_nodes_top_down(trained):
    family, params = trained
    trace = jax.jit(family.model.forward)(params, {"sequence": X}, KEY, jnp.int32(0))
    assert trace.x.shape == trace.likelihood.mean.shape == (12, 5, 4, 1)
    assert [node.z.shape for node in trace.latents] == [(12, 2), (12, 3), (12, 2), (12, 3)]
    for row, frame in enumerate(trace.x):  # rows of a sequence are adjacent
        assert any(np.array_equal(frame, other) for other in X[row // 3])


def test_the_loss_is_the_four_terms_of_the_paper(trained):
    """1806.03107, eq. 8, averaged over samples, with z_t1 integrated in closed form."""
    family, params = trained
    fn = game.losses_and_trace(family)

    @jax.jit
    @jax.vmap
    def terms_and_actual(key):
        losses, trace = fn(params, {"sequence": X}, key, jnp.int32(0))
        later, earlier = trace.latents[:2], trace.latents[2:]
        log_d = trace.likelihood.log_prob(trace.x).reshape(12, -1).sum(axis=1)
        log_b2 = sum(n.posterior.log_prob(n.z).sum(axis=1) for n in later)
        log_t = sum(n.prior.log_prob(n.z).sum(axis=1) for n in later)
        log_b1 = sum(n.prior.log_prob(n.z).sum(axis=1) for n in earlier)
        log_s = sum(n.posterior.log_prob(n.z).sum(axis=1) for n in earlier)
        terms = -(log_d + log_b1 + log_t - log_b2 - log_s).mean()
        return terms, (losses["nll"] + losses["kl"].sum(axis=1)).mean()

    terms, actual = terms_and_actual(jax.random.split(KEY, 400))
    difference = np.array(terms) - np.array(actual)
    assert difference.std() > 1e-3  # they are not the same estimate
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(terms))


def test_filtering_a_stream_equals_filtering_the_sequence(trained):
    family, params = trained
    sequences = family.model.sequences
    state = jax.jit(sequences.initial_state, static_argnums=1)(params, len(X))
    expected = np.asarray(sequences.belief_states(params, X))
    for t in range(X.shape[1]):
        b, state = sequences.update_state(params, state, np.asarray(X)[:, t])
        np.testing.assert_allclose(b, expected[:, t], atol=1e-6)


def test_lower_layers_depend_on_the_samples_of_the_higher(trained):
    family, params = trained
    sample_belief = family.model.sequences.sample_belief
    b = jnp.ones((1, 8))
    samples = [sample_belief(params, b, jax.random.key(i)) for i in range(2)]
    np.testing.assert_array_equal(samples[0].densities[0].loc, samples[1].densities[0].loc)
    assert np.abs(samples[0].densities[1].loc - samples[1].densities[1].loc).max() > 1e-5
    means = sample_belief(params, b, None)
    np.testing.assert_array_equal(means.zs[0], means.densities[0].loc)
    cold = sample_belief(params, b, KEY, 0.0)
    np.testing.assert_allclose(cold.zs[1], means.zs[1], atol=1e-6)


def test_a_rollout_equals_successive_transitions(trained):
    family, params = trained
    sequences = family.model.sequences
    zs = sequences.sample_belief(params, jnp.ones((2, 8)), KEY).zs
    deltas = np.array([1, 3, 2], np.int32)
    for key in (KEY, None):
        run = sequences.rollout(params, zs, deltas, key)
        current = zs
        for s in range(3):
            step_key = None if key is None else jax.random.fold_in(key, s)
            delta = np.full(2, deltas[s])
            current = sequences.sample_transition(params, current, delta, step_key).zs
            for a, b in zip(run, current, strict=True):
                np.testing.assert_allclose(np.asarray(a)[s], b, atol=1e-6)


def test_rollouts_can_be_vmapped(trained):
    family, params = trained
    sequences = family.model.sequences
    zs = sequences.sample_belief(params, jnp.ones((2, 8)), None).zs
    keys = jax.random.split(KEY, 5)
    steps = jnp.ones(4, jnp.int32)
    many = jax.jit(jax.vmap(lambda k: sequences.rollout(params, zs, steps, k)))(keys)
    assert many[0].shape == (5, 4, 2, 2)
    single = sequences.rollout(params, zs, steps, keys[3])
    np.testing.assert_allclose(many[1][3], single[1], atol=1e-6)


@pytest.mark.parametrize("conditioned", [True, False])
def test_condition_on_delta_is_an_option(conditioned):
    family = td_vae(condition_on_delta=conditioned)
    params = random_params(family.model.init, KEY, {"sequence": X})
    sequences = compiled(family.model.sequences)
    zs, b = (jnp.ones((1, 2)), jnp.ones((1, 3))), jnp.ones((1, 8))
    one, three = jnp.full(1, 1, jnp.int32), jnp.full(1, 3, jnp.int32)
    forward = [sequences.sample_transition(params, zs, d, None) for d in (one, three)]
    backward = [sequences.sample_smoothing(params, zs, b, b, d, None) for d in (one, three)]
    for near, far in (forward, backward):
        gap = np.abs(near.densities[0].loc - far.densities[0].loc).max()
        assert (gap > 1e-6) == conditioned


def test_generation_continues_the_condition(trained):
    family, params = trained
    generate = jax.jit(family.model.generate, static_argnums=2)
    p = generate(params, KEY, 3, {"sequence": X})
    assert p.mean.shape == (3, 6, 5, 4, 1)
    changed = np.array(X)
    changed[1] = 1 - changed[1]
    other = generate(params, KEY, 3, {"sequence": changed})
    changed = np.abs(np.asarray(p.logits) - other.logits).max(axis=(1, 2, 3, 4)) > 1e-6
    np.testing.assert_array_equal(changed, [False, True, False])
    with pytest.raises(ValueError, match="pass sequences as the condition"):
        family.model.generate(params, KEY, 3)


def test_encode_returns_the_belief_at_the_last_time(trained):
    family, params = trained
    sequences = family.model.sequences
    nodes = jax.jit(family.model.encode)(params, {"sequence": X}, KEY)
    last = sequences.sample_belief(params, sequences.belief_states(params, X)[:, -1], None)
    np.testing.assert_allclose(nodes[0].posterior.loc, last.densities[0].loc, atol=1e-6)
    nats = jax.jit(lambda nodes: [kl(*node) for node in nodes])(nodes)
    assert all(np.isfinite(a).all() for a in nats)
    assert isinstance(nodes[0].prior.base, Normal)


@pytest.mark.slow
def test_frames_can_have_any_shape():
    for shape, network in (((6, 3), "mlp"), ((6, 8, 8, 1), {"kind": "conv", "channels": (4, 4),
                                                            "kernels": (4, 4)})):  # fmt: skip
        players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
        family = families.td_vae(
            shape, players, **{**SETTINGS, "network": network}, likelihood="normal"
        )
        batch = {"signal" if len(shape) == 2 else "sequence": jnp.ones((2, *shape))}
        params = random_params(functools.partial(game.init, family), KEY, batch)
        trace = jax.jit(family.model.forward)(params, batch, KEY, None)
        assert trace.likelihood.mean.shape == (2, *shape[1:])


def test_invalid_arguments_are_reported(trained):
    family, params = trained
    players = {"vae": ({"nll": 1.0}, optax.adam(1e-3))}
    with pytest.raises(ValueError, match=r"shape \(T, ...\), found .*\(5,\)"):
        families.td_vae((5,), players)
    with pytest.raises(ValueError, match="up to 6 do not fit into sequences of length 6"):
        td_vae(steps=((1, 6),))
    with pytest.raises(ValueError, match="2 layers, the top first, found 1"):
        family.model.decode(params, (jnp.ones((1, 5)),))
    with pytest.raises(ValueError, match=r"built for events of shape \[B, 6, .*found \["):
        family.model.forward(params, {"sequence": X[:, :4]}, KEY, None)
