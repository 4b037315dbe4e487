"""Sparse decoding: each closed form against brute force, and the whole against a loop by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize, special, stats

from vaejax import counts, families, game, likelihoods, losses, models, networks
from vaejax.data import load
from vaejax.data.synthetic import FACTOR_SUPPORT, factors
from vaejax.evaluation.factors import draw_factors, top_columns
from vaejax.game import Trace
from vaejax.lasso import SpikeAndSlabLasso, closed_form_inclusion, residual_variance
from vaejax.models.sparse_decoder import split
from vaejax.training.state import init_state, make_step

KEY = jax.random.key(0)
RANDOM = np.random.RandomState(0)
D, K = 7, 3


def some_weights(seed=0, d=D, k=K):
    r = np.random.RandomState(seed)
    return (r.randn(d, k) * r.choice([0.02, 1.0], (d, k))).astype(np.float32)


def laplace_pair(w, theta, spike=10.0, slab=1.0):
    w = np.asarray(w, np.float64)
    return (
        theta * stats.laplace(scale=1 / slab).pdf(w),
        (1 - theta) * stats.laplace(scale=1 / spike).pdf(w),
    )


def exact(w, theta, a=1.0, b=D):
    """log p(W | θ) p(θ) by SciPy, up to the constant of the Beta density."""
    slab, spike = laplace_pair(w, theta)
    beta = special.xlogy(a - 1, theta) + special.xlog1py(b - 1, -np.asarray(theta))
    return np.log(slab + spike).sum() + np.sum(beta)


@pytest.mark.parametrize("rates", [(10.0, 1.0), (30.0, 0.1)])
def test_e_step_is_bayes_rule(rates):
    w, theta = some_weights(), np.array([0.1, 0.5, 0.9])
    slab, spike = laplace_pair(w, theta, *rates)
    prior = SpikeAndSlabLasso(*rates)
    got = prior.selected(jnp.asarray(w), jnp.asarray(theta, jnp.float32))
    np.testing.assert_allclose(got, slab / (slab + spike), rtol=1e-4, atol=1e-6)


def test_log_prob_and_its_gradient_in_the_weights():
    w, theta = some_weights(1), np.array([0.1, 0.5, 0.9], np.float32)
    prior = SpikeAndSlabLasso(a=2.0)
    value, gradient = jax.value_and_grad(prior.log_prob)(jnp.asarray(w), jnp.asarray(theta))
    np.testing.assert_allclose(value, exact(w, theta, a=2.0), rtol=1e-5)
    slab, spike = laplace_pair(w, theta)
    p = slab / (slab + spike)  # that of the expected log-prior, the paper's M-step
    np.testing.assert_allclose(gradient, -(1.0 * p + 10.0 * (1 - p)) * np.sign(w), rtol=1e-4)


@pytest.mark.parametrize(("a", "b"), [(1.0, None), (3.0, 2.0)])
def test_m_step_of_theta_maximises_the_expected_log_posterior(a, b):
    p = np.random.RandomState(2).rand(D, K)
    got = SpikeAndSlabLasso(a=a, b=b).inclusion(jnp.asarray(p, jnp.float32))
    for k in range(K):

        def loss(theta, k=k):
            on, off = p[:, k].sum() + a - 1, (1 - p[:, k]).sum() + (b or D) - 1
            return -(on * np.log(theta) + off * np.log1p(-theta))

        best = optimize.minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded").x
        np.testing.assert_allclose(got[k], best, atol=1e-4)


def test_em_never_lowers_the_exact_objective_and_ends_at_its_maximum():
    w, prior = some_weights(3, d=40), SpikeAndSlabLasso()
    theta, values = jnp.array([0.02, 0.5, 0.98]), []
    em = jax.jit(lambda theta: prior.inclusion(prior.selected(jnp.asarray(w), theta)))
    for _ in range(100):
        values.append(exact(w, np.asarray(theta, np.float64), b=40))
        theta = em(theta)
    assert (np.diff(values) > -1e-4).all()
    assert values[-1] - values[0] > 1
    grid = np.linspace(1e-3, 1 - 1e-3, 500)
    for k in range(K):
        best = max(exact(w[:, [k]], np.array([t]), b=40) for t in grid)
        assert exact(w[:, [k]], np.asarray(theta, np.float64)[[k]], b=40) > best - 1e-3


def test_the_selectors_player_moves_weights_by_its_optimizer_and_theta_by_em():
    prior, w = SpikeAndSlabLasso(), jnp.asarray(some_weights(4))
    selector = {"weights": w, "inclusion": jnp.full(K, 0.5)}
    params = {"selector": selector, "other": jnp.arange(3.0)}
    tx, plain = closed_form_inclusion(prior, optax.adam(0.1)), optax.adam(0.1)
    without = {"weights": w, "other": params["other"]}
    state, plain_state = tx.init(params), plain.init(without)
    for i in range(3):
        g = jax.tree.map(lambda a, i=i: jnp.sin(a + i), params)
        plain_g = {"weights": g["selector"]["weights"], "other": g["other"]}
        with jax.numpy_dtype_promotion("standard"):  # as `game.optimizer` has it
            u, state = tx.update(g, state, params)
            v, plain_state = plain.update(plain_g, plain_state, without)
        np.testing.assert_array_equal(u["selector"]["weights"], v["weights"])
        np.testing.assert_array_equal(u["other"], v["other"])
        theta = np.asarray(params["selector"]["inclusion"], np.float64)
        params, without = optax.apply_updates(params, u), optax.apply_updates(without, v)
        slab, spike = laplace_pair(params["selector"]["weights"], theta)
        want = (slab / (slab + spike)).sum(axis=0) / (2 * D - 1)
        np.testing.assert_allclose(params["selector"]["inclusion"], want, rtol=1e-4)


def test_closed_form_noise_is_the_mode_of_its_posterior():
    tx, feature = residual_variance(decay=0.9, df=3.0, scale=0.2), {"columns": jnp.zeros((1, D))}
    state, total, weight = tx.init(feature), 0.0, 0.0
    residuals = np.random.RandomState(5).randn(4, 6, D) * np.linspace(0.01, 3, D)
    for r in residuals:
        loc = jnp.asarray(RANDOM.randn(6, D), jnp.float32)
        p = likelihoods.normal("predicted").apply(
            jnp.concatenate([loc, jnp.broadcast_to(feature["columns"], loc.shape)], axis=1)
        )
        u, state = tx.update(feature, state, feature, trace=Trace(loc + jnp.asarray(r), p, ()))
        feature = optax.apply_updates(feature, u)
        total, weight = 0.9 * total + 0.1 * (r**2).mean(axis=0), 0.9 * weight + 0.1
    n, mean = 6 * weight / 0.1, total / weight

    def loss(variance, j):  # −log of likelihood and inverse-gamma prior
        log_p = -0.5 * n * (np.log(variance) + mean[j] / variance)
        return -(log_p + stats.invgamma(1.5, scale=0.3).logpdf(variance))

    p = likelihoods.normal("predicted").apply(jnp.concatenate([feature["columns"]] * 2, axis=1))
    for j in range(D):
        best = optimize.minimize_scalar(lambda v, j=j: loss(np.exp(v), j), bracket=(-4, 2)).x
        np.testing.assert_allclose(float(p.scale[0, j]) ** 2, np.exp(best), rtol=1e-3)


def test_negative_binomial_agrees_with_scipy():
    r = np.random.RandomState(6)
    mean, size = np.exp(r.uniform(-4, 6, 400)), np.exp(r.uniform(-3, 5, 400))
    x = stats.nbinom(size, size / (size + mean)).rvs(random_state=7).astype(np.float32)
    p = counts.NegativeBinomial(*(jnp.asarray(np.log(a), jnp.float32) for a in (mean, size)))
    want = stats.nbinom(size, size / (size + mean))
    np.testing.assert_allclose(p.log_prob(jnp.asarray(x)), want.logpmf(x), rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(p.mean, want.mean(), rtol=1e-5)
    np.testing.assert_allclose(p.variance, want.var(), rtol=1e-4)


def test_negative_binomial_draws():
    p = counts.NegativeBinomial(jnp.log(jnp.array([0.3, 8.0])), jnp.log(jnp.array([0.5, 3.0])))
    x = np.asarray(jax.vmap(p.sample)(jax.random.split(KEY, 20_000)))
    for j, (mean, size) in enumerate([(0.3, 0.5), (8.0, 3.0)]):
        law = stats.nbinom(size, size / (size + mean))
        edges = np.arange(30)
        expected = np.append(law.pmf(edges[:-1]), law.sf(28)) * len(x)
        seen = np.bincount(np.minimum(x[:, j].astype(int), 29), minlength=30)
        last = int((expected[:-1] > 5).sum())  # counts from here on are pooled
        pooled = [np.append(a[:last], a[last:].sum()) for a in (seen, expected)]
        assert stats.chisquare(*pooled).pvalue > 1e-3


@pytest.mark.parametrize("hidden", [(6,), (6, 5)])
def test_columns_are_a_loop_over_masked_inputs(hidden):
    network = networks.columns(D, hidden=hidden)
    z, offset = (RANDOM.randn(4, n).astype(np.float32) for n in (K, 1))
    params = network.init(KEY, jnp.asarray(z))
    random = jax.tree.map(lambda a: RANDOM.randn(*a.shape).astype(np.float32), params)
    got = network.apply(random, jnp.asarray(z), jnp.asarray(offset))
    body = random["body"]
    for j in range(D):
        h = z * random["selector"]["weights"][j]
        for layer in body["layers"]:
            h = np.maximum(h @ layer["kernel"] + layer.get("bias", 0), 0)
        want = body["unit"][j] * (h @ body["kernel"][:, j]) + body["bias"][j] + offset[:, 0]
        np.testing.assert_allclose(got[:, j], want, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got[:, D + j], random["columns"][0, j])


def test_a_latent_that_no_column_selects_leaves_no_trace():
    network = networks.columns(D)
    z = jnp.asarray(RANDOM.randn(4, K), jnp.float32)
    params = network.init(KEY, z)
    params["selector"]["weights"] = params["selector"]["weights"].at[:, 1].set(0.0)
    other = z.at[:, 1].set(100.0)
    np.testing.assert_array_equal(network.apply(params, z), network.apply(params, other))


def players(**rows):
    table = {
        "vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-2)),
        "selector": ({"nll": 1.0, "ssl": 1.0}, optax.adam(1e-2)),
        "columns": ({"nll": 1.0}, optax.adam(1e-2)),
    }
    return {**table, **rows}


def made(**options):
    options = {"latent_dim": K, "examples": 50, **options}
    return families.sparse_decoder((D,), players(), **options)


def table(n=32, seed=0):
    return {"vector": factors(n, seed)[0]}


def count_table(n=32, seed=0):
    return {"vector": np.random.RandomState(seed).poisson(3.0, (n, D)).astype(np.float32)}


def test_split_gives_the_same_model_with_more_groups():
    network = networks.columns(D)
    encoder, _ = networks.build({"kind": "mlp", "hidden": (8,)}, (D,), 2 * K, 1)
    from vaejax import bottlenecks

    whole = models.autoencoder(
        encoder, bottlenecks.gaussian(K), network, likelihoods.normal("predicted"), (D,)
    )
    parted = split(whole, "decoder", ("selector", "columns"))
    params, apart = whole.init(KEY, table()), parted.init(KEY, table())
    assert set(apart) == {"encoder", "decoder", "selector", "columns"}
    np.testing.assert_array_equal(
        apart["selector"]["weights"], params["decoder"]["selector"]["weights"]
    )
    for call in (
        lambda m, p: m.forward(p, table(), KEY, jnp.int32(0)),
        lambda m, p: m.encode(p, table(), KEY),
        lambda m, p: m.decode(p, (jnp.ones((2, K)),), None),
        lambda m, p: m.generate(p, KEY, 3),
    ):
        jax.tree.map(np.testing.assert_array_equal, call(parted, apart), call(whole, params))


def test_columns_start_at_the_statistics_of_the_first_batch():
    x, family = table(200)["vector"], made()
    params = game.init(family, KEY, {"vector": x})
    np.testing.assert_allclose(params["decoder"]["body"]["bias"], x.mean(axis=0), atol=1e-5)
    none = {**params, "selector": {**params["selector"], "weights": jnp.zeros((D, K))}}
    p = family.model.generate(none, KEY, 3)
    np.testing.assert_allclose(p.scale, np.broadcast_to(x.std(axis=0), (3, D)), rtol=1e-4)

    x, family = count_table()["vector"], made(columns={"kind": "counts", "reference": 10.0})
    params = game.init(family, KEY, {"vector": x})
    params["selector"]["weights"] = jnp.zeros((D, K))
    # Without an effect of z, each row is its own total, shared out as all rows are.
    p = family.model.forward(params, {"vector": x}, KEY, jnp.int32(0)).likelihood
    share = (x.sum(axis=0) + 0.5) / x.sum()
    np.testing.assert_allclose(p.mean, x.sum(axis=1, keepdims=True) * share, rtol=1e-4)
    p = family.model.generate(params, KEY, 2)
    np.testing.assert_allclose(p.mean, np.broadcast_to(10.0 * share, (2, D)), rtol=1e-4)


def relu_layers(p, x):
    *hidden, out = (p[f"Dense_{i}"] for i in range(len(p)))
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"][None])
    return x @ out["kernel"] + out["bias"][None]


@pytest.mark.parametrize("columns", ["normal", "counts"])
def test_gradients_are_those_of_the_papers_objective_by_hand(columns):
    family = made(columns=columns)
    batch = table() if columns == "normal" else count_table()
    x, step = jnp.asarray(batch["vector"]), jnp.int32(0)
    params = game.init(family, KEY, batch)
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    got, _, trace = jax.jit(gradient)(params, step, batch, KEY, step)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale

    def nll(params, seen, offset):
        loc, log_variance = jnp.split(relu_layers(params["encoder"], seen), 2, axis=1)
        z = loc + jnp.exp(log_variance / 2) * noise
        kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)
        body, out = params["decoder"]["body"], []
        for j in range(D):
            h = jax.nn.relu(
                (z * params["selector"]["weights"][j][None]) @ body["layers"][0]["kernel"]
            )
            second = body["layers"][1]
            h = jax.nn.relu(h @ second["kernel"] + second["bias"][None])
            unit = jax.lax.stop_gradient(body["unit"][j])
            out.append(unit * (h @ body["kernel"][:, j]) + body["bias"][j])
        out, own = jnp.stack(out, axis=1) + offset, params["columns"]
        if columns == "normal":
            sigma = jnp.exp(-6 + jax.nn.softplus(own + 6))
            log_p = -0.5 * ((x - out) / sigma) ** 2 - jnp.log(sigma) - 0.5 * jnp.log(2 * jnp.pi)
        else:
            mean, r, lg = jnp.exp(out), jnp.exp(own), jax.scipy.special.gammaln
            log_p = lg(x + r) - lg(r) - lg(x + 1) + r * jnp.log(r / (r + mean))
            log_p = log_p + x * jnp.log(mean / (r + mean))
        return -log_p.sum(axis=1).mean(), kl.mean()

    def objective(params):
        offset = jnp.log(x.sum(axis=1, keepdims=True) / 1000)
        seen = jnp.concatenate([jnp.log1p(x), offset], axis=1)
        inputs = (x, 0.0) if columns == "normal" else (seen, offset)
        w, theta = params["selector"]["weights"], params["selector"]["inclusion"][None]
        slab = theta * 0.5 * jnp.exp(-jnp.abs(w))
        spike = (1 - theta) * 5.0 * jnp.exp(-10 * jnp.abs(w))
        log_prior = jnp.log(slab + spike).sum() + (D - 1) * jnp.log1p(-theta).sum()
        return sum(nll(params, *inputs)) - log_prior / 50

    want = jax.jit(jax.grad(objective))(params)
    scale = max(float(jnp.abs(b).max()) for b in jax.tree.leaves(want))
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        where = jax.tree_util.keystr(path)
        assert np.any(b) == ("unit" not in where), where
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6 * scale, err_msg=where)


def test_training_lowers_the_loss_and_reports_what_is_selected():
    for batches, columns in ((table, "normal"), (count_table, "counts")):
        family = made(columns=columns)
        state = jax.jit(lambda b, f=family: init_state(f, 0, b))(batches())
        step = jax.jit(make_step(family))
        history = []
        for i in range(40):
            state, figures, ok = step(state, batches(seed=i % 4), 0)
            assert ok
            history.append(float(figures["nll"]))
        assert np.mean(history[-8:]) < np.mean(history[:4]) - 0.1
        selector = state.params["selector"]
        slab, spike = laplace_pair(selector["weights"], np.asarray(selector["inclusion"], float))
        p = SpikeAndSlabLasso().selected(**selector)
        assert ((p > 0.5) == (slab > spike)).all()
        values = losses.ssl(SpikeAndSlabLasso(), 50).apply({}, state.params, None, KEY)
        np.testing.assert_allclose(values["selected"], (slab > spike).mean(), rtol=1e-5)


def test_ridge_is_a_gaussian_prior_of_the_kernels():
    params = game.init(made(), KEY, table())
    got = losses.ridge(("decoder",), 50).apply({}, params, None, KEY)["ridge"]
    body = params["decoder"]["body"]
    kernels = [layer["kernel"] for layer in body["layers"]] + [body["kernel"]]
    want = sum((np.asarray(k, np.float64) ** 2).sum() for k in kernels) / 2 / 0.05 / 50
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_messages():
    with pytest.raises(ValueError, match="'ssl' needs the size of the training set"):
        losses.ssl(SpikeAndSlabLasso(), 0)
    with pytest.raises(ValueError, match=r"no parameter group 'selector'.*known: encoder"):
        losses.ssl(SpikeAndSlabLasso(), 5).apply({}, {"encoder": 0}, None, KEY)
    with pytest.raises(ValueError, match=r"vectors of shape \(D,\), found \(8, 8, 1\)"):
        families.sparse_decoder((8, 8, 1), players(), examples=5)
    with pytest.raises(ValueError, match=r"unknown kind of columns 'count'.*did you mean 'counts'"):
        made(columns="count")


def test_the_synthetic_table_is_that_of_the_paper():
    x, z = factors(100_000, 3)
    clean = np.stack(
        [z[:, 0], 2 * z[:, 0], 3 * z[:, 0] ** 2, 4 * z[:, 1], 5 * z[:, 1], 6 * np.sin(z[:, 1]),
         7 * z[:, 0] * z[:, 1]], axis=1,
    )  # fmt: skip
    np.testing.assert_allclose((x - clean).std(axis=0), 0.5, rtol=0.01)
    np.testing.assert_allclose(np.corrcoef(z.T), np.eye(2), atol=0.02)
    for column in range(7):  # moving a factor moves the columns that it supports, no others
        for factor in range(2):
            dependence = np.abs(np.corrcoef(np.abs(clean[:, column]), np.abs(z[:, factor]))[0, 1])
            assert (dependence > 0.1) == FACTOR_SUPPORT[column, factor]
    train, held_out = (load("synthetic:factors", split) for split in ("train", "eval"))
    assert (train.size, held_out.size) == (1000, 1000)
    assert train.column_names[6] == "7 z1 z2"
    rows = [s.take(np.arange(1000))["vector"] for s in (train, held_out)]
    assert not np.isin(rows[0], rows[1]).any()
    with pytest.raises(ValueError, match="unknown synthetic table 'factor'"):
        load("synthetic:factor")


def test_the_top_columns_of_each_factor_are_named_and_drawn(tmp_path):
    weights = np.zeros((6, 3), np.float32)
    weights[[0, 2, 5], 0] = [0.5, -2.0, 1.0]
    weights[[1, 3], 2] = [3.0, 0.1]
    names = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    found = top_columns(weights, names, count=2)
    assert [f.factor for f in found] == [0, 2]  # by how much they weigh, unused ones left out
    assert found[0].columns == ("gamma", "zeta")
    assert found[1].columns == ("beta", "delta")
    np.testing.assert_allclose(found[0].weights, [-2.0, 1.0])
    assert top_columns(weights, None, count=1)[0].columns == ("column 2",)
    draw_factors(tmp_path / "factors.png", weights, names)
    assert (tmp_path / "factors.png").stat().st_size > 5_000


@pytest.mark.slow
def test_the_support_of_the_synthetic_table_is_recovered():
    from benchmarks.sparse_decoding import supports

    found = supports(seeds=range(5))
    assert all(s.exact for s in found), [s.factors for s in found]
