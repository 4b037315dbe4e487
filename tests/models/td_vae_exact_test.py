"""TD-VAE whose densities are those of a linear-Gaussian system, by construction.

Two layers of one dimension each represent the full covariance of a two-dimensional state: the lower
is conditional on the sample of the higher. The loss for δ = 1 is then −log p(x_t2 | x up to t1),
sample by sample, and for larger δ it exceeds that by a known KL.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import linear_system as system
from vaejax import losses
from vaejax.core.game import Family, chain, losses_and_trace
from vaejax.distributions.likelihoods import normal
from vaejax.latents.bottlenecks import MIN_SCALE
from vaejax.models import TDVAEParts, td_vae
from vaejax.models.time_pairs import delta_distribution
from vaejax.networks import Network, Recurrent

LENGTH = 7
A, Q, R = (jnp.asarray(m, jnp.float32) for m in (system.A, system.Q, system.R))


def feature(scale):
    """The inverse of `soft_normal`'s standard deviation."""
    share = (scale - MIN_SCALE) / (1 - MIN_SCALE)
    return jnp.log2(jnp.exp2(share) - 1)


def layers(moments):
    """Two conditional densities with the joint N(mean [B, 2], covariance [B, 2, 2])."""

    def top(params, inputs):
        mean, c = moments(inputs)
        return jnp.stack([mean[:, 0], feature(jnp.sqrt(c[:, 0, 0]))], axis=1)

    def low(params, inputs):
        above = inputs[:, -1]
        mean, c = moments(inputs[:, :-1])
        slope = c[:, 1, 0] / c[:, 0, 0]
        loc = mean[:, 1] + slope * (above - mean[:, 0])
        scale = jnp.sqrt(c[:, 1, 1] - slope * c[:, 1, 0])
        return jnp.stack([loc, feature(scale)], axis=1)

    return tuple(Network(lambda key, x: {}, f) for f in (top, low))


def unpack(b):
    """Mean and covariance of a belief state."""
    return b[:, :2], b[:, 2:6].reshape(-1, 2, 2)


def exact(steps):
    """The model for a fixed δ."""
    matrix, added = (jnp.asarray(m, jnp.float32) for m in system.transition(steps))

    def step(params, state, x):
        mean, c, started = state
        mean = jnp.where(started, mean @ A.T, mean)
        c = jnp.where(started, A @ c @ A.T + Q[None], c)
        gain = c @ jnp.linalg.inv(c + R[None])
        mean = mean + jnp.einsum("bij,bj->bi", gain, x - mean)
        c = c - gain @ c
        belief = jnp.concatenate([mean, c.reshape(-1, 4)], axis=1)
        return belief, (mean, c, jnp.ones((), bool))

    def initial_state(params, n):
        c = jnp.broadcast_to(jnp.asarray(system.P0, jnp.float32)[None], (n, 2, 2))
        return jnp.zeros((n, 2)), c, jnp.zeros((), bool)

    def apply(params, x):
        def body(state, frame):
            return step(params, state, frame)[::-1]

        return jnp.swapaxes(
            jax.lax.scan(body, initial_state(params, len(x)), jnp.swapaxes(x, 0, 1))[1], 0, 1
        )

    def smoothed(inputs):  # z_t2 [2], b_t1 [6], b_t2 [6], δ
        z, (mean, c) = inputs[:, :2], unpack(inputs[:, 2:8])
        gain = c @ matrix.T @ jnp.linalg.inv(matrix @ c @ matrix.T + added[None])
        mean = mean + jnp.einsum("bij,bj->bi", gain, z - mean @ matrix.T)
        return mean, c - gain @ matrix @ c

    def transition(inputs):  # z_t1 [2], δ
        return inputs[:, :2] @ matrix.T, jnp.broadcast_to(added[None], (len(inputs), 2, 2))

    identity = Network(lambda key, x: {}, lambda params, x: x)
    parts = TDVAEParts(
        identity, Recurrent(lambda key, x: {}, apply, initial_state, step), layers(unpack),
        layers(smoothed), layers(transition), identity,
    )  # fmt: skip
    model = td_vae(
        parts, normal(system.OBSERVED), (LENGTH, 2), latent_dims=(1, 1),
        deltas=delta_distribution([(steps, steps)], LENGTH), num_pairs=5,
    )  # fmt: skip
    return Family(model, chain(losses.nll(), losses.kl()), {})


