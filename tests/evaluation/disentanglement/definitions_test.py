"""Every metric against its definition in NumPy and scikit-learn, on unbalanced data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn import linear_model, metrics, svm

from vaejax.evaluation import disentanglement
from vaejax.evaluation.disentanglement.dci import importance_scores
from vaejax.evaluation.disentanglement.lasso import lasso
from vaejax.evaluation.disentanglement.logistic import logistic_regression, roc_auc

N, TRAIN = 300, 200


def data(seed=0):
    """Codes [N, 3] that mix three factors, of 2, 3 and 5 classes, numbered with gaps."""
    rng = np.random.RandomState(seed)
    y = np.stack([rng.choice(n, N, p=rng.dirichlet(np.full(n, 5.0))) for n in (2, 3, 5)], axis=1)
    y[:, 1] |= y[:, 0] & (rng.rand(N) < 0.3)
    mixture = np.array([[1.0, 0.2, 0.0], [0.3, 0.8, -0.5], [0.0, 0.1, 0.6]])
    z = (y @ mixture + 0.3 * rng.standard_normal((N, 3))).astype(np.float32)
    return z, y * np.array([1, 7, 2]) + np.array([0, -3, 10])


Z, Y = data()


def information():
    """I(z; y) [D, K] and H(y) [K] by scikit-learn, of 20 bins from NumPy's histogram."""
    edges = [np.histogram(z, 20)[1] for z in Z.T]
    bins = [np.digitize(z, e[1:-1]) for z, e in zip(Z.T, edges, strict=True)]
    table = [[metrics.mutual_info_score(y, b) for y in Y.T] for b in bins]
    return np.array(table), np.array([metrics.mutual_info_score(y, y) for y in Y.T])


def test_mig():
    i, h = information()
    ordered = np.sort(i, axis=0)
    want = (ordered[-1] - ordered[-2]) / h
    got = disentanglement.mig(Z, Y)
    np.testing.assert_allclose(got["mig_per_factor"], want, atol=1e-6)
    np.testing.assert_allclose(got["mig"], want.mean(), atol=1e-6)
    assert want.mean() > 0.1


def test_modularity():
    squared = information()[0] ** 2
    best = squared.max(axis=1)
    want = 1 - (squared.sum(axis=1) - best) / (2 * best)
    got = disentanglement.modularity(Z, Y)
    np.testing.assert_allclose(got["modularity_per_code"], want, atol=1e-5)
    np.testing.assert_allclose(got["modularity"], want.mean(), atol=1e-5)


@pytest.mark.parametrize(("quantile", "bins"), [(0.99, 20), (1.0, 20), (0.7, 2)])
def test_irs(quantile, bins):
    scores = []
    for z in Z.T.astype(float):
        per_factor = []
        for y in np.stack([np.unique(y, return_inverse=True)[1] for y in Y.T]):
            y = np.digitize(y, np.linspace(0, y.max(), bins + 1)[1:-1])
            groups = [np.abs(z[y == c] - z[y == c].mean()) for c in np.unique(y)]
            per_factor.append(np.mean([np.quantile(g, quantile) for g in groups]))
        scores.append(1 - min(per_factor) / np.abs(z - z.mean()).max())
    got = disentanglement.irs(Z, Y, quantile=quantile, bins=bins)
    np.testing.assert_allclose(got["irs_per_code"], scores, atol=1e-5)
    deviation = np.abs(Z - Z.mean(axis=0)).max(axis=0)
    np.testing.assert_allclose(got["irs"], np.average(scores, weights=deviation), atol=1e-5)


def rare(share=0.1):
    """Codes [N, 2] that partly predict a factor of two classes, of which one is rare."""
    rng = np.random.RandomState(3)
    y = (rng.rand(N, 1) < share).astype(int)
    return (y + [0.5, 1.0] * rng.standard_normal((N, 2))).astype(np.float32), y


