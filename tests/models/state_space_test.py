"""The state-space model: its bound against the Kalman filter's likelihood, streams, transitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import linear_system as system
from vaejax import families, losses
from vaejax.core import game
from vaejax.distributions.likelihoods import normal
from vaejax.latents.bottlenecks import MIN_SCALE
from vaejax.models import StateSpaceParts, state_space
from vaejax.networks import Network, Recurrent

KEY = jax.random.key(0)


def feature(scale):
    return np.log2(2 ** ((scale - MIN_SCALE) / (1 - MIN_SCALE)) - 1)


def linear():
    """The true p, and as q the posterior given z_(t−1) and x_t, a little wider."""
    matrix = jnp.asarray(system.A, jnp.float32)

    def constant(f):
        return Network(lambda key, x: {}, lambda params, x: f(x))

    def with_scale(mean, scale):
        raw = jnp.broadcast_to(jnp.asarray(feature(scale), jnp.float32)[None], mean.shape)
        return jnp.concatenate([mean, raw], axis=1)

    def posterior(inputs):  # x_t and z_(t−1), which is 0 before the first
        x, z = inputs[:, :2], inputs[:, 2:]
        covariances = np.where([[True], [False]], np.diag(system.P0), np.diag(system.Q))
        gains = covariances / (covariances + system.OBSERVED**2)
        scales = 1.1 * np.sqrt(covariances * (1 - gains))
        first = jnp.all(z == 0, axis=1, keepdims=True)
        gain, raw = (
            jnp.where(first, *jnp.asarray(pair[:, None], jnp.float32))
            for pair in (gains, feature(scales))
        )
        z = z @ matrix.T
        return jnp.concatenate([z + gain * (x - z), raw], axis=1)

    identity = constant(lambda x: x)
    aggregator = Recurrent(
        lambda key, x: {}, lambda params, x: x, lambda params, n: (), lambda params, s, x: (x, s)
    )
    transition = constant(lambda z: with_scale(z @ matrix.T, np.sqrt(np.diag(system.Q))))
    parts = StateSpaceParts(identity, aggregator, (constant(posterior),), (transition,), identity)
    return state_space(parts, normal(system.OBSERVED), (3, 2), latent_dims=(2,))


def test_the_elbo_is_a_bound_and_importance_sampling_closes_the_gap():
    x = system.simulate(40, 3)[1]
    known = system.kalman_filter(x)
    first = system.log_normal(x[:, 0], np.zeros(2), system.P0 + system.R)
    exact = first + sum(system.log_predictive(x, known, t, 1) for t in range(2))
    model = linear()
    batch = {"signal": jnp.asarray(x, jnp.float32)}
    params = model.init(KEY, batch)
    terms = game.chain(losses.nll(), losses.kl())

    @jax.jit
    def sample(key):
        trace = model.forward(params, batch, key, None)
        values = terms.apply({}, {}, trace, key)
        (node,) = trace.latents
        ratio = node.prior.log_prob(node.z) - node.posterior.log_prob(node.z)
        return -(values["nll"] + values["kl"].sum(axis=1)), ratio.sum(axis=(1, 2)) - values["nll"]

    elbo, weight = jax.lax.map(sample, jax.random.split(KEY, 4000))
    elbo, weight = np.asarray(elbo, np.float64), np.asarray(weight, np.float64)
    assert np.all(elbo.mean(axis=0) < exact)
    estimate = np.log(np.exp(weight - weight.max(axis=0)).mean(axis=0)) + weight.max(axis=0)
    np.testing.assert_allclose(estimate, exact, atol=0.15)
    assert abs((estimate - exact).mean()) < 0.02


@pytest.fixture(scope="module")
def trained():
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
    family = families.state_space(
        (6, 3), players, latent_dims=(2, 3), belief={"kind": "gru", "size": 8}, features=5,
        network={"kind": "mlp", "hidden": (8,)}, hidden=(8,), likelihood="normal",
    )  # fmt: skip
    x = jax.random.normal(KEY, (4, 6, 3))
    return family, jax.jit(lambda: game.init(family, KEY, {"signal": x}))(), x


def test_nodes_have_an_axis_of_times(trained):
    family, params, x = trained
    trace = jax.jit(family.model.forward)(params, {"signal": x}, KEY, None)
    assert [node.z.shape for node in trace.latents] == [(4, 6, 2), (4, 6, 3)]
    for node in trace.latents:
        np.testing.assert_array_equal(node.prior.loc[:, 0], 0.0)
        np.testing.assert_array_equal(node.prior.scale[:, 0], 1.0)
        assert np.abs(node.prior.loc[:, 1:]).min() > 0
    assert trace.likelihood.mean.shape == x.shape


def test_filtering_a_stream_equals_filtering_the_sequence(trained):
    family, params, x = trained
    sequences = family.model.sequences
    expected = jax.jit(sequences.belief_states)(params, x)
    state = sequences.initial_state(params, len(x))
    for t in range(6):
        b, state = jax.jit(sequences.update_state)(params, state, x[:, t])
        np.testing.assert_allclose(b, expected[:, t], atol=1e-6)


def test_a_transition_by_delta_equals_delta_steps(trained):
    family, params, x = trained
    sequences = family.model.sequences
    zs = sequences.sample_belief(params, sequences.belief_states(params, x)[:, -1], KEY).zs
    delta = jnp.array([1, 3, 2, 4], jnp.int32)
    direct = jax.jit(sequences.sample_transition)(params, zs, delta, None).zs
    steps = jax.jit(sequences.rollout)(params, zs, jnp.ones(4, jnp.int32), None)
    for a, b in zip(direct, steps, strict=True):
        for row, d in enumerate(delta):
            np.testing.assert_allclose(a[row], b[d - 1, row], atol=1e-6)


def test_generation(trained):
    family, params, x = trained
    generate = jax.jit(family.model.generate, static_argnums=2)
    assert generate(params, KEY, 5).mean.shape == (5, 6, 3)
    assert generate(params, KEY, 4, {"signal": x}).mean.shape == (4, 6, 3)
