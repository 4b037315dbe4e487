"""The spike-and-slab distribution and its KL, also to mixtures, against NumPy and Monte Carlo."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from vaejax import distributions
from vaejax.distributions import Mixture, Normal
from vaejax.distributions.spike_and_slab import SoftAssignment, SpikeAndSlab
from vaejax.latents import bottlenecks

KEY = jax.random.key(0)


def make(loc, scale, active, sharpness=200.0, relaxed=True):
    loc, scale, active = (jnp.asarray(a, jnp.float32) for a in (loc, scale, active))
    c = jnp.full(loc.shape, sharpness)
    return SpikeAndSlab(loc, scale, jnp.log(active), c, relaxed)


@jax.jit
def kl(q, p):
    return distributions.kl(q, p, q.loc)


def random_density(seed, *shape):
    r = np.random.RandomState(seed)
    return make(r.randn(*shape), 0.3 + r.rand(*shape), 0.05 + 0.9 * r.rand(*shape))


def parts(q):
    loc, scale, log_active = (np.asarray(a, np.float64) for a in (q.loc, q.scale, q.log_active))
    return loc, scale, np.exp(log_active)


def numpy_samples(q, n, random):
    loc, scale, active = parts(q)
    slab = loc + scale * random.randn(n, *loc.shape)
    return np.where(random.rand(n, *loc.shape) < active, slab, 0.0)


def numpy_log_density(q, z):
    loc, scale, active = parts(q)
    return np.where(z == 0, np.log1p(-active), np.log(active) + stats.norm(loc, scale).logpdf(z))


def numpy_kl(q, p):
    (m, s, g), (mu, su, gu) = parts(q), parts(p)
    slab = np.log(su / s) + (s**2 + (m - mu) ** 2) / (2 * su**2) - 0.5
    return g * slab + (1 - g) * np.log((1 - g) / (1 - gu)) + g * np.log(g / gu)


def test_kl_agrees_with_monte_carlo():
    q, p, n = random_density(0, 12), random_density(1, 12), 200_000
    z = numpy_samples(q, n, np.random.RandomState(2))
    ratio = numpy_log_density(q, z) - numpy_log_density(p, z)
    error = ratio.std(axis=0) / np.sqrt(n)
    got = kl(q, p)
    assert distributions.has_closed_form(q, p)
    assert (error < 0.01 * (1 + ratio.mean(axis=0))).all()
    np.testing.assert_array_less(np.abs(np.asarray(got) - ratio.mean(axis=0)), 4 * error)


def test_kl_equals_the_formula_and_its_limits():
    q, p = random_density(3, 50), random_density(4, 50)
    np.testing.assert_allclose(kl(q, p), numpy_kl(q, p), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(kl(q, q), 0.0, atol=1e-6)
    loc, scale = [0.7, -2.0], [0.5, 1.5]
    prior = make([0.0, 0.0], [1.0, 1.0], [0.01, 0.3])
    always_active = SpikeAndSlab.from_features(
        jnp.concatenate([jnp.array(loc), 2 * jnp.log(jnp.array(scale)), jnp.array([3.0, 9.0])])
    )
    slab, unit = Normal(always_active.loc, always_active.scale), Normal(prior.loc, prior.scale)
    gaussian = distributions.kl(slab, unit, None)
    want = gaussian - jnp.log(jnp.array([0.01, 0.3]))
    np.testing.assert_allclose(distributions.kl(always_active, prior, loc), want, rtol=1e-4)
    never_active = dataclasses.replace(always_active, log_active=jnp.full(2, -200.0))
    want = -np.log([0.99, 0.7])
    np.testing.assert_allclose(distributions.kl(never_active, prior, loc), want, rtol=1e-5)


def test_from_features_and_its_gradient_stay_finite():
    v = jnp.array([-1000.0, -50.0, -1.0, -1e-8, 0.0, 1e-8, 4.0, 1000.0])
    loc = jnp.linspace(-1.0, 1.0, 8)
    q = SpikeAndSlab.from_features(jnp.concatenate([loc, jnp.full(8, -0.4), v]))
    np.testing.assert_allclose(q.active, np.exp(np.minimum(v, 0)), atol=2e-6)
    np.testing.assert_allclose(q.scale, np.exp(-0.2), rtol=1e-6)
    prior = make(np.zeros(8), np.ones(8), np.full(8, 0.01))

    def nats(v):
        q = SpikeAndSlab.from_features(jnp.concatenate([loc, jnp.full(8, -0.4), v]))
        return distributions.kl(q, prior, q.loc).sum() + q.sample(KEY).sum()

    gradient = jax.jit(jax.grad(nats))(v)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[-2:])  # relu is constant where γ = 1


def test_spike_and_slab_integrate_to_one():
    q = random_density(5, 4)
    x = np.linspace(-12, 12, 20_000, dtype=np.float32)  # zero is not among them
    q_rows = jax.tree.map(lambda a: a[None], q)
    log_p = np.asarray(q_rows.log_prob(jnp.asarray(x[:, None])), np.float64)
    slab = np.exp(log_p).sum(axis=0) * (x[1] - x[0])
    spike = np.exp(np.asarray(q.log_prob(jnp.zeros(4)), np.float64))
    np.testing.assert_allclose(spike, 1 - parts(q)[2], rtol=1e-5)
    np.testing.assert_allclose(slab + spike, 1.0, rtol=1e-3)


def test_exact_samples_have_the_statistics_of_the_distribution():
    q, n = dataclasses.replace(random_density(6, 6), relaxed=False), 100_000
    z = np.asarray(jax.jit(jax.vmap(q.sample))(jax.random.split(KEY, n)), np.float64)
    loc, scale, active = parts(q)
    on = (z != 0).mean(axis=0)
    np.testing.assert_array_less(np.abs(on - active), 4 * np.sqrt(active * (1 - active) / n))
    for i in range(6):  # elements that are not zero follow the slab
        assert stats.kstest(z[z[:, i] != 0, i], stats.norm(loc[i], scale[i]).cdf).pvalue > 1e-3
    samples = numpy_samples(q, n, np.random.RandomState(7))
    for got, sample in ((q.mean, samples), (q.variance, (samples - samples.mean(0)) ** 2)):
        error = sample.std(axis=0) / np.sqrt(n)
        np.testing.assert_array_less(np.abs(np.asarray(got) - sample.mean(0)), 4 * error)


def test_relaxed_samples_converge_to_exact_ones_as_the_sharpness_grows():
    q, n = random_density(8, 4), 50_000
    keys = jax.random.split(KEY, n)

    def samples(c, relaxed):
        with_c = dataclasses.replace(q, sharpness=jnp.full(4, c), relaxed=relaxed)
        return np.asarray(jax.jit(jax.vmap(with_c.sample))(keys))

    exact = samples(50.0, False)
    np.testing.assert_array_equal(exact, samples(200.0, False))
    differing = [(np.abs(samples(c, True) - exact) > 0.01).mean() for c in (50.0, 200.0, 1e4)]
    assert differing[0] > 2 * differing[1] > 10 * differing[2]
    assert differing[2] < 0.002
    zero = (np.abs(samples(1e6, True)) < 1e-6).mean(axis=0)
    off = 1 - parts(q)[2]
    np.testing.assert_array_less(np.abs(zero - off), 4 * np.sqrt(off * (1 - off) / n) + 1e-4)


@pytest.mark.parametrize("relaxed", [True, False])
def test_the_gradient_of_a_sample_is_that_of_the_relaxed_sample_by_hand(relaxed):
    q, c = random_density(9, 200), 7.0
    # The random numbers of the key, from samples of other densities.
    one = jnp.ones(200)
    standard = SpikeAndSlab(0 * one, one, jnp.log(0.5) * one, one)
    z, shifted = (
        np.asarray(dataclasses.replace(standard, loc=m * one).sample(KEY), np.float64)
        for m in (0, 1)
    )
    gate = shifted - z
    noise, eta = z / gate, special.logit(gate) + 0.5
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert stats.kstest(eta, "uniform").pvalue > 1e-3
    loc, scale, active = parts(q)
    mask = 1 / (1 + np.exp(-c * (eta - 1 + active)))
    slab = loc + scale * noise

    def sample(loc, scale, active):
        sharpness = jnp.full(200, c)
        return SpikeAndSlab(loc, scale, jnp.log(active), sharpness, relaxed).sample(KEY)

    value, pull = jax.vjp(sample, q.loc, q.scale, jnp.exp(q.log_active))
    hard = (eta > 1 - active).astype(float)
    np.testing.assert_allclose(value, (mask if relaxed else hard) * slab, rtol=1e-4, atol=1e-5)
    to_loc, to_scale, to_active = pull(jnp.ones(200))
    used = mask if relaxed else hard
    np.testing.assert_allclose(to_loc, used, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(to_scale, used * noise, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(to_active, c * mask * (1 - mask) * slab, rtol=1e-3, atol=1e-5)


def mixture(seed, count, *shape):
    components = random_density(seed, count, *shape)
    logits = jnp.asarray(np.random.RandomState(seed).randn(count), jnp.float32)
    return Mixture(logits, components, 5)


def component(p, u):
    return jax.tree.map(lambda a: a[u], p.components)


def test_kl_to_a_soft_assignment_is_the_joint_kl_of_latent_and_component():
    q, p = random_density(10, 5, 3), mixture(11, 4, 3)
    w = np.random.RandomState(12).dirichlet(np.ones(4), size=5)
    weights = np.exp(np.asarray(jax.nn.log_softmax(p.logits), np.float64))
    got = kl(q, SoftAssignment(p, np.float32(np.log(w))))
    assert got.shape == (5, 3)
    want = [
        sum(
            w[b, u] * (numpy_kl(q, component(p, u))[b].sum() + np.log(w[b, u] / weights[u]))
            for u in range(4)
        )
        for b in range(5)
    ]
    np.testing.assert_allclose(np.asarray(got).sum(axis=1), want, rtol=1e-4)


def test_kl_to_a_mixture_is_the_lowest_over_assignments_and_a_bound():
    q, p, n = random_density(13, 5, 3), mixture(14, 4, 3), 50_000
    got = np.asarray(kl(q, p)).sum(axis=1)
    random = np.random.RandomState(15)
    for _ in range(50):
        w = np.float32(random.dirichlet(np.full(4, 0.5), size=5))
        other = np.asarray(kl(q, SoftAssignment(p, np.log(w + np.float32(1e-9))))).sum(axis=1)
        np.testing.assert_array_less(got, other + 1e-4)
    z = numpy_samples(q, n, random)  # [n, 5, 3]
    log_q = numpy_log_density(q, z).sum(axis=-1)
    log_p_u = [numpy_log_density(component(p, u), z).sum(axis=-1) for u in range(4)]
    weights = np.asarray(jax.nn.log_softmax(p.logits), np.float64)
    log_p = np.logaddexp.reduce(np.stack(log_p_u) + weights[:, None, None], axis=0)
    ratio = log_q - log_p
    error = ratio.std(axis=0) / np.sqrt(n)
    np.testing.assert_array_less(ratio.mean(axis=0) - 4 * error, got)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(z[0], jnp.float32)), log_p[0], rtol=1e-4)
    single = Mixture(jnp.zeros(1), jax.tree.map(lambda a: a[:1], p.components), 5)
    want = numpy_kl(q, component(p, 0)).sum(axis=1)
    np.testing.assert_allclose(kl(q, single).sum(axis=1), want, rtol=1e-4)


def test_a_gaussian_prior_is_refused_with_a_remedy():
    q = random_density(16, 5, 3)
    for p in (Normal(q.loc, q.scale), Mixture(jnp.zeros(5), Normal(q.loc, q.scale), 5)):
        with pytest.raises(ValueError, match=r"no finite KL .*'standard', 'pseudo_inputs'"):
            kl(q, p)


def test_the_bottleneck_follows_its_schedules_and_samples_from_its_prior():
    bottleneck = bottlenecks.spike_and_slab(
        3, alpha=0.2, sharpness=lambda t: 50.0 + 1.5 * jnp.minimum(t.astype(jnp.float32), 100.0),
        slab=lambda t: jnp.minimum(t.astype(jnp.float32) / 100, 1.0),
    )  # fmt: skip
    features = jnp.asarray(np.random.RandomState(17).randn(6, 9), jnp.float32)
    for step, c, slab in ((0, 50, 0), (50, 125, 0.5), (100, 200, 1), (10**6, 200, 1)):
        q, p, z = bottleneck.training_variant(jnp.int32(step)).apply({}, features, KEY)
        np.testing.assert_allclose(q.sharpness, c)
        np.testing.assert_allclose(q.loc, slab * features[:, :3], rtol=1e-6)
        np.testing.assert_allclose(q.scale, np.exp(0.5 * slab * features[:, 3:6]), rtol=1e-6)
        np.testing.assert_array_equal(z, q.sample(KEY))
        if slab == 0:  # the KL is that of the Bernoulli variables alone
            g = parts(q)[2]
            want = g * np.log(g / 0.2) + (1 - g) * np.log((1 - g) / 0.8)
            np.testing.assert_allclose(distributions.kl(q, p, z), want, rtol=1e-3, atol=1e-5)
    end = bottleneck.apply({}, features, KEY)  # exact samples
    q = dataclasses.replace(q, relaxed=False)
    jax.tree.map(np.testing.assert_array_equal, end.posterior, q)
    np.testing.assert_array_equal(end.z, q.sample(KEY))
    samples = np.asarray(bottleneck.sample_prior({}, KEY, (50_000, 9), 0.5))
    assert samples.shape == (50_000, 3)
    n = samples.size
    assert abs((samples != 0).mean() - 0.2) < 4 * np.sqrt(0.16 / n)
    np.testing.assert_allclose(samples[samples != 0].std(), 0.5, rtol=0.02)
