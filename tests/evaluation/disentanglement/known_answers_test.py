"""Codes with known scores: copies of the factors, permuted, rotated, redundant, and noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import fixed_codes
from vaejax.evaluation import disentanglement as metrics
from vaejax.evaluation.disentanglement.dci import importance_scores

KEY = jax.random.key(0)
FACTORS = fixed_codes.factors()  # every combination once, so factors are independent
FEW = {"train_votes": 1500, "eval_votes": 1500}


def factor_vae_score(codes, factors):
    return metrics.factor_vae_score_of_codes(codes, factors, KEY, **FEW)


def beta_vae_score(codes, factors):
    points = {"train_points": 1500, "eval_points": 1500}
    return metrics.beta_vae_score_of_codes(codes, factors, KEY, **points)


SCORES = {
    "mig": metrics.mig,
    "modularity": metrics.modularity,
    "irs": metrics.irs,
    "sap": functools.partial(metrics.sap, continuous=True),
    "factor_vae_score": factor_vae_score,
    "beta_vae_score": beta_vae_score,
    "disentanglement": metrics.dci_linear,
    "completeness": metrics.dci_linear,
    "explicitness": metrics.explicitness,
}
FAST = [name for name in SCORES if name not in ("explicitness", "beta_vae_score")]


def score(name, codes, factors=FACTORS):
    return float(SCORES[name](codes, factors)[name])


def copies():
    return fixed_codes.codes("copies")


@pytest.mark.parametrize("case", ["copies", "permuted"])
@pytest.mark.parametrize("name", [name for name in SCORES if name != "explicitness"])
def test_copies_in_any_order_and_sign_score_1(name, case):
    # The lasso fits random correlations among its 960 training rows.
    np.testing.assert_allclose(score(name, fixed_codes.codes(case)), 1, atol=2e-3)


def test_dci_of_copies_is_1():
    rows = fixed_codes.TRAIN
    y = np.minimum(FACTORS, 2)  # fewer classes, fewer trees
    got = metrics.dci(y.astype(np.float32), y, train=rows, trees=10)
    for name in ("disentanglement", "completeness", "informativeness", "informativeness_train"):
        np.testing.assert_allclose(got[name], 1, atol=1e-4)
    importance = metrics.dci(y[:, [3, 2, 1, 0]], y, trees=1)["importance"]
    np.testing.assert_array_equal(importance.argmax(axis=0), [3, 2, 1, 0])


def test_explicitness_of_copies_and_of_noise():
    # A linear classifier of ordered classes predicts almost all of the middle ones.
    assert score("explicitness", copies()) > 0.995
    assert abs(score("explicitness", fixed_codes.codes("noise")) - 0.5) < 0.03


@pytest.mark.parametrize("name", FAST)
def test_rotation_lowers_axis_aligned_scores(name):
    got = score(name, copies() @ np.kron(np.eye(2), fixed_codes.plane(45)))
    if name == "factor_vae_score":
        # Both dimensions of a pair vary equally whichever factor is shared: half of the votes.
        assert 0.4 < got < 0.62
    elif name == "sap":
        assert got < 0.05  # each of a pair explains half, up to chance in 960 rows
    else:
        assert got < {"mig": 0.2, "modularity": 0.9, "irs": 0.7}.get(name, 0.55)


@pytest.mark.parametrize("name", ["mig", "sap", "modularity", "irs"])
def test_duplicated_dimensions(name):
    redundant = name in ("mig", "sap")  # the second best is as good as the best
    got = score(name, copies()[:, [0, 0, 1, 1]])
    if name == "sap":  # up to chance for the factors without a dimension
        assert got < 0.01
    else:
        np.testing.assert_allclose(got, 0 if redundant else 1, atol=1e-5)


def test_noise_scores_at_chance():
    z = fixed_codes.codes("noise")
    assert score("mig", z) < 0.02
    assert score("sap", z) < 0.02
    assert float(metrics.sap(z, FACTORS)["sap"]) < 0.05
    accuracy = float(metrics.factor_vae_score_of_codes(z, FACTORS, KEY)["factor_vae_score"])
    assert abs(accuracy - 1 / 4) < 4 * np.sqrt(3 / 16 / 5000) + 0.02
    assert abs(float(metrics.dci_linear(z, FACTORS)["informativeness"])) < 0.05


@pytest.mark.parametrize("name", ["mig", "sap", "modularity", "irs", "factor_vae_score"])
def test_a_constant_dimension_in_place_of_a_factor(name):
    z = np.where(np.arange(4) == 2, np.float32(0.1), copies())
    got = score(name, z)
    if name == "irs":  # the mean is over dimensions that vary
        np.testing.assert_allclose(got, 1, atol=1e-5)
    else:  # one of four factors, dimensions or votes is lost
        np.testing.assert_allclose(got, 3 / 4, atol=0.04 if name == "factor_vae_score" else 2e-3)


def test_a_constant_dimension_has_no_weight():
    z = np.where(np.arange(4) == 2, np.float32(0.1), copies())
    importance = np.asarray(metrics.dci_linear(z, FACTORS)["importance"])
    np.testing.assert_array_equal(importance[2], 0)
    np.testing.assert_allclose(np.diag(importance), [0.98, 0.98, 0, 0.98], atol=2e-3)


def test_constant_codes_score_0():
    z = np.full((len(FACTORS), 4), 0.1, np.float32)
    for name in ("mig", "modularity", "irs", "sap", "factor_vae_score"):
        np.testing.assert_allclose(score(name, z), 0, atol=1e-6)
    assert int(factor_vae_score(z, FACTORS)["dimensions"]) == 0


def test_dimensions_of_small_variance_are_pruned():
    z = copies() * np.float32([1, 1, 1, 0.049])
    got = factor_vae_score(z, FACTORS)
    assert int(got["dimensions"]) == 3
    assert 0.7 < float(got["factor_vae_score"]) < 0.8  # the votes of the fourth factor are lost


@pytest.mark.parametrize("name", FAST)
def test_constant_factors_are_left_out(name):
    z = fixed_codes.codes("rotated")
    more = np.concatenate([FACTORS[:, :2], np.full((len(z), 1), 7), FACTORS[:, 2:]], axis=1)
    got = SCORES[name](z, more)
    np.testing.assert_allclose(got[name], score(name, z), atol=1e-6)
    per_factor = [k for k in got if k.endswith("per_factor") or k == "importance"]
    for key in per_factor:
        lost = np.isnan(np.asarray(got[key])).reshape(-1, 5)
        np.testing.assert_array_equal(lost, [[False, False, True, False, False]] * len(lost))
    assert per_factor or name in ("modularity", "irs", "factor_vae_score")


def test_single_dimension():
    got = metrics.mig(FACTORS[:, 3:].astype(np.float32), FACTORS)["mig_per_factor"]
    np.testing.assert_allclose(got, [0, 0, 0, 1], atol=1e-5)
    np.testing.assert_allclose(importance_scores(jnp.ones((1, 4))), [0, 1], atol=1e-6)
    np.testing.assert_allclose(importance_scores(jnp.ones((4, 1))), [1, 0], atol=1e-6)


def test_udr_of_equal_and_of_different_models():
    z, noise = fixed_codes.codes("copies"), np.random.RandomState(0).standard_normal((1440, 4))
    same = np.stack([z, z[:, [2, 0, 1, 3]], -z])
    np.testing.assert_allclose(metrics.udr(same, correlation="spearman")["udr"], 1, atol=1e-4)
    np.testing.assert_allclose(metrics.udr(same, penalty=0.1)["udr"], 0.9, atol=1e-4)
    got = metrics.udr(np.stack([z, -z, noise]))
    assert got["pairwise"][0, 2] == 0
    dead = metrics.udr(same, kl=np.array([[1.0] * 4, [1.0] * 4, [0.001] * 4]))
    np.testing.assert_array_equal(dead["pairwise"][2], 0)
    np.testing.assert_allclose(dead["pairwise"][0], [0, 0.9, 0], atol=1e-4)
