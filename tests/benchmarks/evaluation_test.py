"""The comparison of evaluation metrics: what it computes from times, and that it can fail."""

import numpy as np
import pytest

from benchmarks import reference_metrics as reference
from benchmarks.evaluation import Case, as_table, measure
from benchmarks.forecast import roofline


def test_values_that_differ_are_an_error():
    with pytest.raises(AssertionError, match=r"1\.0 and 1\.5 differ"):
        measure(Case("", lambda: 1.0, lambda: 1.5, 0.4), 1)


def test_time_of_a_part_is_scaled_to_the_whole(monkeypatch):
    clock = iter(np.cumsum(np.ones(20)))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    row = measure(Case("", lambda: 1.0, lambda: 1.0, 0.0, share=0.25), 1)
    assert (row["first_seconds"], row["seconds"], row["other_seconds"]) == (1.0, 1.0, 4.0)
    about = {"device": "cpu", "processor": "p", "cores": 2, "jax": "0"}
    assert "| mig |" in as_table({**about, "cases": {"mig": {**row, "commit": "abc"}}})


def test_annealing_by_hand_finds_a_gaussian_evidence():
    """With a decoder that ignores z, log p(x) is the log-likelihood at its bias."""
    bias, x = np.array([0.5, -1.0, 2.0]), np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    decoder = {"Dense_0": {"kernel": np.zeros((2, 3)), "bias": bias}}
    log_p = reference.annealed_log_likelihood(decoder, x, np.linspace(0, 1, 5), chains=2)
    exact = (x * bias - np.logaddexp(0, bias)).sum(axis=1)
    np.testing.assert_allclose(log_p, exact, rtol=1e-12)


def test_roofline_is_the_slower_of_products_and_memory():
    assert roofline(2e12, 4.8e9, 1e12) == (2.0, "products")
    assert roofline(1e9, 9.6e12, 1e12) == (2.0, "memory")
