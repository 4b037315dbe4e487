"""MMD against loops over pairs, and against its exact value between Gaussians.

For x ~ N(a, A), y ~ N(b, B) with diagonal covariances, x − y is Gaussian with mean δ = a − b and
variances s = A + B, so that E exp(−‖x − y‖²/h) = Π (1 + 2s/h)^−½ exp(−δ²/(h + 2s)). The inverse
multiquadric is a mixture of these: h/(h + r²) = ∫ exp(−t) exp(−t r²/h) dt.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy import integrate

from tests.families.noise import Observed
from vaejax import losses
from vaejax.core.game import Latent, Trace
from vaejax.distributions import Normal, OneHotCodes, Uniform
from vaejax.losses import squared_mmd

KEY = jax.random.key(0)
BOTH = pytest.mark.parametrize("kernel", ["rbf", "imq"])
ESTIMATORS = pytest.mark.parametrize("estimator", ["biased", "unbiased"])
SCALES = (0.3, 1.0, 4.0)


def rbf(delta, s, h):
    return np.prod(np.exp(-(delta**2) / (h + 2 * s)) / np.sqrt(1 + 2 * s / h))


def imq(delta, s, h):
    def density(t):
        return np.exp(-t) * rbf(delta, s, h / t)

    return integrate.quad(density, 0, np.inf, epsabs=1e-12)[0]


def exact(kernel, x, y, h):
    """E k(x, x'), E k(y, y'), E k(x, y) of mixtures `[(weight, mean, variance), ...]`."""
    k = {"rbf": rbf, "imq": imq}[kernel]

    def mean(p, q):
        return sum(u * v * k(a - b, r + s, h) for u, a, r in p for v, b, s in q)

    return mean(x, x), mean(y, y), mean(x, y)


A = np.array([0.5, -1.0, 0.0]), np.array([0.6, 1.5, 1.0])
B = np.array([0.0, 0.0, 0.3]), np.array([1.0, 0.5, 2.0])
P_A, P_B = [(1.0, *A)], [(1.0, *B)]


def gaussian(key, n, mean, variance):
    noise = jax.random.normal(key, (n, len(mean)))
    return jnp.asarray(mean, jnp.float32)[None] + noise * jnp.sqrt(
        jnp.asarray(variance, jnp.float32)[None]
    )


def points(n, m, dim=3, seed=0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, dim).astype(np.float32), (rng.rand(m, dim) * 2).astype(np.float32)


def by_loops(x, y, kernel, scales, h, estimator):
    def k(a, b):
        r2 = sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True))
        if kernel == "rbf":
            return sum(np.exp(-r2 / (s * h)) for s in scales)
        return sum(s * h / (s * h + r2) for s in scales)

    def mean(a, b, same):
        skip = same and estimator == "unbiased"
        values = [k(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if not skip or i != j]
        return np.mean(values)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@BOTH
@ESTIMATORS
@pytest.mark.parametrize(
    ("bandwidth", "h"), [(None, None), ("squared_dim", 9.0), ("twice_dim", 6.0), (1.7, 1.7)]
)
def test_equals_loops_over_pairs(kernel, estimator, bandwidth, h):
    h = h or {"rbf": 9.0, "imq": 6.0}[kernel]  # D² and 2D at D = 3
    x, y = points(9, 6)
    got = squared_mmd(x, y, kernel=kernel, scales=SCALES, bandwidth=bandwidth, estimator=estimator)
    np.testing.assert_allclose(got, by_loops(x, y, kernel, SCALES, h, estimator), atol=2e-6)


@BOTH
def test_the_mean_over_samples_is_the_exact_value_between_gaussians(kernel):
    """Unbiased: MMD² itself. Biased: MMD² + (k(0) − E k(x, x')) / n + the same of y."""
    n, m, h = 12, 20, 3.0
    xx, yy, xy = exact(kernel, P_A, P_B, h)
    want = {"unbiased": xx + yy - 2 * xy}
    want["biased"] = want["unbiased"] + (1 - xx) / n + (1 - yy) / m

    @jax.jit
    @jax.vmap
    def estimate(key):
        x_key, y_key = jax.random.split(key)
        x, y = gaussian(x_key, n, *A), gaussian(y_key, m, *B)
        return {e: squared_mmd(x, y, kernel=kernel, bandwidth=h, estimator=e) for e in want}

    estimates = estimate(jax.random.split(KEY, 20_000))
    for name, values in estimates.items():
        values = np.asarray(values, np.float64)
        error = values.std() / np.sqrt(values.size)
        assert error < 0.02 * want["unbiased"]
        assert abs(values.mean() - want[name]) < 4 * error, name
    assert (estimates["biased"] >= 0).all()
    assert (estimates["unbiased"] < 0).any()


def trace_of(z, prior):
    return Trace(z, None, tuple(Latent(Normal(a, jnp.ones_like(a)), p, a)
                                for a, p in zip(z, prior, strict=True)))  # fmt: skip


def standard(z):
    return Normal(jnp.zeros_like(z), jnp.ones_like(z))


@dataclasses.dataclass(frozen=True)
class Bimodal:
    """A prior with no method but `sample`: N(±2, 0.25) with odds 3 to 1."""

    shape: tuple[int, ...]

    def sample(self, key):
        sign_key, noise_key = jax.random.split(key)
        positive = jax.random.bernoulli(sign_key, 0.75, (self.shape[0], 1))
        return jnp.where(positive, 2.0, -2.0) + 0.5 * jax.random.normal(noise_key, self.shape)


def test_the_transform_compares_z_with_samples_of_the_nodes_prior():
    """Normal priors, one for each example, and a mixture, against the exact values."""
    n, h = 64, 4.0
    mixture = [(w, np.full(3, s), np.full(3, 0.25)) for w, s in ((0.75, 2.0), (0.25, -2.0))]
    transform = losses.mmd(bandwidth=h, estimator="unbiased")
    shift = np.tile([[0.0], [3.0]], (n // 2, 3)).astype(np.float32)  # a conditional prior
    conditional = [(0.5, np.full(3, s), np.ones(3)) for s in (0.0, 3.0)]

    @jax.jit
    @jax.vmap
    def estimate(key):
        z_key, key = jax.random.split(key)
        z = gaussian(z_key, n, *A)
        priors = [Bimodal(z.shape), Normal(jnp.asarray(shift), jnp.ones_like(z))]
        return [transform.apply({}, {}, trace_of([z], [p]), key)["mmd"] for p in priors]

    estimates = estimate(jax.random.split(KEY, 4000))
    for values, prior in zip(estimates, (mixture, conditional), strict=True):
        xx, yy, xy = exact("rbf", P_A, prior, h)
        if prior is conditional:  # exactly half of the examples have each mean
            same, different = (rbf(np.full(3, d), np.full(3, 2.0), h) for d in (0.0, 3.0))
            yy = (same * (n / 2 - 1) + different * n / 2) / (n - 1)
        values = np.asarray(values, np.float64)
        error = values.std() / np.sqrt(values.size)
        assert abs(values.mean() - (xx + yy - 2 * xy)) < 4 * error
        assert error < 0.01 * (xx + yy - 2 * xy)


def test_nodes_are_summed_flattened_and_can_be_chosen():
    rng = np.random.RandomState(0)
    z = [jnp.asarray(rng.randn(8, *s) + s[0], jnp.float32) for s in ((4,), (2, 3), (2, 1, 2))]
    priors = [Observed(standard(a)) for a in z]
    trace = trace_of(z, priors)
    before = {"nll": jnp.zeros(8)}
    values, samples = [], []
    for i, a in enumerate(z):
        out = losses.mmd(node=i).apply(before, {}, trace, KEY)
        assert set(out) == {"nll", "mmd"}
        (sample,) = priors[i].samples
        samples.append(np.asarray(sample).reshape(-1))
        want = by_loops(
            a.reshape(8, -1), sample.reshape(8, -1), "rbf", (1.0,), (a.size // 8) ** 2, "biased"
        )
        np.testing.assert_allclose(out["mmd"], want, atol=1e-6)
        values.append(out["mmd"])
    samples = np.concatenate(samples)
    assert scipy.stats.kstest(samples, "norm").pvalue > 1e-3
    assert len(np.unique(samples)) == len(samples), "one key for two nodes"
    total = losses.mmd().apply({}, {}, trace, KEY)["mmd"]
    np.testing.assert_allclose(total, sum(values), rtol=1e-6)
    last = losses.mmd(node=-1).apply({}, {}, trace, KEY)["mmd"]
    np.testing.assert_array_equal(last, values[2])


def test_gradient_equals_finite_differences():
    x, y = points(6, 7)

    @jax.jit
    @jax.grad
    def gradient(x):
        return squared_mmd(x, y, kernel="imq", scales=SCALES, estimator="unbiased")

    grad, step = gradient(x), 1e-4
    for i, d in ((0, 0), (3, 1), (5, 2)):
        shift = np.zeros(x.shape)
        shift[i, d] = step
        h, up, down = 6.0, x + shift, x - shift
        want = (
            by_loops(up, y, "imq", SCALES, h, "unbiased")
            - by_loops(down, y, "imq", SCALES, h, "unbiased")
        ) / (2 * step)
        np.testing.assert_allclose(grad[i, d], want, rtol=1e-3, atol=1e-6)


def test_invalid_arguments_are_reported():
    x, y = points(4, 4)
    with pytest.raises(ValueError, match=r"unknown kernel of mmd 'rfb' .*did you mean 'rbf'"):
        squared_mmd(x, y, kernel="rfb")
    with pytest.raises(ValueError, match=r"estimator of mmd 'unbiassed' .*'unbiased'"):
        squared_mmd(x, y, estimator="unbiassed")
    with pytest.raises(ValueError, match=r"bandwidth of mmd 'dim' \(known: squared_dim"):
        squared_mmd(x, y, bandwidth="dim")
    with pytest.raises(ValueError, match="at least one of 'scales'"):
        squared_mmd(x, y, scales=())
    with pytest.raises(ValueError, match="needs two examples or more"):
        squared_mmd(x[:1], y, estimator="unbiased")
    z = jnp.asarray(x)
    trace = trace_of([z], [standard(z)])
    with pytest.raises(ValueError, match="'mmd' needs node 1, but the model has 1 node"):
        losses.mmd(node=1).apply({}, {}, trace, KEY)
    with pytest.raises(ValueError, match=r"samples of shape \(3,\) for z of shape \(4, 3\)"):
        losses.mmd().apply({}, {}, trace_of([z], [standard(z[0])]), KEY)
    codes = Latent(OneHotCodes(z, z, jnp.zeros(4, jnp.int32), 8), Uniform(8, (4,)), z)
    with pytest.raises(
        ValueError, match="continuous z, but node 0 has a posterior of type OneHotCodes"
    ):
        losses.mmd().apply({}, {}, Trace(z, None, (codes,)), KEY)