@pytest.mark.parametrize(("z", "y"), [(Z, Y), rare()])
def test_sap_by_support_vector_machines(z, y):
    accuracy = np.zeros((z.shape[1], y.shape[1]))
    for d, k in np.ndindex(accuracy.shape):
        machine = svm.LinearSVC(C=0.01, class_weight="balanced", tol=1e-8, max_iter=100_000)
        machine.fit(z[:TRAIN, d : d + 1], y[:TRAIN, k])
        margins = machine.decision_function(z[TRAIN:, d : d + 1]).reshape(N - TRAIN, -1)
        margins = np.sort(np.hstack([margins, -margins] if margins.shape[1] == 1 else [margins]))
        assert (margins[:, -1] - margins[:, -2]).min() > 1e-5, "rounding decides a row's class"
        accuracy[d, k] = machine.score(z[TRAIN:, d : d + 1], y[TRAIN:, k])
    ordered = np.sort(accuracy, axis=0)
    got = disentanglement.sap(z, y, train=TRAIN)
    np.testing.assert_allclose(got["sap_per_factor"], ordered[-1] - ordered[-2], atol=1e-6)


def test_sap_by_correlation():
    squared = np.corrcoef(Z[:TRAIN].T, Y[:TRAIN].T)[:3, 3:] ** 2
    ordered = np.sort(squared, axis=0)
    got = disentanglement.sap(Z, Y, train=TRAIN, continuous=True)
    np.testing.assert_allclose(got["sap_per_factor"], ordered[-1] - ordered[-2], atol=1e-5)


@jax.jit
def fit(x, y, classes):
    return logistic_regression(x, y, 6, classes, strength=0.5)  # the sixth class is absent


@pytest.mark.parametrize("classes", [2, 5])
def test_logistic_regression(classes):
    y = np.unique(Y[:, 0 if classes == 2 else 2], return_inverse=True)[1]
    x = Z * np.float32([1, 10, 1]) + np.float32(
        [0, 3, 0]
    )  # columns of different scales and offsets
    solver = linear_model.LogisticRegression(C=0.5, tol=1e-10, max_iter=100_000)
    solved = solver.fit(x.astype(float), y)
    fitted = fit(x, jnp.asarray(y, jnp.int32), jnp.int32(classes))
    got = jax.nn.softmax(fitted.logits(x))
    np.testing.assert_allclose(got[:, :classes], solved.predict_proba(x), atol=1e-4)
    np.testing.assert_array_equal(got[:, classes:], 0)


def test_roc_auc_with_ties():
    scores = np.round(Z[:, 0] * 3).astype(np.float32)
    want = metrics.roc_auc_score(Y[:, 0], scores)
    np.testing.assert_allclose(roc_auc(jnp.asarray(scores), jnp.asarray(Y[:, 0] == 1)), want, 1e-6)
    assert np.isnan(roc_auc(jnp.asarray(scores), jnp.zeros(N, bool)))


def test_lasso():
    x, y = Z.astype(float) - Z.mean(axis=0), Y - Y.mean(axis=0)
    x = x - x.mean(axis=0)
    x[:, 2] = 0.9 * x[:, 1] + 0.1 * x[:, 2]
    solved = linear_model.Lasso(alpha=0.1, tol=1e-10, max_iter=100_000).fit(x, y)
    with jax.enable_x64(True):
        exact = lasso(jnp.asarray(x), jnp.asarray(y), 0.1, tolerance=1e-12, sweeps=100_000)
        np.testing.assert_allclose(exact, solved.coef_.T, atol=1e-7)
    assert (np.asarray(exact) == 0).any()
    # Columns 1 and 2 are nearly equal: along their difference the objective is flat, so the weights
    # that float32 finds depend on the processor. Its own error is that of the optimality conditions
    # (the subgradient nearest to 0), which hold to rounding; it bounds the distance to the solution
    # by strong convexity, and the objective by the square of it.
    got = np.asarray(lasso(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), 0.1), float)
    gradient = x.T @ (x @ got - y) / N
    violation = np.where(
        got != 0, gradient + 0.1 * np.sign(got), np.maximum(abs(gradient), 0.1) - 0.1
    )
    np.testing.assert_allclose(violation, 0, atol=2e-6)
    convexity = np.linalg.eigvalsh(x.T @ x / N)[0]
    distance = np.linalg.norm(got - solved.coef_.T, axis=0)
    assert (distance <= np.linalg.norm(violation, axis=0) / convexity + 1e-7).all()

    def objective(w):
        return np.square(y - x @ w).sum(axis=0) / (2 * N) + 0.1 * np.abs(w).sum(axis=0)

    best = objective(solved.coef_.T)
    np.testing.assert_allclose(objective(got), best, rtol=1e-9)
    np.testing.assert_array_equal(got == 0, solved.coef_.T == 0)


