"""Metrics of a model with a known encoder, and models that they do not apply to."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import fixed_codes
from vaejax import data, losses
from vaejax.core.game import Family, Latent, Model
from vaejax.data.batches import eval_order
from vaejax.distributions import Normal, OneHotCodes
from vaejax.evaluation import EvaluationContext
from vaejax.evaluation import disentanglement as metrics

KEY = jax.random.key(0)
ROWS = np.sort(np.random.RandomState(0).permutation(1440)[:480])
MIX = np.kron(np.eye(2), fixed_codes.plane(20)).astype(np.float32)
PARAMS = {"encoder": jnp.asarray(MIX)}


def family(posterior=None, nodes=1):
    def encode(params, batch, key):
        z = batch["vector"] @ params["encoder"]
        q = Normal(z, jnp.ones_like(z)) if posterior is None else posterior(z)
        noise = jax.random.normal(key, q.loc.shape) if isinstance(q, Normal) else 0.0
        return (Latent(q, None, q.mean + 100 * noise),) * nodes

    return Family(Model(lambda *_: PARAMS, None, encode, None, None), losses.nll(), {})


@pytest.fixture(scope="module")
def source():
    arrays = {"vector": fixed_codes.codes("copies")[ROWS], "factors": fixed_codes.factors()[ROWS]}
    return data.from_arrays(arrays, holdout=0)


def test_split_is_encoded_by_posterior_means_in_random_order(source):
    order = eval_order(source.size)
    for batch_size in (100, 256):
        context = EvaluationContext(family(), PARAMS, source, batch_size=batch_size)
        codes, factors, _ = metrics.codes_of_split(context)
        np.testing.assert_array_equal(factors, fixed_codes.factors()[ROWS][order])
        np.testing.assert_allclose(codes, fixed_codes.codes("copies")[ROWS][order] @ MIX, atol=1e-5)


def test_all_metrics_of_a_model(source, monkeypatch):
    few_trees = functools.partial(metrics.dci, trees=10)
    module = importlib.import_module("vaejax.evaluation.disentanglement.dci")
    monkeypatch.setattr(module, "dci", few_trees)
    context = EvaluationContext(family(), PARAMS, source)
    got = metrics.Disentanglement().compute(context)
    codes, factors, _ = metrics.codes_of_split(context)
    rows = 320  # two thirds
    train = codes[:rows], factors[:rows]
    of_train = {"mig": metrics.mig, "irs": metrics.irs, "modularity": metrics.modularity}
    for name, metric in of_train.items():
        np.testing.assert_allclose(got[name], metric(*train)[name], atol=1e-6)
    sap, linear, trees = (
        metric(codes, factors, **options)
        for metric, options in (
            (metrics.sap, {}),
            (metrics.dci_linear, {}),
            (few_trees, {}),
        )
    )
    np.testing.assert_allclose(got["sap"], sap["sap"], atol=1e-6)
    for name in ("disentanglement", "completeness", "informativeness"):
        np.testing.assert_allclose(got[f"dci_linear/{name}"], linear[name], atol=1e-6)
        np.testing.assert_allclose(got[f"dci/{name}"], trees[name], atol=1e-6)
    assert got["factor_vae_score"] == got["beta_vae_score"] == 1  # a rotation by 20° leaves them
    explicit = metrics.explicitness(codes, factors)["explicitness"]
    np.testing.assert_allclose(got["explicitness"], explicit, atol=1e-6)
    assert all(type(value) is float for value in got.values())
    assert len(got) == 7 + 2 * 3


def test_beta_vae_and_factor_vae_scores_of_an_encoder(source):
    def encode(batch):
        return batch["vector"] @ jnp.asarray(MIX)

    codes, factors = metrics.encode_split(encode, source)
    for of_split, of_codes in (
        (metrics.factor_vae_score, metrics.factor_vae_score_of_codes),
        (metrics.beta_vae_score, metrics.beta_vae_score_of_codes),
    ):
        assert of_split(encode, source, KEY) == of_codes(codes, factors, KEY)


def test_models_and_data_that_do_not_fit_are_rejected(source):
    def reason(model=None, data=source):
        return metrics.Disentanglement().requires(model or family(), data)

    assert reason() is None
    plain = data.from_arrays({"vector": np.zeros((10, 4), np.float32)}, holdout=0)
    assert "'arrays' has no factors, which disentanglement metrics need: use" in reason(data=plain)
    one = data.from_arrays(
        {"vector": np.zeros((4, 4)), "factors": np.eye(4, 1, dtype=int)}, holdout=0
    )
    assert "those of 'arrays' have (2,) classes" in reason(data=one)
    assert "has Normal [4], Normal [4]" in reason(family(nodes=2))

    def codes(z):
        return OneHotCodes(z, z, jnp.zeros(len(z), jnp.int32), 8)

    assert "has OneHotCodes" in reason(family(codes))

    def maps(z):
        return Normal(z[:, None, None], jnp.ones_like(z)[:, None, None])

    assert "has Normal [1, 1, 4]" in reason(family(maps))
    with pytest.raises(ValueError, match=r"codes \[B, D\], found shape \(256, 2, 2\)"):
        metrics.encode_split(lambda batch: batch["vector"].reshape(-1, 2, 2), source)
