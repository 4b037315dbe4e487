"""Every metric against the values of the published implementation on fixed codes.

The values are in `benchmarks/results/published_metrics.json`, printed by
`benchmarks/published_metrics.py`, which says how.
"""

import json

import jax
import numpy as np
import pytest

from benchmarks import disentanglement as table
from benchmarks import fixed_codes
from vaejax.evaluation import disentanglement as metrics

PUBLISHED = json.loads(table.PUBLISHED.read_text())
FACTORS, TRAIN = fixed_codes.factors(), fixed_codes.TRAIN
KEY = jax.random.key(0)
each_case = pytest.mark.parametrize("case", [c for c in fixed_codes.CASES if c != "redundant"])
some_cases = pytest.mark.parametrize("case", ["noisy", "noise"])


def test_published_values_differ_between_cases():
    """Otherwise agreement would be weak evidence."""
    for name in ("mig", "dci/disentanglement", "modularity", "irs", "sap", "sap/continuous"):
        values = [PUBLISHED["cases"][case][name] for case in fixed_codes.CASES]
        assert len({round(v, 3) for v in values}) >= 4, name


@each_case
def test_information_and_robustness(case):
    z, y, want = fixed_codes.codes(case)[:TRAIN], FACTORS[:TRAIN], PUBLISHED["cases"][case]
    np.testing.assert_allclose(metrics.mig(z, y)["mig"], want["mig"], atol=2e-6)
    got = metrics.modularity(z, y)["modularity"]
    np.testing.assert_allclose(got, want["modularity"], atol=2e-5)
    np.testing.assert_allclose(metrics.irs(z, y)["irs"], want["irs"], atol=2e-6)


@each_case
def test_sap(case):
    z, want = fixed_codes.codes(case), PUBLISHED["cases"][case]
    # One of the 480 test rows may be on the other side for one of the four factors.
    got = metrics.sap(z, FACTORS, train=TRAIN)["sap"]
    np.testing.assert_allclose(got, want["sap"], atol=1.1 / 480 / 4)
    got = metrics.sap(z, FACTORS, train=TRAIN, continuous=True)["sap"]
    np.testing.assert_allclose(got, want["sap/continuous"], atol=2e-6)


@some_cases
def test_explicitness(case):
    got = metrics.explicitness(fixed_codes.codes(case), FACTORS, train=TRAIN)["explicitness"]
    np.testing.assert_allclose(got, PUBLISHED["cases"][case]["explicitness"], atol=1e-4)


@pytest.mark.parametrize("case", ["curved", "noise"])
def test_factor_vae_score(case):
    got = metrics.factor_vae_score_of_codes(fixed_codes.codes(case), FACTORS, KEY)
    want = PUBLISHED["cases"][case]["factor_vae_score"]
    # Both are from 5,000 votes; for noise the classifier adds the variance of 10,000 votes.
    error = np.sqrt(2 * want * (1 - want) / 5000)
    assert abs(float(got["factor_vae_score"]) - want) < 4 * error
    assert abs(float(got["factor_vae_score_train"]) - want) < 4 * error + 0.03


@some_cases
def test_beta_vae_score(case):
    got = metrics.beta_vae_score_of_codes(fixed_codes.codes(case), FACTORS, KEY)["beta_vae_score"]
    want = PUBLISHED["cases"][case]["beta_vae_score"]
    assert abs(float(got) - want) < 4 * np.sqrt(2 * want * (1 - want) / 5000) + 1e-3


def test_dci():
    got = metrics.dci(fixed_codes.codes("rotated"), FACTORS, train=TRAIN)
    want = PUBLISHED["cases"]["rotated"]
    for name in ("disentanglement", "completeness", "informativeness"):
        # Equally good splits are tried in random order.
        np.testing.assert_allclose(got[name], want[f"dci/{name}"], atol=3e-3)


@pytest.mark.parametrize("correlation", ["lasso", "spearman"])
def test_udr(correlation):
    codes, kl = fixed_codes.models()
    got, want = metrics.udr(codes, kl, correlation=correlation), PUBLISHED["udr"][correlation]
    np.testing.assert_allclose(got["pairwise"], want["pairwise"], atol=1e-5)
    np.testing.assert_allclose(got["udr"], want["udr"], atol=1e-5)


def test_table_in_the_documentation_is_up_to_date():
    page = table.PAGE.read_text()
    ours = json.loads(table.RESULT.read_text())
    assert table.insert_table(page, table.table(ours, PUBLISHED)) == page
    assert table.insert_table(page, "") != page