@pytest.fixture(scope="module")
def observed():
    x = system.simulate(400, LENGTH)[1]
    return x, system.kalman_filter(x)


def _traced(family, x, seeds=1):
    """Losses and trace of each of these seeds."""
    batch = {"signal": jnp.asarray(x, jnp.float32)}
    params = family.model.init(jax.random.key(0), batch)
    fn = jax.jit(losses_and_trace(family))
    return [fn(params, batch, jax.random.key(seed), jnp.int32(0)) for seed in range(seeds)]


def _exact_losses(x, known, trace, steps):
    """−log p(x_t2 | x up to t1) of every row; t2 is identified by the frame."""
    frames = np.asarray(trace.x).reshape(len(x), 5, 2)
    table = [-system.log_predictive(x, known, t, steps) for t in range(LENGTH - steps)]
    times = np.abs(frames[:, :, None] - x[:, None]).max(axis=3).argmin(axis=2)  # [N, 5]
    rows = np.stack(table, axis=1)
    return np.take_along_axis(rows, times - steps, axis=1).reshape(-1), times


def test_belief_states_are_those_of_the_kalman_filter(observed):
    x, known = observed
    model = exact(1).model
    params = model.init(jax.random.key(0), {"signal": jnp.asarray(x, jnp.float32)})
    b = np.asarray(jax.jit(model.sequences.belief_states)(params, jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(b[..., :2], known.mean, atol=1e-5)
    samples = jax.jit(model.sequences.sample_belief)(
        params, jnp.asarray(np.repeat(b[:1, 3], 50_000, axis=0)), jax.random.key(1)
    )
    z = np.concatenate(samples.zs, axis=1)
    np.testing.assert_allclose(np.cov(z.T), known.covariance[3], atol=0.004)


def test_one_step_is_the_predictive_likelihood_sample_by_sample(observed):
    x, known = observed
    ((losses, trace),) = _traced(exact(1), x)
    want, _ = _exact_losses(x, known, trace, 1)

    @jax.jit
    def sampled(nll, nodes):
        ratios = [node.posterior.log_prob(node.z) - node.prior.log_prob(node.z) for node in nodes]
        return nll + sum(ratio.sum(axis=1) for ratio in ratios)

    terms = sampled(losses["nll"], trace.latents)
    np.testing.assert_allclose(terms, want, atol=2e-4)
    # The loss integrates over z_t1 in closed form, so it is equal on average only.
    loss = losses["nll"] + losses["kl"].sum(axis=1)
    gap = np.asarray(loss) - want
    assert gap.std() > 0.01
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))


@pytest.mark.parametrize("steps", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_larger_deltas_exceed_it_by_a_known_kl(observed, steps):
    """The excess is KL(p(z_t2 | x up to t2) ‖ p(z_t2 | x_t2, x up to t1)), in closed form here."""
    x, known = observed
    matrix, added = system.transition(steps)
    loss, want, gaps = [], [], []
    for named, trace in _traced(exact(steps), x, 4):
        loss.append(np.asarray(named["nll"] + named["kl"].sum(axis=1)))
        exactly, times = _exact_losses(x, known, trace, steps)
        want.append(exactly)
        rows = np.empty(times.shape)
        for t in np.unique(times):
            prior = matrix @ known.covariance[t - steps] @ matrix.T + added
            gain = prior @ np.linalg.inv(prior + system.R)
            expected = known.mean[:, t - steps] @ matrix.T
            mean = expected + (x[:, t] - expected) @ gain.T
            p, q = prior - gain @ prior, known.covariance[t]
            inverse, shift = np.linalg.inv(p), mean - known.mean[:, t]
            kl = np.trace(inverse @ q) - 2 + np.log(np.linalg.det(p) / np.linalg.det(q))
            kl = 0.5 * (kl + np.einsum("ni,ij,nj->n", shift, inverse, shift))
            rows = np.where(times == t, kl[:, None], rows)
        gaps.append(rows.reshape(-1))
    difference = np.concatenate(loss) - np.concatenate(want)
    error = difference - np.concatenate(gaps)
    assert difference.mean() > 0.1
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))
