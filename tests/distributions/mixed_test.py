"""Rows of a table: each column explained by its own likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax import distributions as d
from vaejax.core.game import Latent, Trace
from vaejax.distributions.likelihoods import likelihood
from vaejax.distributions.mixed import category_columns, one_hot
from vaejax.losses.metrics import trace_metrics
from vaejax.models.shared import with_encoder_input
from vaejax.networks import Network

CLASSES = (3, 0, 2, 0, 4, 3, 1, 2)
RANDOM = np.random.RandomState(0)
ROWS = 6
X = np.stack(
    [RANDOM.randint(max(k, 1), size=ROWS) if k else RANDOM.randn(ROWS) for k in CLASSES], axis=1
).astype(np.float32)


def build(scale):
    p = likelihood({"kind": "mixed", "classes": CLASSES, "scale": scale})
    features = RANDOM.randn(ROWS, p.width(len(CLASSES)) + p.constants).astype(np.float32)
    features[:, p.width(len(CLASSES)) :] = [-0.7, 0.4][: p.constants]  # the same for all rows
    return p.apply(jnp.asarray(features)), features


def by_hand(scale, features):
    """log p of each column in float64 with SciPy, from the features in their documented order."""
    f = features.astype(np.float64)
    loc, f = f[:, :2], f[:, 2:]
    if scale == "learned":
        log_scale = f[:, -2:]
    elif scale == "predicted":
        log_scale, f = f[:, :2], f[:, 2:]
    else:
        log_scale = np.full((ROWS, 2), np.log(scale))
    sigma = np.exp(log_scale)
    if isinstance(scale, str):  # softly bounded from below by e⁻⁶
        sigma = np.exp(-6 + np.logaddexp(0, log_scale + 6))
    logits = {6: f[:, 0:1]}  # of one class
    logits |= {2: np.c_[np.zeros(ROWS), f[:, 1]], 7: np.c_[np.zeros(ROWS), f[:, 2]]}
    logits |= {0: f[:, 3:6], 5: f[:, 6:9], 4: f[:, 9:13]}
    result = np.empty((ROWS, 8))
    result[:, [1, 3]] = scipy.stats.norm.logpdf(X[:, [1, 3]].astype(np.float64), loc, sigma)
    for column, values in logits.items():
        p = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        chosen = X[:, column].astype(int)
        if column in (2, 7):
            result[:, column] = scipy.stats.bernoulli.logpmf(chosen, p[:, 1])
        else:
            result[:, column] = np.log(p[np.arange(ROWS), chosen])
    return result


@pytest.mark.parametrize("scale", ["learned", "predicted", 0.3])
def test_it_is_the_sum_of_separate_likelihoods(scale):
    p, features = build(scale)
    np.testing.assert_allclose(p.log_prob(X), by_hand(scale, features), rtol=2e-5, atol=1e-6)


def test_a_change_of_units_of_a_number_changes_the_log_density_by_its_logarithm():
    p, _ = build("learned")
    shift, scale = np.zeros(8, np.float32), np.ones(8, np.float32)
    shift[1], scale[1] = 50.0, 1 / 3
    changed = d.in_units(p, jnp.asarray(shift), jnp.asarray(scale))
    x = jnp.asarray(shift + scale * X)
    difference = np.asarray(changed.log_prob(x) - p.log_prob(X))
    expected = np.zeros((ROWS, 8))
    expected[:, 1] = np.log(3)
    np.testing.assert_allclose(difference, expected, atol=1e-4)  # float32 at 50
    np.testing.assert_array_equal(category_columns(changed), np.array(CLASSES) > 0)
    assert d.support_of(changed).real


def test_means_and_samples_are_rows_of_the_table():
    p, features = build("predicted")
    mean = np.asarray(p.mean)
    np.testing.assert_array_equal(mean[:, [1, 3]], features[:, :2])
    np.testing.assert_array_equal(mean[:, 4], features[:, -4:].argmax(axis=1))
    assert d.support_of(p).contains(mean).all()
    keys = jax.random.split(jax.random.key(0), 4000)
    samples = np.asarray(jax.vmap(p.sample)(keys))  # [4000, ROWS, 8]
    assert d.support_of(p).contains(samples.reshape(-1, 8)).all()
    frequency = (samples[..., 4] == 2).mean(axis=0)
    logits = features[:, -4:].astype(np.float64)
    expected = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[:, 2]
    np.testing.assert_allclose(frequency, expected, atol=4 * 0.5 / np.sqrt(4000))
    np.testing.assert_allclose(samples[..., 1].mean(axis=0), features[:, 0], atol=0.2)


def test_encoders_read_one_hot_values():
    transform = one_hot(CLASSES)
    expected = np.concatenate(
        [X[:, [1, 3]], np.ones((ROWS, 1)), X[:, [2, 7]]]
        + [np.eye(k)[X[:, c].astype(int)] for c, k in ((0, 3), (5, 3), (4, 4))],
        axis=1,
    )
    np.testing.assert_array_equal(transform(jnp.asarray(X)), expected)
    between = jnp.zeros((1, 8)).at[0, 4].set(1.25)
    np.testing.assert_allclose(transform(between)[0, -4:], [0, 0.75, 0.25, 0])


def test_encoders_read_zeros_where_values_are_missing():
    encoder = Network(lambda key, x: {}, lambda params, x: x)
    wrapped = with_encoder_input(encoder, likelihood({"kind": "mixed", "classes": CLASSES}))
    mask = np.ones((ROWS, 8), bool)
    mask[0, [3, 4]] = mask[1, 7] = False
    read = np.asarray(wrapped.masked({}, jnp.asarray(mask), jnp.asarray(X)))
    expected = np.array(one_hot(CLASSES)(jnp.asarray(X)))
    expected[0, 1] = 0
    expected[0, -4:] = 0
    expected[1, 4] = 0
    np.testing.assert_array_equal(read, expected)


def test_numbers_and_categories_have_metrics_of_their_own():
    p, features = build(1.0)
    unit = d.Normal(jnp.zeros((ROWS, 1)), jnp.ones((ROWS, 1)))
    losses = {"nll": jnp.zeros(ROWS)}
    metrics = trace_metrics(losses, Trace(jnp.asarray(X), p, (Latent(unit, unit, unit.loc),)))
    squared = np.square(X[:, [1, 3]] - features[:, :2]).mean(axis=1)
    np.testing.assert_allclose(metrics["mse"], squared, rtol=1e-5)
    columns = [0, 2, 4, 5, 6, 7]
    right = (np.asarray(p.mean) == X)[:, columns].mean(axis=1)
    np.testing.assert_allclose(metrics["accuracy"], right, rtol=1e-6)
    mask = np.ones((ROWS, 8), np.float32)
    mask[:, 0] = 0  # observed: not among the dimensions
    masked = Trace(jnp.asarray(X), d.Masked(p, jnp.asarray(mask), jnp.asarray(X)), ())
    right = (np.asarray(p.mean) == X)[:, columns[1:]].mean(axis=1)
    np.testing.assert_allclose(trace_metrics(losses, masked)["accuracy"], right, rtol=1e-6)


def test_data_with_another_number_of_columns_are_refused():
    p = likelihood({"kind": "mixed", "classes": (0, 2)})
    with pytest.raises(ValueError, match="has 2 columns, but the data have 5"):
        p.width(5)
    with pytest.raises(ValueError, match="did you mean 'learned'"):
        likelihood({"kind": "mixed", "classes": (0,), "scale": "leaned"})
