"""Reading and dropping of conditions, and the likelihood of a part of the event."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax import distributions
from vaejax.core import conditions
from vaejax.data.preprocess import preparation
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Bernoulli, DiscretizedLogisticMixture, Masked, Normal

RNG = np.random.RandomState(0)


def test_labels_are_one_hot_and_no_class_is_zeros():
    c = conditions.condition("label", classes=3)
    got = c.read({"label": jnp.array([2, 0, -1])})
    np.testing.assert_array_equal(got, [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(c.absent(2), np.zeros((2, 3)))


def test_arrays_are_read_by_their_name_as_floats():
    c = conditions.condition("factors", shape=(2,))
    got = c.read({"factors": jnp.array([[1, 2], [3, 4]])})
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, [[1, 2], [3, 4]])
    assert c.absent(5).shape == (5, 2)


def test_missing_conditions_and_wrong_shapes_are_reported():
    with pytest.raises(ValueError, match=r"data with classes, or model\.classes"):
        conditions.condition("label")
    with pytest.raises(ValueError, match=r"needs 'label', the batch has \['image'\]"):
        conditions.condition("label", classes=2).read({"image": jnp.zeros((1, 2))})
    with pytest.raises(ValueError, match="condition 'pose' is missing"):
        conditions.condition("pose", shape=(2,)).read({"image": jnp.zeros((1, 2))})
    with pytest.raises(ValueError, match=r"should have shape \(B, 3\), found \(1, 2\)"):
        conditions.condition("pose", shape=(3,)).read({"pose": jnp.zeros((1, 2))})


@pytest.fixture
def source():
    """Labels, and conditions that are vectors of ones."""
    images = from_arrays(
        {"image": np.zeros((8, 4, 4), np.uint8), "label": np.arange(8) % 4}, holdout=0
    )

    def decode(rows):
        batch = images.decode(rows)
        return {**batch, "condition": jnp.ones((len(batch["label"]), 3))}

    return dataclasses.replace(images, decode=decode)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_arrays_may_hold_conditions(split):
    vectors, pictures = RNG.randn(8, 3), RNG.randint(0, 256, (8, 2, 2)).astype(np.uint8)
    for stored, want in [
        (vectors, vectors.astype(np.float32)),
        (vectors > 0, (vectors > 0).astype(np.float32)),
        (pictures, (pictures / 255)[..., None]),
        (pictures[..., None] - 0.5, pictures[..., None] - np.float32(0.5)),
    ]:
        arrays = {"vector": np.arange(8.0)[:, None], "conditions": stored}
        data = from_arrays(arrays, split, holdout=0.25)
        batch = data.decode(data.take(np.arange(data.size)))
        assert batch["condition"].dtype == jnp.float32
        index = np.asarray(batch["vector"])[:, 0].astype(int)
        np.testing.assert_allclose(batch["condition"], want[index], rtol=1e-6)
    for bad in (np.full((8, 3), np.nan), np.zeros(8), np.array([["a"]] * 8)):
        with pytest.raises(ValueError, match="'condition' must"):
            from_arrays({"vector": np.zeros((8, 1)), "condition": bad})


def dropped(source, rate, key, repeats=500):
    """Whether each of 8 · repeats examples lost its label, and its condition."""
    prepare = preparation(source, condition_dropout=rate)
    rows = source.take(np.tile(np.arange(8), repeats))
    batch = jax.jit(prepare)(rows, key)
    true = np.tile(np.arange(8) % 4, repeats)
    label, c = np.asarray(batch["label"]), np.asarray(batch["condition"])
    assert ((label == true) | (label == -1)).all()
    assert ((c == 1).all(axis=1) | (c == 0).all(axis=1)).all()
    np.testing.assert_array_equal(batch["image"], 0.0)
    return label == -1, c[:, 0] == 0


def test_dropout_has_its_rate_and_drops_label_and_condition_together(source):
    no_label, no_condition = dropped(source, 0.25, jax.random.key(0))
    np.testing.assert_array_equal(no_label, no_condition)
    low, high = scipy.stats.binom.ppf([1e-4, 1 - 1e-4], len(no_label), 0.25)
    assert low <= no_label.sum() <= high
    assert not dropped(source, 0.0, jax.random.key(0))[0].any()
    assert dropped(source, 1.0, jax.random.key(0))[0].all()


def test_dropout_is_a_function_of_the_key_alone(source):
    first, again, other = (dropped(source, 0.5, jax.random.key(k))[0] for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_dropout_does_not_change_binarised_images():
    grey = from_arrays(
        {"image": np.full((8, 4, 4), 128, np.uint8), "label": np.arange(8)}, holdout=0
    )
    rows, key = grey.take(np.arange(8)), jax.random.key(0)
    with_, without = (
        preparation(grey, "dynamic", condition_dropout=r)(rows, key) for r in (0.5, 0)
    )
    np.testing.assert_array_equal(with_["image"], without["image"])
    assert (with_["label"] != without["label"]).any()


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_dropout_rate_outside_0_and_1_is_refused(source, rate):
    with pytest.raises(ValueError, match=r"condition_dropout must be in \[0, 1\]"):
        preparation(source, condition_dropout=rate)


def masks(channels):
    mask = (RNG.rand(5, 4, 6, 1) < 0.5).astype(np.float32)
    return jnp.asarray(np.broadcast_to(mask, (5, 4, 6, channels)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_masked_density_scores_masked_in_elements_and_copies_the_observed(channels):
    shape = (5, 4, 6, 3)
    base = Normal(jnp.asarray(RNG.randn(*shape), jnp.float32), jnp.full(shape, 0.5))
    x, mask = jnp.asarray(RNG.randn(*shape), jnp.float32), masks(channels)
    p = Masked(base, mask, x)
    scored = np.broadcast_to(np.asarray(mask), shape) == 1
    want = np.where(scored, scipy.stats.norm(base.loc, 0.5).logpdf(x), 0.0)
    np.testing.assert_allclose(p.log_prob(x), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(p.mean, np.where(scored, base.loc, x))
    sample = np.asarray(p.sample(jax.random.key(0)))
    np.testing.assert_array_equal(sample[~scored], np.asarray(x)[~scored])
    assert (sample[scored] != np.asarray(x)[scored]).all()


def test_a_masked_density_over_whole_pixels():
    m = 2
    base = DiscretizedLogisticMixture(
        jnp.asarray(RNG.randn(5, 4, 6, m), jnp.float32),
        jnp.asarray(RNG.randn(5, 4, 6, m, 3), jnp.float32),
        jnp.full((5, 4, 6, m, 3), 0.3),
        jnp.zeros((5, 4, 6, m, 3)),
    )
    x, mask = jnp.asarray(RNG.randint(0, 256, (5, 4, 6, 3)) / 255, jnp.float32), masks(1)
    got = Masked(base, mask, x).log_prob(x)
    assert got.shape == (5, 4, 6)
    np.testing.assert_allclose(got, np.asarray(base.log_prob(x)) * np.asarray(mask)[..., 0])


def test_observed_elements_have_no_gradient_even_where_their_probability_is_zero():
    logits, mask = jnp.array([[0.3, jnp.inf]]), jnp.array([[1.0, 0.0]])
    x = jnp.array([[1.0, 0.0]])
    grad = jax.grad(lambda a: Masked(Bernoulli(a), mask, x).log_prob(x).sum())(logits)
    np.testing.assert_allclose(grad[0], [1 - 1 / (1 + np.exp(-0.3)), 0.0], rtol=1e-6)
    assert distributions.Masked(Bernoulli(logits), mask, x).mean[0, 1] == 0.0


def test_fill_hidden_replaces_only_hidden_elements():
    c, prediction = jnp.array([[0.5, -1.0], [-1.0, 0.0]]), jnp.array([[0.1, 0.2], [0.3, 0.4]])
    want = [[0.5, 0.2], [0.3, 0.0]]
    np.testing.assert_allclose(conditions.fill_hidden(c, prediction), want)
