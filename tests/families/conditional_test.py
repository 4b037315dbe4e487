"""The conditional VAE: use of the condition, generation and training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.families.conditional import (
    BY_CLASS,
    CLASSES,
    DIM,
    IMAGE,
    KEY,
    LABEL,
    MLP,
    SHAPE,
    STEP,
    by_class,
    cvae,
    dense,
    gaussians,
    gradient,
    halves,
    init,
)
from vaejax import families, losses
from vaejax.core import game
from vaejax.core.game import Trace
from vaejax.core.schedules import schedule

RNG = np.random.RandomState(1)


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
