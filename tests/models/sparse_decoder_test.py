"""Sparse decoding: the model and its gradient against a loop over columns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import families, losses, models, networks
from vaejax.core import game
from vaejax.data.synthetic.tables import factors
from vaejax.distributions import likelihoods
from vaejax.distributions.spike_and_slab_lasso import SpikeAndSlabLasso
from vaejax.models.sparse_decoder import split_group
from vaejax.training.train_step import init_state, make_step

KEY = jax.random.key(0)
RANDOM = np.random.RandomState(0)
D, K = 7, 3


def players(**rows):
    table = {
        "vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-2)),
        "selector": ({"nll": 1.0, "spike_and_slab_lasso": 1.0}, optax.adam(1e-2)),
        "columns": ({"nll": 1.0}, optax.adam(1e-2)),
    }
    return {**table, **rows}


def family_with(**options):
    options = {"latent_dim": K, "examples": 50, **options}
    return families.sparse_decoder((D,), players(), **options)


def init(family, batch):
    return jax.jit(lambda batch: game.init(family, KEY, batch))(batch)


def table(n=32, seed=0):
    return {"vector": factors(n, seed)[0]}


def count_table(n=32, seed=0):
    return {"vector": np.random.RandomState(seed).poisson(3.0, (n, D)).astype(np.float32)}


def test_split_group_gives_the_same_model_with_more_groups():
    network = networks.sparse_decoder(D)
    encoder, _ = networks.build({"kind": "mlp", "hidden": (8,)}, (D,), 2 * K, 1)
    from vaejax.latents import bottlenecks

    joint = models.autoencoder(
        encoder, bottlenecks.gaussian(K), network, likelihoods.normal("predicted"), (D,)
    )
    separated = split_group(joint, "decoder", ("selector", "columns"))
    params, groups = (jax.jit(model.init)(KEY, table()) for model in (joint, separated))
    assert set(groups) == {"encoder", "decoder", "selector", "columns"}
    np.testing.assert_array_equal(
        groups["selector"]["weights"], params["decoder"]["selector"]["weights"]
    )
    for call in (
        lambda m, p: m.forward(p, table(), KEY, jnp.int32(0)),
        lambda m, p: m.encode(p, table(), KEY),
        lambda m, p: m.decode(p, (jnp.ones((2, K)),), None),
        lambda m, p: m.generate(p, KEY, 3),
    ):
        got, want = jax.jit(lambda *p, call=call: (call(separated, p[0]), call(joint, p[1])))(
            groups, params
        )
        jax.tree.map(np.testing.assert_array_equal, got, want)


def test_columns_are_initialised_from_the_first_batch():
    x, family = table(200)["vector"], family_with()
    params = init(family, {"vector": x})
    np.testing.assert_allclose(params["decoder"]["body"]["bias"], x.mean(axis=0), atol=1e-5)
    no_effect = {**params, "selector": {**params["selector"], "weights": jnp.zeros((D, K))}}
    p = jax.jit(family.model.generate, static_argnums=2)(no_effect, KEY, 3)
    np.testing.assert_allclose(p.scale, np.broadcast_to(x.std(axis=0), (3, D)), rtol=1e-4)

    x, family = count_table()["vector"], family_with(columns={"kind": "counts", "reference": 10.0})
    params = init(family, {"vector": x})
    params["selector"]["weights"] = jnp.zeros((D, K))
    # Without an effect of z, each row is its total times the average shares of the columns.
    p = jax.jit(family.model.forward)(params, {"vector": x}, KEY, jnp.int32(0)).likelihood
    share = (x.sum(axis=0) + 0.5) / x.sum()
    np.testing.assert_allclose(p.mean, x.sum(axis=1, keepdims=True) * share, rtol=1e-4)
    p = jax.jit(family.model.generate, static_argnums=2)(params, KEY, 2)
    np.testing.assert_allclose(p.mean, np.broadcast_to(10.0 * share, (2, D)), rtol=1e-4)


def relu_layers(p, x):
    *hidden, out = (p[f"Dense_{i}"] for i in range(len(p)))
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"][None])
    return x @ out["kernel"] + out["bias"][None]


@pytest.mark.parametrize("columns", ["normal", pytest.param("counts", marks=pytest.mark.slow)])
def test_gradients_equal_those_of_the_papers_objective(columns):
    family = family_with(columns=columns)
    batch = table() if columns == "normal" else count_table()
    x, step = jnp.asarray(batch["vector"]), jnp.int32(0)
    params = init(family, batch)
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    got, _, trace = jax.jit(gradient)(params, step, batch, KEY, step)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale

    def nll_and_kl(params, inputs, offset):
        loc, log_variance = jnp.split(relu_layers(params["encoder"], inputs), 2, axis=1)
        z = loc + jnp.exp(log_variance / 2) * noise
        kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)
        body, out = params["decoder"]["body"], []
        for j in range(D):
            h = jax.nn.relu(
                (z * params["selector"]["weights"][j][None]) @ body["layers"][0]["kernel"]
            )
            layer = body["layers"][1]
            h = jax.nn.relu(h @ layer["kernel"] + layer["bias"][None])
            unit = jax.lax.stop_gradient(body["unit"][j])
            out.append(unit * (h @ body["kernel"][:, j]) + body["bias"][j])
        out, second = jnp.stack(out, axis=1) + offset, params["columns"]
        if columns == "normal":
            sigma = jnp.exp(-6 + jax.nn.softplus(second + 6))
            log_p = -0.5 * ((x - out) / sigma) ** 2 - jnp.log(sigma) - 0.5 * jnp.log(2 * jnp.pi)
        else:
            mean, r, lg = jnp.exp(out), jnp.exp(second), jax.scipy.special.gammaln
            log_p = lg(x + r) - lg(r) - lg(x + 1) + r * jnp.log(r / (r + mean))
            log_p = log_p + x * jnp.log(mean / (r + mean))
        return -log_p.sum(axis=1).mean(), kl.mean()

    def objective(params):
        offset = jnp.log(x.sum(axis=1, keepdims=True) / 1000)
        counts = jnp.concatenate([jnp.log1p(x), offset], axis=1)
        inputs = (x, 0.0) if columns == "normal" else (counts, offset)
        w, theta = params["selector"]["weights"], params["selector"]["inclusion"][None]
        slab = theta * 0.5 * jnp.exp(-jnp.abs(w))
        spike = (1 - theta) * 5.0 * jnp.exp(-10 * jnp.abs(w))
        log_prior = jnp.log(slab + spike).sum() + (D - 1) * jnp.log1p(-theta).sum()
        return sum(nll_and_kl(params, *inputs)) - log_prior / 50

    want = jax.jit(jax.grad(objective))(params)
    scale = max(float(jnp.abs(b).max()) for b in jax.tree.leaves(want))
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        where = jax.tree_util.keystr(path)
        assert np.any(b) == ("unit" not in where), where
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6 * scale, err_msg=where)


@pytest.mark.slow
def test_training_decreases_the_loss_and_reports_the_selection():
    for batches, columns in ((table, "normal"), (count_table, "counts")):
        family = family_with(columns=columns)
        state = jax.jit(lambda b, f=family: init_state(f, 0, b))(batches())
        step = jax.jit(make_step(family))
        history = []
        for i in range(40):
            state, metrics, ok = step(state, batches(seed=i % 4), 0)
            assert ok
            history.append(float(metrics["nll"]))
        assert np.mean(history[-8:]) < np.mean(history[:4]) - 0.1
        selector = state.params["selector"]
        size = np.abs(np.asarray(selector["weights"], np.float64))
        theta = np.asarray(selector["inclusion"], np.float64)
        slab, spike = theta * np.exp(-size), (1 - theta) * 10 * np.exp(-10 * size)
        p = SpikeAndSlabLasso().slab_probability(**selector)
        assert ((p > 0.5) == (slab > spike)).all()
        penalty = losses.spike_and_slab_lasso(SpikeAndSlabLasso(), 50)
        values = penalty.apply({}, state.params, None, KEY)
        np.testing.assert_allclose(values["selected"], (slab > spike).mean(), rtol=1e-5)
        median = float(np.median(np.abs(selector["weights"])))
        penalty = losses.spike_and_slab_lasso(SpikeAndSlabLasso(), 50, small=median)
        half = penalty.apply({}, state.params, None, KEY)
        below = (np.abs(selector["weights"]) < median).mean()
        np.testing.assert_allclose(half["sparsity"], below, rtol=1e-6)
        assert 0.4 < below < 0.6


def test_ridge_is_the_log_density_of_a_gaussian_prior_of_the_kernels():
    params = init(family_with(), table())
    got = losses.ridge(("decoder",), 50).apply({}, params, None, KEY)["ridge"]
    body = params["decoder"]["body"]
    kernels = [layer["kernel"] for layer in body["layers"]] + [body["kernel"]]
    want = sum((np.asarray(k, np.float64) ** 2).sum() for k in kernels) / 2 / 0.05 / 50
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_invalid_arguments_are_reported():
    with pytest.raises(ValueError, match="_lasso' needs the size of the training set"):
        losses.spike_and_slab_lasso(SpikeAndSlabLasso(), 0)
    with pytest.raises(ValueError, match=r"no parameter group 'selector'.*known: encoder"):
        losses.spike_and_slab_lasso(SpikeAndSlabLasso(), 5).apply({}, {"encoder": 0}, None, KEY)
    with pytest.raises(ValueError, match=r"vectors of shape \(D,\), found \(8, 8, 1\)"):
        families.sparse_decoder((8, 8, 1), players(), examples=5)
    with pytest.raises(ValueError, match=r"unknown kind of columns 'count'.*did you mean 'counts'"):
        family_with(columns="count")


@pytest.mark.slow
def test_the_support_of_the_synthetic_table_is_recovered():
    from benchmarks.sparse_decoding import supports

    results = supports(seeds=range(5))
    assert all(s.exact for s in results), [s.factors for s in results]
