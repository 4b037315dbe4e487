"""Codes of several models at once, and invalid arguments of the metrics."""

import sys
import warnings

import jax
import numpy as np
import pytest

from benchmarks import fixed_codes
from vaejax.evaluation import disentanglement as metrics

KEY = jax.random.key(0)
Z = np.stack([fixed_codes.codes(case) for case in ("copies", "rotated", "permuted")])
Y = fixed_codes.factors()


def beta_vae_score(codes, factors):
    few = {"train_points": 1500, "eval_points": 1500}
    return metrics.beta_vae_score_of_codes(codes, factors, KEY, **few)


COMPILED = {
    "mig": metrics.mig,
    "modularity": metrics.modularity,
    "irs": metrics.irs,
    "sap": metrics.sap,
    "dci_linear": metrics.dci_linear,
    "beta_vae_score": beta_vae_score,
}


@pytest.mark.parametrize("name", COMPILED)
def test_several_models_at_once_score_as_single_ones(name):
    metric = COMPILED[name]
    stacked, single = metric(Z[:2], Y), [metric(z, Y) for z in Z[:2]]
    for key, values in stacked.items():
        assert len(values) == 2
        for got, scores in zip(values, single, strict=True):
            np.testing.assert_allclose(got, scores[key], atol=2e-4)


@pytest.mark.parametrize("name", ["mig", "irs"])
def test_vmap_and_further_axes(name):
    metric = COMPILED[name]
    mapped = jax.jit(jax.vmap(lambda z: metric(z, Y)[name]))(Z)
    np.testing.assert_allclose(mapped, metric(Z, Y)[name], atol=1e-6)
    assert metric(Z[None, :2], Y)[name].shape == (1, 2)


def test_metrics_are_compiled_once(caplog):
    metrics.mig(Z[0], Y)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        metrics.mig(Z[1], Y)
    assert not [r for r in caplog.records if "gaps" in r.getMessage()]
    with jax.log_compiles(), caplog.at_level("WARNING"):
        metrics.mig(Z[1], Y, bins=7)
    assert [r for r in caplog.records if "gaps" in r.getMessage()]


def test_memory_of_histograms():
    """Histograms and indices are in memory, not one-hot codes of every example."""
    codes = jax.ShapeDtypeStruct((10_000, 10), np.float32)
    factors = np.random.RandomState(0).randint(40, size=(10_000, 5))
    compiled = jax.jit(lambda z: metrics.mig(z, factors)["mig"]).lower(codes).compile()
    one_hot = 4 * 10_000 * 5 * (10 * 20 + 40)
    assert compiled.memory_analysis().temp_size_in_bytes < one_hot / 5


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (Z[0, 0], Y, "expected codes"),
        (Z[0, :50], Y, "of the same N examples"),
        (Z[0], Y[:, 0], "factors [N, K]"),
        (Z[0], Y * 1.0, "integer classes, found float64"),
        (Z[0] * np.nan, Y, "NaN or infinite"),
        (Z[0], Y * 0, "none of the 4 factors varies"),
    ],
)
def test_invalid_codes_and_factors_are_reported(codes, factors, message):
    for metric in (metrics.mig, metrics.irs, metrics.sap, metrics.dci_linear, metrics.dci):
        with pytest.raises(ValueError, match=message.replace("[", r"\[")):
            metric(codes, factors)


def test_other_invalid_arguments_are_reported():
    z = Z[0]
    with pytest.raises(ValueError, match="factors must not be traced"):
        jax.jit(lambda y: metrics.mig(z, y)["mig"])(Y)
    in_order = np.argsort(Y[:, 3], kind="stable")
    with pytest.raises(ValueError, match="factor 3 that no training row has: are the rows sorted"):
        metrics.explicitness(z[in_order], Y[in_order])
    for train in (0, 1440):
        with pytest.raises(ValueError, match=f"train={train} of 1440 rows"):
            metrics.sap(z, Y, train=train)
    with pytest.raises(ValueError, match="for one model at a time"):
        metrics.dci(Z, Y)
    for metric in (metrics.modularity, beta_vae_score):
        with pytest.raises(ValueError, match="at least two must vary"):
            metric(z, Y[:, :1])
    with pytest.raises(ValueError, match="at least two samples, found samples=1"):
        metrics.factor_vae_score_of_codes(z, Y, KEY, samples=1)
    with pytest.raises(ValueError, match="eval_votes must be at least 1, found 0"):
        metrics.factor_vae_score_of_codes(z, Y, KEY, eval_votes=0)
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\], found 99"):
        metrics.irs(z, Y, quantile=99)
    with pytest.raises(ValueError, match="at least two models"):
        metrics.udr(Z[:1])
    with pytest.raises(ValueError, match="unknown correlation 'pearson'"):
        metrics.udr(Z, correlation="pearson")
    with pytest.raises(ValueError, match=r"expected kl \[M, D\] = \(3, 4\), found shape \(4,\)"):
        metrics.udr(Z, np.ones(4))


def test_trees_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'vaejax\[eval\]'"):
        metrics.dci(Z[0], Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.dci_linear(Z[0], Y)
