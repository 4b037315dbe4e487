"""The conditional VAE: loss and gradient by hand, GSNN by quadrature, use of the condition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.families.noise import generated_noise
from tests.random_params import random_params
from vaejax import families, losses
from vaejax.core import game
from vaejax.core.game import Trace
from vaejax.core.schedules import schedule

SHAPE, CLASSES, DIM = (4, 4, 1), 3, 2
MLP = {"kind": "mlp", "hidden": (8,)}
RNG = np.random.RandomState(0)
IMAGE = RNG.rand(6, *SHAPE).astype(np.float32)
LABEL = np.array([0, 1, 2, 2, 1, -1], np.int32)  # the last has no label
BY_CLASS = {"image": IMAGE, "label": LABEL}
MASK = np.zeros((6, 4, 4, 1), np.float32)
MASK[:, :, 2:] = 1
HALVES = {"image": IMAGE, "hidden": MASK, "condition": np.where(MASK == 1, -1.0, IMAGE)}
HALVES = {k: v.astype(np.float32) for k, v in HALVES.items()}
KEY, STEP = jax.random.key(3), jnp.int32(0)


def cvae(weights=None, baseline=None, **options):
    players = {"vae": (weights or {"nll": 1.0, "kl": 1.0}, optax.sgd(0.1))}
    if baseline:
        players["baseline"] = ({"baseline_nll": 1.0}, optax.sgd(0.1))
    options = {"latent_dim": DIM, "network": MLP, "prior_network": MLP, **options}
    return families.cvae(SHAPE, players, baseline=baseline, **options)


def by_class(**options):
    return cvae(classes=CLASSES, **options)


def halves(**options):
    return cvae(condition="condition", conditioned=(), baseline=MLP, **options)


def init(family, batch):
    """Parameters with nonzero biases, so that every gradient is tested."""
    init = functools.partial(game.init, family)
    return random_params(init, jax.random.key(0), batch, noise=0.2)


def gradient(family, params, batch, key=KEY):
    run = game.game_gradient(game.losses_and_trace(family), family.players)
    return jax.jit(lambda p: run(p, STEP, batch, key, STEP))(params)


def dense(p, *inputs):
    x = jnp.concatenate([a.reshape(len(a), -1) for a in inputs], axis=1)
    x = jax.nn.relu(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"][None])
    return x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"][None]


def cross_entropy(logits, x, mask=1.0):
    p = jax.nn.sigmoid(logits).reshape(x.shape)
    nll = -(x * jnp.log(p) + (1 - x) * jnp.log(1 - p))
    return (nll * mask).reshape(len(x), -1).sum(axis=1)


def gaussians(features):
    loc, log_variance = jnp.split(features, 2, axis=1)
    return loc, jnp.exp(log_variance)


def kl_by_hand(q, p):
    (m, v), (n, w) = q, p
    return 0.5 * (jnp.log(w / v) + (v + (m - n) ** 2) / w - 1).sum(axis=1)


def posterior_noise(trace):
    node = trace.latents[0]
    return (node.z - node.posterior.loc) / node.posterior.scale


def assert_same_gradient(got, want):
    scale = max(float(jnp.abs(a).max()) for a in jax.tree.leaves(want))
    for path, b in jax.tree_util.tree_leaves_with_path(want):
        assert np.any(b), f"the gradient of {jax.tree_util.keystr(path)} is zero"
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), got, want
    )


@pytest.mark.parametrize("learned", [True, False])
def test_hybrid_objective_and_its_gradient_equal_the_reference(learned):
    alpha = 0.3
    weights = {"nll": alpha, "kl": alpha, "gsnn": 1 - alpha}
    family = by_class(weights=weights, hybrid=True, learned_prior=learned)
    params = init(family, BY_CLASS)
    assert set(params) == {"encoder", "decoder"} | ({"prior"} if learned else set())
    c = jnp.asarray([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]], jnp.float32)
    x = jnp.asarray(IMAGE)
    grads, got, trace = gradient(family, params, BY_CLASS)
    noise = posterior_noise(trace)
    found = jax.jit(functools.partial(generated_noise, family, dim=DIM))
    prior_noise = found(params, BY_CLASS, KEY, STEP)["prior_noise"]
    assert np.abs(noise - prior_noise).min() > 1e-3, "one key for two samples"

    def by_hand(params):
        q = gaussians(dense(params["encoder"], x, c))
        standard = jnp.zeros((6, DIM)), jnp.ones((6, DIM))
        p = gaussians(dense(params["prior"], c)) if learned else standard
        z, fake = (m + jnp.sqrt(v) * e for (m, v), e in ((q, noise), (p, prior_noise)))
        nll = cross_entropy(dense(params["decoder"], z, c), x)
        gsnn = cross_entropy(dense(params["decoder"], fake, c), x)
        terms = {"nll": nll, "kl": kl_by_hand(q, p), "gsnn": gsnn}
        total = alpha * (terms["nll"] + terms["kl"]) + (1 - alpha) * gsnn
        return total.mean(), terms

    want_grads, want = jax.jit(jax.grad(by_hand, has_aux=True))(params)
    for name, value in want.items():
        actual = got[name][:, 0] if name == "kl" else got[name]
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-5)
    assert_same_gradient(grads, want_grads)


def test_gsnn_estimates_the_expectation_under_the_prior():
    family = by_class(hybrid=True, latent_dim=1)
    params = init(family, BY_CLASS)
    losses_fn = game.losses_and_trace(family)
    keys = jax.random.split(jax.random.key(5), 4000)
    sample = jax.jit(jax.vmap(lambda k: losses_fn(params, BY_CLASS, k, STEP)[0]["gsnn"]))
    samples = np.asarray(sample(keys), np.float64)  # [keys, B]
    c = jax.nn.one_hot(LABEL, CLASSES)
    loc, variance = gaussians(dense(params["prior"], c))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    want = sum(
        w * np.asarray(
            cross_entropy(dense(params["decoder"], loc + jnp.sqrt(variance) * np.float32(t), c),
                          jnp.asarray(IMAGE)), np.float64)
        for t, w in zip(nodes, weights / weights.sum(), strict=True)
    )  # fmt: skip
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (error > 0).all()
    assert (np.abs(samples.mean(axis=0) - want) < 5 * error + 1e-4).all()


def test_the_baseline_is_trained_by_its_loss_only_and_only_hidden_pixels_count():
    family = halves()
    params = init(family, HALVES)
    x, mask, c = (jnp.asarray(HALVES[k]) for k in ("image", "hidden", "condition"))
    grads, got, trace = gradient(family, params, HALVES)
    noise = posterior_noise(trace)
    sg = jax.lax.stop_gradient

    def by_hand(params):
        logits = dense(params["baseline"], c)
        completed = jnp.where(mask == 1, sg(jax.nn.sigmoid(logits)).reshape(x.shape), x)
        q, p = gaussians(dense(params["encoder"], x)), gaussians(dense(params["prior"], completed))
        z = q[0] + jnp.sqrt(q[1]) * noise
        nll = cross_entropy(dense(params["decoder"], z), x, mask)
        baseline = cross_entropy(logits, x, mask)
        named = {"nll": nll, "baseline_nll": baseline}
        return (nll + kl_by_hand(q, p) + baseline).mean(), named

    want_grads, want = jax.jit(jax.grad(by_hand, has_aux=True))(params)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5)
    # Output units of observed pixels have zero gradients.
    for tree in (grads, want_grads):
        for group in ("decoder", "baseline"):
            observed = np.asarray(tree[group]["Dense_1"]["bias"]).reshape(SHAPE)[:, :2]
            np.testing.assert_array_equal(observed, 0.0)
    assert_same_gradient(grads, want_grads)


def outputs(family, params, batch):
    trace = jax.jit(family.model.forward)(params, batch, KEY, STEP)
    node = trace.latents[0]
    z = (jnp.ones_like(node.z),)
    decoded = jax.jit(family.model.decode)(params, z, batch)
    return {"encoder": node.posterior.loc, "prior": node.prior.loc, "decoder": decoded.mean}


@pytest.mark.parametrize(
    "conditioned", [("encoder", "decoder"), ("encoder",), ("decoder",), ()], ids=str
)
def test_only_conditioned_networks_depend_on_the_condition(conditioned):
    family = by_class(conditioned=conditioned)
    params = init(family, BY_CLASS)
    before = outputs(family, params, BY_CLASS)
    after = outputs(family, params, {**BY_CLASS, "label": (LABEL + 1) % CLASSES})
    changed = {name for name in before if not np.allclose(before[name], after[name])}
    assert changed == {"prior", *conditioned}


@pytest.mark.parametrize("shape", [(2, 2, 5), (7,)], ids=str)
def test_convolutions_can_be_conditioned_on_vectors_and_images_of_any_size(shape):
    conv = {
        "kind": "conv",
        "channels": (4, 4),
        "kernels": (3, 3),
        "hidden": 8,
        "implementation": "native",
    }
    prior = {**conv, "channels": (4,), "kernels": (3,)} if len(shape) == 3 else MLP
    options = {"condition": "condition", "condition_shape": shape}
    family = cvae(network=conv, prior_network=prior, **options)
    c = RNG.randn(6, *shape).astype(np.float32)
    batch = {"image": IMAGE, "condition": c}
    params = init(family, batch)
    before = outputs(family, params, batch)
    c = c.copy()
    c[0] += 3 * RNG.randn(*shape)  # the condition of the first example
    after = outputs(family, params, {"image": IMAGE, "condition": c})
    for name in before:
        same = np.isclose(before[name], after[name], atol=1e-6).reshape(6, -1).all(axis=1)
        assert not same[0], name
        assert same[1:].all(), name
    grads, _, _ = gradient(family, params, batch)
    assert all(np.any(a) for a in jax.tree.leaves(grads))


def test_generating_without_a_condition_equals_the_absent_class():
    family = by_class(learned_prior=True)
    params = init(family, BY_CLASS)
    generate = jax.jit(family.model.generate, static_argnums=2)
    none = generate(params, KEY, 5, None, 1.0)
    absent = generate(params, KEY, 5, {"label": jnp.full(5, -1)}, 1.0)
    first = generate(params, KEY, 5, {"label": jnp.zeros(5, jnp.int32)}, 1.0)
    np.testing.assert_array_equal(none.mean, absent.mean)
    assert not np.allclose(none.mean, first.mean)
    cold = generate(params, KEY, 5, {"label": jnp.zeros(5, jnp.int32)}, 0.0).mean
    p = gaussians(dense(params["prior"], jnp.eye(CLASSES)[:1]))
    mode = dense(params["decoder"], p[0], jnp.eye(CLASSES)[:1])
    want = np.broadcast_to(jax.nn.sigmoid(mode).reshape(1, *SHAPE), (5, *SHAPE))
    np.testing.assert_allclose(cold, want, rtol=1e-5)


def test_invalid_arguments_are_reported():
    with pytest.raises(ValueError, match=r"model\.baseline"):
        by_class(baseline=MLP)
    with pytest.raises(ValueError, match="learned_prior=False"):
        halves(learned_prior=False)
    with pytest.raises(ValueError, match=r"no player 'baseline'"):
        families.cvae(SHAPE, {"vae": ({}, None), "baseline": ({}, None)}, classes=2)
    residual = {"kind": "residual", "hidden": 4, "blocks": 1, "downsamplings": 1}
    family = by_class(network=residual)
    with pytest.raises(ValueError, match=r"prior.* \(6, 2\).*encoder.* \(6, 2, 2"):
        jax.eval_shape(lambda: game.init(family, KEY, BY_CLASS))
    trace = Trace(jnp.zeros((2, 3)), None, ())
    with pytest.raises(ValueError, match=r"'gsnn'.*prior"):
        losses.gsnn().apply({}, {}, trace, KEY)
    with pytest.raises(ValueError, match=r"'baseline_nll'.*condition"):
        losses.baseline_nll(None, None).apply({}, {}, trace, KEY)


def test_training_with_a_kl_schedule_learns_the_condition():
    """Each class has one image: after training, each class generates its image."""
    prototypes = (RNG.rand(CLASSES, *SHAPE) < 0.5).astype(np.float32)
    label = np.arange(30, dtype=np.int32) % CLASSES
    batch = {"image": prototypes[label], "label": label}
    players = {
        "vae": (
            {"nll": 1.0, "kl": schedule({"kind": "linear", "start": 0, "end": 1, "steps": 50})},
            optax.adam(1e-2),
        )
    }
    family = families.cvae(
        SHAPE, players, latent_dim=DIM, network=MLP, prior_network=MLP, classes=CLASSES
    )
    params = jax.jit(lambda: game.init(family, KEY, batch))()
    run = game.game_gradient(game.losses_and_trace(family), family.players)
    tx = game.optimizer(family.players)

    @jax.jit
    def step(params, state, i):
        grads, _, _ = run(params, i, batch, jax.random.fold_in(KEY, i), i)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for i in range(200):
        params, state = step(params, state, jnp.int32(i))
    generate = jax.jit(family.model.generate, static_argnums=2)
    generated = generate(params, KEY, CLASSES, {"label": jnp.arange(CLASSES)}, 1.0).mean
    np.testing.assert_array_equal(np.round(generated), prototypes)
