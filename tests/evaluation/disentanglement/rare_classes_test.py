"""Factors and codes that vary in one part of the data only, or hardly; continuous factors."""

import functools

import jax
import numpy as np
import pytest

from vaejax.evaluation import disentanglement as metrics

N, ROWS = 300, 200
RNG = np.random.RandomState(0)
FACTORS = RNG.randint(3, size=(N, 2))
CODES = np.concatenate([FACTORS, RNG.randn(N, 1)], axis=1).astype(np.float32)
PREDICTORS = {
    "sap": metrics.sap,
    "explicitness": metrics.explicitness,
    "dci_linear": metrics.dci_linear,
    "dci": functools.partial(metrics.dci, trees=2),
}
TRAIN = np.arange(N) < ROWS


def summaries(scores):
    return {name: float(v) for name, v in scores.items() if np.ndim(v) == 0}


@pytest.mark.parametrize("part", [TRAIN, ~TRAIN], ids=["train", "test"])
@pytest.mark.parametrize("name", PREDICTORS)
def test_a_factor_that_varies_in_one_part_alone_is_left_out(name, part):
    rare = np.zeros(N, int)
    rare[np.flatnonzero(part)[3]] = 1
    got = PREDICTORS[name](CODES, np.concatenate([FACTORS, rare[:, None]], axis=1), train=ROWS)
    assert summaries(got) == pytest.approx(summaries(PREDICTORS[name](CODES, FACTORS, train=ROWS)))
    per_factor = got["importance" if name.startswith("dci") else f"{name}_per_factor"]
    np.testing.assert_array_equal(np.isnan(np.atleast_2d(per_factor))[0], [False, False, True])


@pytest.mark.parametrize("name", PREDICTORS)
def test_without_a_factor_that_varies_in_both_parts(name):
    with pytest.raises(ValueError, match="no factor varies among both the 200 training rows"):
        PREDICTORS[name](CODES, np.eye(N, 1, dtype=int), train=ROWS)


@pytest.mark.parametrize("name", ["sap", "explicitness", "dci_linear"])
@pytest.mark.parametrize("jitter", [0.0, 1e-6])
def test_a_code_that_varies_in_the_test_rows_alone_changes_nothing(name, jitter):
    """Scaled by its variation among training rows it would be up to a million there."""
    code = np.where(TRAIN, jitter * (FACTORS[:, 0] - 1), RNG.randn(N)).astype(np.float32)
    got = PREDICTORS[name](np.concatenate([CODES, code[:, None]], axis=1), FACTORS, train=ROWS)
    want = PREDICTORS[name](CODES, FACTORS, train=ROWS)
    for key, value in summaries(got).items():
        assert np.isfinite(value)
        if key != "completeness":  # its unit is the log of the number of dimensions
            assert value == pytest.approx(float(want[key]), abs=0.02), key


@pytest.mark.parametrize("name", ["mig", "irs", "modularity", "explicitness", "dci_linear", "sap"])
def test_codes_far_from_zero_and_codes_that_hardly_vary(name):
    """Rounding of float32 at 1,000 is 1e-4: the third code is constant up to that."""
    far = np.float32(1000) + np.float32([1, 1, 1e-4]) * CODES
    metric, key = getattr(metrics, name), "informativeness" if name == "dci_linear" else name
    got, near = (float(metric(z, FACTORS)[key]) for z in (far, CODES * np.float32([1, 1, 0])))
    assert np.isfinite(got)
    if name in ("explicitness", "dci_linear", "irs"):
        np.testing.assert_allclose(got, near, atol=0.02)


def test_continuous_factors_are_refused_with_advice():
    values = RNG.randn(N, 1)
    with pytest.raises(ValueError, match="a continuous one in bins"):
        metrics.mig(CODES, values)
    ranks = np.unique(values, return_inverse=True)[1].reshape(N, 1)
    with pytest.raises(ValueError, match="factor 0 has 300 classes among 300 examples: a contin"):
        metrics.mig(CODES, ranks)
    binned = np.digitize(values, np.quantile(values, np.arange(1, 10) / 10))
    assert 0 <= float(metrics.mig(CODES, binned)["mig"]) < 0.2
    assert isinstance(metrics.mig(CODES, binned)["mig"], jax.Array)
