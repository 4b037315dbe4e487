"""M2: the class is summed out exactly, and its ELBO is a bound on log p(x)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import logsumexp

from vaejax import families
from vaejax.core.game import init, losses_and_trace

CLASSES, DIM, SAMPLES = 3, 4, 4000
X = np.array([1.0, 0.0, 1.0, 1.0], np.float32)
KEY = jax.random.key(3)


def build(**options):
    players = {"vae": ({"nll": 1.0, "kl": 1.0, "label_nll": 1.0}, optax.sgd(0.1))}
    network = {"kind": "mlp", "hidden": (5,), "activation": "tanh"}
    return families.m2(
        (DIM,), players, latent_dim=1, network=network, classes=CLASSES, **options
    )  # fmt: skip


def batch(label, rows=SAMPLES):
    return {"vector": np.tile(X, (rows, 1)), "label": np.full(rows, label, np.int32)}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def params(family):
    params = jax.jit(lambda batch: init(family, jax.random.key(1), batch))(batch(0, 2))
    return jax.tree.map(lambda a: 1.5 * a + 0.3, params)  # far from the initial biases of 0


@pytest.fixture(scope="module")
def bounds(family, params):
    """Label -> −(nll + kl) of every sample, by the same noise, and the trace."""
    program = jax.jit(losses_and_trace(family))
    found = {}
    for label in (-1, 0, 1, 2):
        losses, trace = program(params, batch(label), KEY, 0)
        elbo = -(losses["nll"] + losses["kl"].sum(axis=1))
        found[label] = np.asarray(elbo, np.float64), losses, trace
    return found


@pytest.fixture(scope="module")
def log_joint(family, params):
    """log p(x, y) of each class, by quadrature over z."""
    z = np.linspace(-9, 9, 4001, dtype=np.float32)
    values = []
    for label in range(CLASSES):
        rows = {"label": np.full(len(z), label, np.int32)}
        p = family.model.decode(params, (jnp.asarray(z)[:, None],), rows)
        log_p = np.asarray(p.log_prob(jnp.tile(X, (len(z), 1))), np.float64).sum(axis=1)
        log_p += -0.5 * z.astype(np.float64) ** 2 - 0.5 * np.log(2 * np.pi)
        values.append(logsumexp(log_p) + np.log(z[1] - z[0]) - np.log(CLASSES))
    return np.array(values)


def test_unlabelled_examples_are_the_expectation_over_all_labels(bounds):
    _, _, trace = bounds[-1]
    logits = np.asarray(trace.latents[0].posterior.logits, np.float64)
    log_q = logits - logsumexp(logits, axis=1, keepdims=True)
    given = np.stack([bounds[k][0] for k in range(CLASSES)], axis=1)
    want = (np.exp(log_q) * (given - log_q)).sum(axis=1)
    np.testing.assert_allclose(bounds[-1][0], want, rtol=2e-6)


def test_the_elbo_is_below_the_marginal_likelihood(bounds, log_joint):
    for label, exact in ((-1, logsumexp(log_joint)), *enumerate(log_joint)):
        elbo = bounds[label][0]
        error = elbo.std() / np.sqrt(SAMPLES)
        assert elbo.mean() < exact + 3 * error
        assert elbo.mean() > exact - 5.0


def test_the_classification_loss_is_of_labelled_examples_alone(family, params, bounds):
    mixed = {**batch(1, 4), "label": np.array([1, -1, 2, -1], np.int32)}
    losses, _ = losses_and_trace(family)(params, mixed, KEY, 0)
    logits = np.asarray(family.model.classify(params, mixed), np.float64)[0]
    nll = logsumexp(logits) - logits
    np.testing.assert_allclose(losses["label_nll"], [nll[1], 0, nll[2], 0], rtol=1e-5)
    wrong = np.argmax(logits) != np.array([1, 2])
    np.testing.assert_allclose(losses["error"].mean(), wrong.mean(), rtol=1e-6)
    np.testing.assert_array_equal(bounds[-1][1]["label_nll"], 0.0)


def test_a_label_that_is_no_class_is_not_a_number(family, params):
    losses, _ = losses_and_trace(family)(params, batch(CLASSES, 2), KEY, 0)
    assert np.isnan(losses["nll"]).all()


def test_encodings_have_the_label_or_the_most_likely_class(family, params):
    unknown = family.model.encode(params, batch(-1, 2), None)[0].posterior.loc
    likeliest = int(np.argmax(family.model.classify(params, batch(-1, 1))[0]))
    given = family.model.encode(params, batch(likeliest, 2), None)[0].posterior.loc
    np.testing.assert_array_equal(unknown, given)


def test_samples_have_the_class_of_the_condition(family, params):
    p = family.model.generate(params, KEY, 3, {"label": np.array([0, 1, 2], np.int32)}, 0.0)
    z = jnp.zeros((3, 1))
    want = family.model.decode(params, (z,), {"label": jnp.arange(3, dtype=jnp.int32)})
    np.testing.assert_allclose(p.mean, want.mean, rtol=1e-6)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes, found 1"):
        families.m2((DIM,), {"vae": ({"nll": 1.0}, optax.sgd(0.1))}, classes=1)