def test_dci_scores_of_a_matrix():
    r = np.array([[0.7, 0.1, 0.0], [0.2, 0.0, 0.0], [0.1, 0.9, 0.4], [0.0, 0.0, 0.6]])
    rows = [1 - scipy.stats.entropy(row, base=3) for row in r]
    columns = [1 - scipy.stats.entropy(column, base=4) for column in r.T]
    got = importance_scores(jnp.asarray(r, jnp.float32))
    want = np.average(rows, weights=r.sum(axis=1)), np.average(columns, weights=r.sum(axis=0))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_dci_linear():
    y = (Y - Y[:TRAIN].mean(axis=0)) / Y[:TRAIN].std(axis=0)
    z = Z.astype(float)
    z = (z - z[:TRAIN].mean(axis=0)) / z[:TRAIN].std(axis=0)
    solved = linear_model.Lasso(alpha=0.02, tol=1e-10, max_iter=100_000).fit(z[:TRAIN], y[:TRAIN])
    got = disentanglement.dci_linear(Z, Y, train=TRAIN)
    np.testing.assert_allclose(got["importance"], np.abs(solved.coef_.T), atol=1e-4)
    want = metrics.r2_score(y[TRAIN:], solved.predict(z[TRAIN:]))
    np.testing.assert_allclose(got["informativeness"], want, atol=1e-4)


def votes(number, rng):
    """Independent FactorVAE votes: how often dimension d won when factor k was shared."""
    table = np.zeros((3, 3))
    for _ in range(number):
        k = rng.randint(3)
        same_class = np.flatnonzero(Y[:, k] == Y[rng.randint(N), k])
        part = Z[rng.choice(same_class, 4)]
        table[(part.var(axis=0) / Z.var(axis=0)).argmin(), k] += 1
    return table


def test_factor_vae_score():
    train, test = votes(4000, np.random.RandomState(1)), votes(4000, np.random.RandomState(2))
    want = test[np.arange(3), train.argmax(axis=1)].sum() / 4000
    options = {"samples": 4, "train_votes": 4000, "eval_votes": 4000}
    got = disentanglement.factor_vae_score_of_codes(Z, Y, jax.random.key(0), **options)
    assert abs(float(got["factor_vae_score"]) - want) < 4 * np.sqrt(2 * want * (1 - want) / 4000)
    assert 0.4 < want < 0.9


def points(number, rng):
    """Independent β-VAE points: mean |z_1 − z_2| over pairs, and their shared factor."""
    x, shared = np.zeros((number, 3)), rng.randint(3, size=number)
    for n, k in enumerate(shared):
        first = rng.randint(N, size=5)
        second = [rng.choice(np.flatnonzero(Y[:, k] == Y[i, k])) for i in first]
        x[n] = np.abs(Z[first] - Z[second]).mean(axis=0)
    return x, shared


def test_beta_vae_score():
    train, test = points(2000, np.random.RandomState(1)), points(2000, np.random.RandomState(2))
    want = linear_model.LogisticRegression().fit(*train).score(*test)
    options = {"samples": 5, "train_points": 2000, "eval_points": 2000}
    got = disentanglement.beta_vae_score_of_codes(Z, Y, jax.random.key(0), **options)
    assert abs(float(got["beta_vae_score"]) - want) < 4 * np.sqrt(2 * want * (1 - want) / 2000)
    assert 0.4 < want < 0.9


def test_udr_by_relative_strengths():
    """Without a KL, and with a constant dimension, which is left out."""
    other, _ = data(seed=1)
    models = np.stack([Z, Z[:, [1, 2, 0]] + 0.5 * other, other])
    models[2, :, 1] = 3.0
    want = np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        if i != j:
            x, y = (models[m][:, [0, 2] if m == 2 else [0, 1, 2]] for m in (i, j))
            r = np.abs(scipy.stats.spearmanr(x, y).statistic)
            r = r[: x.shape[1], x.shape[1] :]
            means = [(r.max(axis=a) ** 2 / r.sum(axis=a)).mean() for a in (0, 1)]
            want[i, j] = np.mean(means)
    got = disentanglement.udr(models, correlation="spearman")
    np.testing.assert_allclose(got["pairwise"], want, atol=1e-5)
    others = [np.delete(want[:, i], i) for i in range(3)]
    np.testing.assert_allclose(got["udr"], np.median(others, axis=1), atol=1e-5)
