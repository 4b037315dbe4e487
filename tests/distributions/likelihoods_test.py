"""Likelihoods: the widths they need, and the distributions that they make from features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import distributions
from vaejax.distributions.likelihoods import LIKELIHOODS, Likelihood, bernoulli, likelihood

FEATURES = np.random.RandomState(0)


def features(width):
    return jnp.asarray(FEATURES.randn(2, 3, 3, width), jnp.float32)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kind", sorted(LIKELIHOODS.keys() - {"categorical", "mixed"}))
def test_features_of_the_right_width_give_a_distribution_of_the_events_shape(kind, channels):
    p = likelihood(kind)
    shape = (2, 3, 3, channels)

    @jax.jit
    def mean_sample_log_prob(features):
        density = p.apply(features)
        x = density.sample(jax.random.key(0))
        return density.mean, x, density.log_prob(x)

    mean, x, log_p = mean_sample_log_prob(features(p.width(channels)))
    assert mean.shape == x.shape == shape
    mixes_channels = kind == "discretized_logistic_mixture"
    assert log_p.shape == (shape[:-1] if mixes_channels else shape)
    assert np.isfinite(log_p).all()
    assert x.dtype == log_p.dtype == jnp.float32


@pytest.mark.parametrize(
    ("setting", "widths"),
    [
        ("bernoulli", (1, 3)),
        ("normal", (1, 3)),
        ("discretized_logistic", (2, 6)),
        # Per component a logit, C locations, C scales, C (C - 1) / 2 coefficients: 100 for RGB in
        # PixelCNN++ (1701.05517).
        ("discretized_logistic_mixture", (30, 100)),
        ({"kind": "discretized_logistic_mixture", "components": 5}, (15, 50)),
    ],
)
def test_widths(setting, widths):
    assert tuple(map(likelihood(setting).width, (1, 3))) == widths


def test_bernoulli_takes_features_as_logits():
    f = features(2)
    np.testing.assert_array_equal(likelihood("bernoulli").apply(f).logits, f)


def test_categorical_takes_features_as_logits_of_tokens():
    p = likelihood({"kind": "categorical", "classes": 5})
    assert p.width(7) == 5  # of tokens [B, 7]
    density = p.apply(features(5))  # [2, 3, 3]
    x = density.sample(jax.random.key(0))
    assert x.shape == (2, 3, 3)
    logits = np.asarray(density.logits, np.float64)
    want = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    want = np.take_along_axis(want, np.asarray(x)[..., None], -1)[..., 0]
    np.testing.assert_allclose(density.log_prob(x), want, rtol=1e-5)


def test_a_normal_has_the_scale_of_its_setting():
    f = features(2)
    density = likelihood({"kind": "normal", "scale": 0.25}).apply(f)
    np.testing.assert_array_equal(density.loc, f)
    np.testing.assert_array_equal(density.scale, np.full(f.shape, 0.25, np.float32))


def test_discretized_logistic_starts_in_the_middle_and_bounds_its_scale():
    density = likelihood("discretized_logistic").apply(jnp.zeros((1, 2)))
    np.testing.assert_allclose(density.loc, [[0.5]])
    np.testing.assert_allclose(density.scale, [[np.exp(-2.0)]], rtol=1e-6)
    extreme = likelihood("discretized_logistic").apply(jnp.array([[0.0, -1e4]]))
    np.testing.assert_allclose(extreme.scale, [[np.exp(-7.0)]], rtol=1e-6)
    coarse = likelihood({"kind": "discretized_logistic", "levels": 32})
    assert coarse.apply(features(2)).levels == 32


def test_the_features_of_a_mixture_are_logits_locations_scales_and_coefficients():
    f = np.asarray(features(20))  # two components, three channels: 2 + 6 + 6 + 6
    setting = {"kind": "discretized_logistic_mixture", "components": 2}
    density = likelihood(setting).apply(jnp.asarray(f))
    np.testing.assert_array_equal(density.logits, f[..., :2])
    np.testing.assert_array_equal(density.loc, f[..., 2:8].reshape(2, 3, 3, 2, 3))
    scale = np.exp(f[..., 8:14]).reshape(2, 3, 3, 2, 3)
    np.testing.assert_allclose(density.scale, scale, rtol=1e-5)
    coefficients = np.tanh(f[..., 14:]).reshape(2, 3, 3, 2, 3)
    np.testing.assert_allclose(density.coefficients, coefficients, rtol=1e-5)


def test_a_mixture_refuses_features_of_another_width():
    with pytest.raises(ValueError, match=r"needs one of the widths \[30, 60, 100, 150\].*found 31"):
        likelihood("discretized_logistic_mixture").apply(features(31))


@pytest.mark.parametrize("setting", ["categorical", {"kind": "categorical"}])
def test_a_categorical_has_by_default_the_number_of_classes_of_the_data(setting):
    assert likelihood(setting, tokens=7).width(64) == 7
    assert likelihood({"kind": "categorical", "classes": 9}, tokens=7).width(64) == 9
    with pytest.raises(ValueError, match="of 6 classes cannot explain data of 7"):
        likelihood({"kind": "categorical", "classes": 6}, tokens=7)
    with pytest.raises(ValueError, match=r"lacks the settings \['classes'\]"):
        likelihood(setting)
    assert likelihood("normal", tokens=7).width(3) == 3


def test_a_likelihood_object_is_returned_unchanged():
    custom = Likelihood(lambda channels: channels, distributions.Bernoulli)
    assert likelihood(custom) is custom


def test_unknown_kinds_and_settings_are_reported():
    with pytest.raises(
        ValueError, match=r"unknown likelihood 'bernouli'.*did you mean 'bernoulli'"
    ):
        likelihood("bernouli")
    with pytest.raises(ValueError, match="'normal' has no setting 'std'"):
        likelihood({"kind": "normal", "std": 1.0})
    assert isinstance(bernoulli(), Likelihood)
