"""The decomposition on datasets whose aggregate posterior is known, and DIP-VAE's covariances."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaejax import losses
from vaejax.core.game import Latent, Trace
from vaejax.core.sharding import batch_sharding, make_mesh
from vaejax.distributions import Mixture, Normal, OneHotCodes, Uniform
from vaejax.losses.aggregate_posterior import log_aggregate

KEY = jax.random.key(0)
NAMES = ("mi", "tc", "dimwise_kl")


def node(size, dims, seed=0, prior=None):
    """Gaussian posteriors that overlap, and a sample from each."""
    rng = np.random.RandomState(seed)
    mixed = rng.randn(size, dims) @ (np.eye(dims) + 0.7 * np.ones((dims, dims)))
    q = Normal(
        jnp.asarray(mixed, jnp.float32), jnp.asarray(rng.rand(size, dims) + 0.4, jnp.float32)
    )
    p = Normal(jnp.zeros((size, dims)), jnp.full((size, dims), 1.5)) if prior is None else prior
    return Latent(q, p, jax.jit(Normal.sample)(q, jax.random.key(seed)))


def evaluate(transform, *nodes):
    @jax.jit
    def apply(nodes):
        trace = Trace(jnp.zeros((nodes[0].z.shape[0], 1)), None, nodes)
        return transform.apply({}, {}, trace, KEY)

    return {k: np.asarray(v, np.float64) for k, v in apply(nodes).items()}


def exact(q, z, p_scale=1.5):
    """log q(z|x), log q(z), Σ log q(z_d), log p(z) by SciPy, where the batch is the dataset."""
    loc, scale, z = (np.asarray(a, np.float64) for a in (q.loc, q.scale, z))
    each = scipy.stats.norm.logpdf(z[:, None], loc[None], scale[None])  # [B, N, D]
    size = len(loc)
    joint = scipy.special.logsumexp(each.sum(2), axis=1) - np.log(size)
    dims = (scipy.special.logsumexp(each, axis=1) - np.log(size)).sum(1)
    log_q = scipy.stats.norm.logpdf(z, loc, scale).sum(1)
    return log_q, joint, dims, scipy.stats.norm.logpdf(z, 0, p_scale).sum(1)


def test_weighted_sampling_of_the_whole_dataset_is_exact_up_to_a_constant():
    size, dims = 7, 3
    latent = node(size, dims)
    log_q, joint, each, prior = exact(latent.posterior, latent.z)
    got = evaluate(losses.decomposition(size), latent)
    assert set(got) == set(NAMES)
    assert all(value.shape == (size, 1) for value in got.values())
    constant = np.log(size)
    np.testing.assert_allclose(got["mi"][:, 0], log_q - joint + constant, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["tc"][:, 0], joint - each + (dims - 1) * constant, rtol=1e-4)
    np.testing.assert_allclose(got["dimwise_kl"][:, 0], each - prior - dims * constant, rtol=1e-4)


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
def test_the_parts_sum_to_the_sampled_kl_of_each_node(sampling):
    components = Normal(jnp.asarray([[0.0, 1.0], [2.0, -1.0]]), jnp.ones((2, 2)))
    nodes = node(6, 3), node(6, 2, seed=1, prior=Mixture(jnp.zeros(2), components, 6))
    got = evaluate(losses.decomposition(50, sampling), *nodes)
    total = sum(got[name] for name in NAMES)
    log_q, _, _, prior = exact(nodes[0].posterior, nodes[0].z)
    np.testing.assert_allclose(total[:, 0], log_q - prior, rtol=1e-4, atol=1e-5)
    q, z = nodes[1].posterior, np.asarray(nodes[1].z, np.float64)
    log_q = scipy.stats.norm.logpdf(z, q.loc, q.scale).sum(1)
    prior = scipy.stats.norm.logpdf(z[:, None], components.loc, 1).sum(2)
    prior = scipy.special.logsumexp(prior, axis=1) - np.log(2)
    np.testing.assert_allclose(total[:, 1], log_q - prior, rtol=1e-4, atol=1e-5)


def test_the_parts_are_unbiased_estimates_of_their_integrals():
    """I + TC + dimension-wise KL = E KL, and TC itself, by quadrature over a plane."""
    size, samples = 5, 10_000
    latent = node(size, 2)
    q, p, _ = latent

    @jax.jit
    @jax.vmap
    def mean_parts(key):
        trace = Trace(jnp.zeros((size, 1)), None, (Latent(q, p, q.sample(key)),))
        parts = losses.decomposition(size).apply({}, {}, trace, KEY)
        return {name: value.mean() for name, value in parts.items()}

    parts = mean_parts(jax.random.split(KEY, samples))
    parts = {name: np.asarray(value, np.float64) for name, value in parts.items()}
    constant = {"mi": -1, "tc": -1, "dimwise_kl": 2}  # times log N, see above
    parts = {name: value + constant[name] * np.log(size) for name, value in parts.items()}

    def assert_mean(estimates, want):
        error = estimates.std() / np.sqrt(len(estimates))
        assert abs(estimates.mean() - want) < 4 * error, (estimates.mean(), want, error)

    s, m = np.asarray(q.scale, np.float64), np.asarray(q.loc, np.float64)
    kl = np.log(1.5 / s) + (s**2 + m**2) / (2 * 1.5**2) - 0.5
    assert_mean(sum(parts.values()), kl.sum(1).mean())

    axis = np.linspace(-14, 14, 1401)
    each = scipy.stats.norm.pdf(axis[:, None, None], m[None], s[None])  # [G, N, 2]
    joint = np.einsum("an,bn->ab", each[:, :, 0], each[:, :, 1]) / size
    marginals = each.mean(axis=1)
    area = (axis[1] - axis[0]) ** 2
    assert abs(joint.sum() * area - 1) < 1e-6
    log_ratio = np.log(joint + 1e-300) - np.log(np.outer(marginals[:, 0], marginals[:, 1]) + 1e-300)
    assert_mean(parts["tc"], (joint * log_ratio).sum() * area)
    entropy = -(joint * np.log(joint + 1e-300)).sum() * area
    conditional = np.mean(np.log(s * np.sqrt(2 * np.pi * np.e)).sum(1))
    assert_mean(parts["mi"], entropy - conditional)


def stratified_density(latent, rows, examples):
    """The estimate of q(z) at the first of these rows of a dataset."""
    q, p, z = jax.tree.map(lambda a: a[rows], latent)
    trace = Trace(jnp.zeros((len(rows), 1)), None, (Latent(q, p, z),))
    mi = losses.decomposition(examples, "stratified").apply({}, {}, trace, KEY)["mi"][0, 0]
    return jnp.exp(q.log_prob(z)[0].sum() - mi)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_stratified_estimate_is_unbiased_over_all_batches(size):
    """Over every ordered batch that begins with the first of six examples."""
    latent = node(6, 2)
    others = itertools.permutations(range(1, 6), size - 1)
    batches = jnp.asarray([(0, *rest) for rest in others])
    got = jax.jit(jax.vmap(lambda rows: stratified_density(latent, rows, 6)))(batches)
    want = np.exp(exact(latent.posterior, latent.z)[1][0])
    assert np.std(got) > 0.01 * want
    np.testing.assert_allclose(np.asarray(got, np.float64).mean(), want, rtol=1e-5)


def test_the_stratified_estimate_converges_to_q_as_batches_grow():
    examples = 64
    latent = node(examples, 2)
    want = np.exp(exact(latent.posterior, latent.z)[1])
    spread = []
    for size in (4, 16, 48):

        @jax.jit
        @jax.vmap
        def rows_and_density(key):
            rows = jax.random.permutation(key, examples)[:size]  # noqa: B023
            return rows, stratified_density(latent, rows, examples)

        rows, got = rows_and_density(jax.random.split(KEY, 1000))
        ratio = np.asarray(got, np.float64) / want[np.asarray(rows)[:, 0]]
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
        spread.append(ratio.std())
    assert spread[0] > 1.5 * spread[1] > 2.25 * spread[2]


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
@pytest.mark.parametrize(("size", "elements"), [(12, 12 * 3 * 5), (7, 1)])
def test_chunks_change_neither_values_nor_gradients(sampling, size, elements):
    latent = node(size, 3)

    def total(loc, scale, elements):
        q = Normal(loc, scale)
        z = loc + scale * (latent.z - latent.posterior.loc) / latent.posterior.scale
        trace = Trace(jnp.zeros((size, 1)), None, (Latent(q, latent.prior, z),))
        transform = losses.decomposition(40, sampling, max_elements=elements)
        parts = transform.apply({}, {}, trace, KEY)
        return parts["mi"].sum() + 6 * (parts["tc"] * jnp.arange(1.0, size + 1)[:, None]).sum()

    grad = jax.jit(jax.value_and_grad(total, (0, 1)), static_argnums=2)
    args = latent.posterior.loc, latent.posterior.scale
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5),
        grad(*args, elements),
        grad(*args, 2**30),
    )


def test_memory_is_bounded_also_in_the_backward_pass():
    size, dims = 1024, 16  # 64 MiB of densities

    def loss(loc, scale, z):
        joint, each = log_aggregate(Normal(loc, scale), z, jnp.zeros((size, 1)), 2**19)
        return joint.sum() + each.sum()

    shape = jax.ShapeDtypeStruct((size, dims), jnp.float32)
    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(shape, shape, shape).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 16 * 2**20


def test_one_device_equals_eight():
    latent = node(64, 4)
    transform = losses.decomposition(1000, max_elements=64 * 4 * 16)

    def parts(latent):
        return transform.apply({}, {}, Trace(jnp.zeros((64, 1)), None, (latent,)), KEY)

    sharded = jax.device_put(latent, batch_sharding(make_mesh(8)))
    want = jax.jit(parts)(latent)
    for name, value in jax.jit(parts)(sharded).items():
        np.testing.assert_allclose(value, want[name], rtol=1e-4, atol=1e-4)


def test_invalid_arguments_of_the_decomposition_are_reported():
    with pytest.raises(ValueError, match=r"unknown sampling .*'wieghted'.*did you mean 'weighted'"):
        losses.decomposition(10, "wieghted")
    with pytest.raises(ValueError, match="training set's size, found 0"):
        losses.decomposition(0)
    codes = OneHotCodes(jnp.zeros((4, 2)), jnp.zeros((4, 2)), jnp.zeros(4, jnp.int32), 8)
    with pytest.raises(ValueError, match=r"'tc' needs nodes .* type OneHotCodes"):
        evaluate(losses.decomposition(10), Latent(codes, Uniform(8, (4,)), codes.codes))
    spatial = Normal(jnp.zeros((4, 2, 2, 3)), jnp.ones((4, 2, 2, 3)))
    with pytest.raises(ValueError, match=r"z of shape \(4, 2, 2, 3\)"):
        evaluate(losses.decomposition(10), Latent(spatial, spatial, spatial.loc))
    for examples, size in ((10, 1), (4, 6)):
        with pytest.raises(ValueError, match=f"batches of 2 to .* found {size}"):
            evaluate(losses.decomposition(examples, "stratified"), node(size, 2))


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_dip_compares_the_covariance_of_the_batch_with_the_identity(kind):
    nodes = node(20, 4), node(20, 2, seed=1)
    off = diagonal = 0.0
    for q, _, _ in nodes:
        covariance = np.cov(np.asarray(q.loc, np.float64).T, bias=True)
        if kind == "ii":
            covariance += np.diag((np.asarray(q.scale, np.float64) ** 2).mean(0))
        d = len(covariance)
        off += sum(covariance[i, j] ** 2 for i in range(d) for j in range(d) if i != j)
        diagonal += sum((covariance[i, i] - 1) ** 2 for i in range(d))
    got = evaluate(losses.dip(kind), *nodes)
    assert got["dip_off_diagonal"].shape == got["dip_diagonal"].shape == ()
    np.testing.assert_allclose(got["dip_off_diagonal"], off, rtol=1e-4)
    np.testing.assert_allclose(got["dip_diagonal"], diagonal, rtol=1e-4)


def test_dip_ii_is_the_covariance_of_samples():
    latent = node(10, 3)
    sample = jax.jit(jax.vmap(latent.posterior.sample))
    z = np.asarray(sample(jax.random.split(KEY, 40_000)), np.float64)
    covariance = np.cov(z.reshape(-1, 3).T)
    got = evaluate(losses.dip("ii"), latent)
    off = covariance - np.diag(np.diag(covariance))
    np.testing.assert_allclose(got["dip_off_diagonal"], (off**2).sum(), rtol=0.02)
    np.testing.assert_allclose(
        got["dip_diagonal"], ((np.diag(covariance) - 1) ** 2).sum(), rtol=0.02
    )


def test_invalid_arguments_of_dip_are_reported():
    with pytest.raises(ValueError, match="unknown kind of DIP-VAE 'iii'"):
        losses.dip("iii")
    spatial = Normal(jnp.zeros((4, 2, 2, 3)), jnp.ones((4, 2, 2, 3)))
    with pytest.raises(ValueError, match="DIP-VAE-II needs posteriors with a mean and a variance"):
        evaluate(losses.dip("ii"), Latent(spatial, spatial, spatial.loc))
