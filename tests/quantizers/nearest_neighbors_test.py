"""Nearest codes against NumPy's argmin in float64; k-means on known clusters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.quantizers.nearest_neighbors import Blocks, default_blocks, kmeans, nearest

KEY = jax.random.key(0)


def search(features, codebook, blocks=None):
    run = jax.jit(functools.partial(nearest, blocks=blocks))
    return np.asarray(run(features, codebook))


def brute_force(features, codebook):
    f, e = np.asarray(features, np.float64), np.asarray(codebook, np.float64)
    return ((f[:, None] - e[None]) ** 2).sum(-1).argmin(1)  # the first of ties


# Those of the backend, and others, with and without groups.
BLOCKS = [
    None,
    Blocks(7, 5),
    Blocks(1, 1),
    Blocks(512, 1024, 16),
    Blocks(7, 6, 3),
    Blocks(16, 4, 4),
    Blocks(1, 1, 1),
]
with_all_blocks = pytest.mark.parametrize("blocks", BLOCKS, ids=str)


# Tokens, codes, dimensions: ones, powers of two, sizes that no block divides.
SIZES = [(1, 1, 1), (16, 8, 4), (37, 23, 3), (64, 5, 2)]


@with_all_blocks
@pytest.mark.parametrize("size", SIZES)
def test_indices_are_those_of_numpy(size, blocks):
    tokens, codes, dim = size
    rng = np.random.RandomState(tokens)
    features = rng.randn(tokens, dim).astype(np.float32)
    codebook = rng.randn(codes, dim).astype(np.float32)
    got = search(features, codebook, blocks)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, brute_force(features, codebook))


@with_all_blocks
@pytest.mark.parametrize("offset", [1e3, 1e4, 1e5])
def test_codes_far_from_the_origin_compared_with_their_spread(offset, blocks):
    """The offset of each dimension has its own sign; float32 holds 1e5 to 1 / 128."""
    rng = np.random.RandomState(0)
    centre = offset * np.array([1, -1, 0.7, 0], np.float32)
    features = centre + rng.randn(60, 4).astype(np.float32)
    codebook = centre + rng.randn(23, 4).astype(np.float32)
    np.testing.assert_array_equal(
        search(features, codebook, blocks), brute_force(features, codebook)
    )


def half_way(tokens, codes):
    """Tokens halfway between integers, codes at integers: every distance is exact."""
    rng = np.random.RandomState(0)
    features = 0.5 + rng.randint(-2, 2, (tokens, 2)).astype(np.float32)
    codebook = rng.randint(-2, 3, (codes, 2)).astype(np.float32)
    distance = ((features[:, None] - codebook[None]) ** 2).sum(-1)
    assert ((distance == distance.min(1, keepdims=True)).sum(1) > 1).mean() > 0.8
    return features, codebook


@with_all_blocks
def test_of_equally_near_codes_the_first_is_chosen(blocks):
    features, codebook = half_way(50, 23)
    np.testing.assert_array_equal(
        search(features, codebook, blocks), brute_force(features, codebook)
    )


# In the backend's blocks: one, several of tokens, several of codes.
@pytest.mark.parametrize("size", [(50, 23), (150_001, 24), (600, 8_200)], ids=str)
def test_several_blocks_are_searched_completely(size):
    features, codebook = half_way(*size)
    np.testing.assert_array_equal(search(features, codebook), brute_force(features, codebook))


@with_all_blocks
def test_of_identical_codes_the_first_is_chosen(blocks):
    features = np.random.RandomState(0).randn(20, 3).astype(np.float32)
    np.testing.assert_array_equal(
        search(features, np.ones((11, 3), np.float32), blocks), np.zeros(20)
    )


@with_all_blocks
def test_features_with_nan_get_a_valid_index_and_do_not_change_others(blocks):
    rng = np.random.RandomState(0)
    features, codebook = rng.randn(20, 3).astype(np.float32), rng.randn(11, 3).astype(np.float32)
    features[3], features[7, 1], features[9] = np.nan, np.nan, np.inf
    got = search(features, codebook, blocks)
    assert ((got >= 0) & (got < 11)).all()
    good = np.isfinite(features).all(1)
    np.testing.assert_array_equal(got[good], brute_force(features[good], codebook))


def test_bfloat16_features_are_compared_in_float32():
    """Codes that bfloat16 cannot distinguish near 1, and features that it represents exactly."""
    codebook = np.float32(1) + np.arange(8, dtype=np.float32)[:, None] * np.float32(2**-12)
    assert len(np.unique(jnp.asarray(codebook, jnp.bfloat16).astype(jnp.float32))) == 1
    features = jnp.array([[1.0], [1.0078125]], jnp.bfloat16)
    np.testing.assert_array_equal(search(features, codebook), [0, 7])


def test_no_gradient_flows():
    def loss(features, codebook):
        indices = nearest(features, codebook)
        return (indices.astype(jnp.float32) * features[:, 0]).sum() + 0 * codebook.sum()

    features, codebook = jax.random.normal(KEY, (9, 2)), jax.random.normal(KEY, (4, 2))
    to_features, to_codebook = jax.jit(jax.grad(loss, (0, 1)))(features, codebook)
    np.testing.assert_array_equal(to_features[:, 0], brute_force(features, codebook))
    assert not np.any(to_codebook)


def test_memory_is_far_below_that_of_the_distance_matrix():
    features = jax.ShapeDtypeStruct((65_536, 64), jnp.float32)  # 16 MiB
    codebook = jax.ShapeDtypeStruct((8192, 64), jnp.float32)
    compiled = jax.jit(nearest).lower(features, codebook).compile()
    blocks = default_blocks(8192)
    block_bytes = 4 * blocks.tokens * blocks.codes  # 8 MiB on CPU, where all distances are 2 GiB
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * block_bytes
    if jax.default_backend() == "cpu":
        assert block_bytes == 2**23


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        nearest(jnp.zeros((3, 4)), jnp.zeros((5, 3)))
    with pytest.raises(AssertionError):
        nearest(jnp.zeros((2, 3, 4)), jnp.zeros((5, 4)))


def clusters():
    """Five far-apart centres and 40 points around each, shuffled."""
    rng = np.random.RandomState(0)
    centres = 10.0 * np.array([[0, 0], [1, 0], [0, 1], [3, 3], [-2, 1]])
    points = np.repeat(centres, 40, axis=0) + 0.1 * rng.randn(200, 2)
    return centres, points[rng.permutation(200)].astype(np.float32)


def test_kmeans_is_lloyds_algorithm():
    """A further iteration changes nothing, and every centre is the mean of its points."""
    _, points = clusters()
    fit = jax.jit(kmeans, static_argnums=(2, 3))
    codes = np.asarray(fit(KEY, points, 12, 60))
    np.testing.assert_allclose(fit(KEY, points, 12, 61), codes, rtol=1e-6)
    owner = brute_force(points, codes)
    for code in np.unique(owner):
        np.testing.assert_allclose(codes[code], points[owner == code].mean(0), atol=1e-4)


def test_kmeans_recovers_separated_clusters():
    """With more codes than clusters, every cluster is found from any initialisation."""
    centres, points = clusters()
    for seed in range(5):
        codes = np.asarray(jax.jit(kmeans, static_argnums=2)(jax.random.key(seed), points, 40))
        distance = np.sqrt(((centres[:, None] - codes[None]) ** 2).sum(-1)).min(1)
        assert distance.max() < 0.2
        nearest_point = np.sqrt(((codes[:, None] - points[None]) ** 2).sum(-1)).min(1)
        assert nearest_point.max() < 0.5, "a code lies away from all points"


def test_kmeans_far_from_the_origin_finds_the_same_centres():
    _, points = clusters()
    points = np.round(points * 256) / 256  # exact after the shift too
    fit = jax.jit(kmeans, static_argnums=(2, 3))
    near, far = fit(KEY, points, 12, 20), fit(KEY, points + np.float32(2**14), 12, 20)
    np.testing.assert_allclose(far - np.float32(2**14), near, atol=2e-3)


def test_kmeans_without_iterations_chooses_distinct_features():
    points = np.arange(60, dtype=np.float32).reshape(30, 2)
    codes = np.asarray(kmeans(KEY, jnp.asarray(points), 12, 0))
    assert len(np.unique(codes, axis=0)) == 12
    assert {tuple(f) for f in codes} <= {tuple(p) for p in points}


@pytest.mark.parametrize("tokens", [1, 5])
def test_kmeans_with_fewer_features_than_codes(tokens):
    points = jax.random.normal(KEY, (tokens, 3))
    codes = np.asarray(jax.jit(kmeans, static_argnums=2)(KEY, points, 16))
    assert codes.shape == (16, 3)
    assert np.isfinite(codes).all()
    distance = np.sqrt(((np.asarray(points)[:, None] - codes[None]) ** 2).sum(-1))
    assert distance.min(1).max() < 1e-5, "a feature without a nearby code"
    assert distance.min(0).max() < 0.2, "a code away from all features"
