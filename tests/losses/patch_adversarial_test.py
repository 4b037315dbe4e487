"""Adversarial losses of many logits, LeCam, moving averages and a delayed start, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import distributions, losses
from vaejax.core.game import (
    Family,
    Latent,
    Model,
    Player,
    Trace,
    chain,
    game_gradient,
    losses_and_trace,
    optimizer,
)
from vaejax.core.schedules import delayed
from vaejax.networks import Network
from vaejax.optimizers.moving_average import moving_average

N, SHAPE = 4, (4, 4, 1)


def of_patches(params, x):
    """Logits of two scales, from two by two patches and from whole images; their features."""
    rows = x.reshape(x.shape[0], 2, 2, 2, 2).swapaxes(2, 3).reshape(x.shape[0], 2, 2, 4)
    features = jnp.tanh(rows @ params["v"])
    whole = x.reshape(x.shape[0], -1) @ params["u"]
    return (features @ params["w"], whole[:, None]), (features, whole[:, None])


DISCRIMINATOR = Network(lambda key, x: random_weights(), of_patches)


def random_weights():
    rng = np.random.RandomState(5)
    return {k: jnp.asarray(rng.randn(*s)) for k, s in {"v": (4, 3), "w": (3,), "u": (16,)}.items()}


def some_trace(seed=0):
    rng = np.random.RandomState(seed)
    x, mean = (jnp.asarray(rng.rand(N, *SHAPE)) for _ in range(2))
    return Trace(x, distributions.Laplace(mean, jnp.ones_like(mean)), ())


def in_numpy(params, x):
    v, w, u = (np.asarray(params[k]) for k in "vwu")
    x = np.asarray(x)
    logits, maps = np.zeros((N, 2, 2)), np.zeros((N, 2, 2, 3))
    for i in range(2):
        for j in range(2):
            patch = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 0].reshape(N, 4)
            maps[:, i, j] = np.tanh(patch @ v)
            logits[:, i, j] = maps[:, i, j] @ w
    return (logits, x.reshape(N, -1) @ u), maps


def average(logits, f):
    patches, whole = logits
    return 0.5 * (f(patches).mean(axis=(1, 2)) + f(whole))


OF_LOGITS = {
    "non_saturating": [lambda d: np.logaddexp(0, -d), lambda d: np.logaddexp(0, d)],
    "hinge": [lambda d: np.maximum(0, 1 - d), lambda d: np.maximum(0, 1 + d), lambda d: -d],
    "least_squares": [lambda d: (d - 1) ** 2 / 2, lambda d: d**2 / 2],
}


@pytest.mark.parametrize("objective", sorted(OF_LOGITS))
def test_losses_of_patches_and_scales_against_numpy(objective):
    with jax.enable_x64(True):
        trace = some_trace()
        transform = losses.adversarial(
            DISCRIMINATOR,
            objective,
            prior_samples=False,
            r1=True,
            lecam=True,
            feature_matching=True,
        )
        params = transform.init(jax.random.key(0), trace)
        params["discriminator_average"] = {
            "discriminator_logit_real": jnp.asarray(0.3),
            "discriminator_logit_fake": jnp.asarray(-0.2),
        }
        got = jax.jit(lambda p, t: transform.apply({}, p, t, jax.random.key(0)))(params, trace)
        got = {name: np.asarray(value) for name, value in got.items()}
        discriminator = params["discriminator"]
    (real, a), (fake, b) = (
        in_numpy(discriminator, trace.x),
        in_numpy(discriminator, trace.likelihood.loc),
    )
    on_real, on_fake, *rest = OF_LOGITS[objective]
    generator = rest[0] if rest else on_real
    threshold = 0.5 if objective == "least_squares" else 0.0
    v, w, u = (np.asarray(discriminator[k]) for k in "vwu")
    slope = np.zeros((N, *SHAPE))
    for i in range(2):
        for j in range(2):
            of_patch = ((1 - a[:, i, j] ** 2) * w) @ v.T / 4
            slope[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 0] = of_patch.reshape(N, 2, 2)
    slope = 0.5 * (slope + u.reshape(SHAPE))
    maps = np.abs(a - b).mean(axis=(1, 2, 3)) / np.abs(a).mean(axis=(1, 2, 3))
    whole = np.abs(real[1] - fake[1]) / np.abs(real[1])
    squares = ((a - b) ** 2).sum(axis=(1, 2, 3)) + (real[1] - fake[1]) ** 2
    want = {
        "gan": average(real, on_real) + average(fake, on_fake),
        "gan_real": average(real, on_real),
        "gan_fake": average(fake, on_fake),
        "generator": average(fake, generator),
        "feature": 0.5 * squares + 0.5 * np.log(2 * np.pi) * (12 + 1),
        "feature_matching": 0.5 * (maps + whole),
        "r1": 0.5 * (slope**2).sum(axis=(1, 2, 3)),
        "lecam": average(real, lambda d: (d + 0.2) ** 2) + average(fake, lambda d: (d - 0.3) ** 2),
        "discriminator_logit_real": average(real, lambda d: d),
        "discriminator_logit_fake": average(fake, lambda d: d),
        "discriminator_accuracy": 0.5
        * (average(real, lambda d: d > threshold) + average(fake, lambda d: d < threshold)),
    }
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name].dtype in (np.float64, np.float32)
        exact = {"rtol": 1e-5} if name.endswith("accuracy") else {"rtol": 1e-6}
        np.testing.assert_allclose(got[name], value, err_msg=name, **exact)


def test_the_moving_average_follows_the_losses_without_a_bias_of_the_start():
    values = np.random.RandomState(0).randn(6, 5)
    with jax.enable_x64(True):
        tx = moving_average(decay=0.9)
        params = {"a": jnp.asarray(50.0)}
        state = tx.init(params)
        for row in values:
            change, state = tx.update({}, state, params, losses={"a": jnp.asarray(row)})
            params = optax.apply_updates(params, change)
    weights = 0.9 ** np.arange(6)[::-1]
    np.testing.assert_allclose(
        params["a"], weights @ values.mean(axis=1) / weights.sum(), rtol=1e-6
    )
    with pytest.raises(ValueError, match="follows the loss 'b'"):
        tx.update({}, state, {"b": jnp.zeros(())}, losses={"a": jnp.zeros(3)})
    with pytest.raises(ValueError, match=r"has shape \(2,\), but the loss has \(\)"):
        tx.update({}, state, {"a": jnp.zeros(2)}, losses={"a": jnp.zeros(3)})


def linear_family(players, adaptive=False):
    """x̃ = z W of fixed z, with the discriminator of patches: gradients can be written down."""
    z = jnp.asarray(np.random.RandomState(2).randn(N, 3))

    def decode(params, zs):
        mean = (zs[0] @ params["decoder"]["last"]).reshape(N, *SHAPE)
        return distributions.Laplace(mean, jnp.full_like(mean, 0.5))

    def forward(params, batch, key, step):
        del key
        node = Latent(None, None, z)
        return Trace(batch["image"], decode(params, (z,)), (node,), step=step)

    model = Model(None, forward, None, decode, None, last_layer="decoder/last")
    weight = losses.AdaptiveWeight(decode, model.last_layer) if adaptive else None
    terms = losses.adversarial(DISCRIMINATOR, "hinge", prior_samples=False, adaptive=weight)
    return Family(model, chain(losses.nll(), terms), players), z


def test_a_delayed_start_trains_without_the_discriminator_before_it():
    """Two steps before and one after the start, against SGD by hand."""
    start = delayed(1.0, begin=2)
    with jax.enable_x64(True):
        players = {
            "vae": Player(("decoder",), {"nll": 1.0, "generator_balanced": start}, optax.sgd(0.1)),
            "discriminator": Player(("discriminator",), {"gan": start}, optax.sgd(0.1)),
        }
        family, z = linear_family(players, adaptive=True)
        x = some_trace().x
        w = jnp.asarray(np.random.RandomState(3).randn(3, 16))
        start_weights = random_weights()
        params = {"decoder": {"last": w}, "discriminator": start_weights}
        gradient = jax.jit(game_gradient(losses_and_trace(family), players))
        tx = optimizer(players)
        state, history = tx.init(params), [params]
        for step in range(3):
            grads, _, _ = gradient(
                params, jnp.int32(step), {"image": x}, jax.random.key(0), jnp.int32(step)
            )
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            history.append(params)
    z, flat = np.asarray(z), np.asarray(x).reshape(N, 16)
    current = np.asarray(w)
    for step in range(3):
        mean = z @ current
        of_nll = z.T @ np.sign(mean - flat) / 0.5 / N
        total = of_nll
        discriminator = {k: np.asarray(v) for k, v in history[step]["discriminator"].items()}
        if step < 2:
            np.testing.assert_array_equal(discriminator["v"], np.asarray(start_weights["v"]))
        else:
            of_logit = _slope(discriminator, mean)
            of_generator = -z.T @ of_logit / N
            ratio = np.linalg.norm(of_nll) / (np.linalg.norm(of_generator) + 1e-6)
            total = of_nll + ratio * of_generator
        current = current - 0.1 * total
        got = np.asarray(history[step + 1]["decoder"]["last"])
        np.testing.assert_allclose(got, current, rtol=1e-6, atol=1e-9)
    assert np.abs(np.asarray(params["discriminator"]["v"] - history[2]["discriminator"]["v"])).max()


def _slope(discriminator, mean):
    """d D / d x̃ of the mean logit, `[N, 16]`."""
    _, maps = in_numpy(discriminator, mean.reshape(N, *SHAPE))
    slope = np.zeros((N, *SHAPE))
    for i in range(2):
        for j in range(2):
            of_patch = ((1 - maps[:, i, j] ** 2) * discriminator["w"]) @ discriminator["v"].T / 4
            slope[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 0] = of_patch.reshape(N, 2, 2)
    return 0.5 * (slope.reshape(N, 16) + discriminator["u"])
