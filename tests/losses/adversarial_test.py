"""Adversarial losses against formulas by hand: every name, R1, VQGAN's adaptive weight.

The discriminator of most tests has three lines, and its gradients are written by hand.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from vaejax import distributions, families, losses
from vaejax.core import game
from vaejax.core.game import Trace
from vaejax.networks import Network, image_discriminator

SHAPE, N = (4, 4, 1), 8
KEY = jax.random.key(0)
MLP = {"kind": "mlp", "hidden": (8,)}


def flat(x):
    return x.reshape(x.shape[0], -1)


def logit_and_features(params, x):
    features = flat(x) @ params["v"]
    return jnp.tanh(features) @ params["w"], features


DISCRIMINATOR = Network(
    lambda key, x: {
        "v": jax.random.normal(key, (16, 5)),
        "w": jax.random.normal(jax.random.fold_in(key, 1), (5,)),
    },
    logit_and_features,
)


def some_trace(seed=0, generated=True):
    rng = np.random.RandomState(seed)
    x, *logits = (jnp.asarray(rng.rand(N, *SHAPE), jnp.float32) for _ in range(3))
    p, q = (distributions.Bernoulli(8 * a - 4) for a in logits)
    return Trace(x, p, (), q if generated else None)


def in_numpy(params, x):
    """Logits and features in float64."""
    features = np.asarray(flat(x), np.float64) @ np.asarray(params["v"], np.float64)
    return np.tanh(features) @ np.asarray(params["w"], np.float64), features


def minus_log_d(d):
    return np.log1p(np.exp(-d))


@pytest.mark.parametrize("objective", ["gan", "non_saturating", "hinge"])
def test_every_name_against_numpy(objective):
    trace = some_trace()
    transform = losses.adversarial(DISCRIMINATOR, objective, real_weight=1.5, feature_scale=0.7)
    params = transform.init(KEY, trace)
    assert set(params) == {"discriminator"}
    got = transform.apply({}, params, trace, KEY)
    fakes = trace.likelihood.mean, trace.generated.mean
    (real, data_features), (d1, fake_features), (d2, _) = (
        in_numpy(params["discriminator"], x) for x in (trace.x, *fakes)
    )
    if objective == "hinge":
        on_real, on_fake = np.maximum(0, 1 - real), [np.maximum(0, 1 + d) for d in (d1, d2)]
        generator = -d1 - d2
    else:
        on_real, on_fake = minus_log_d(real), [minus_log_d(-d) for d in (d1, d2)]
        generator = minus_log_d(d1) + minus_log_d(d2)
    accuracy = 0.5 * (real > 0) + 0.25 * (d1 < 0) + 0.25 * (d2 < 0)
    assert 0 < accuracy.mean() < 1
    want = {
        "gan": 1.5 * on_real + sum(on_fake),
        "gan_real": on_real,
        "gan_fake": sum(on_fake) / 2,
        "feature": -stats.norm.logpdf(data_features, fake_features, 0.7).sum(axis=1),
        "discriminator_accuracy": accuracy,
    }
    if objective != "gan":
        want["generator"] = generator
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name].shape == (N,)
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_r1_and_its_gradient_against_jax_grad_on_native_convolutions():
    sizes = {"channels": (3, 4), "hidden": 5, "activation": "silu"}
    trace = some_trace()
    product, native = (
        image_discriminator(implementation=name, **sizes) for name in ("product", "native")
    )
    transform = losses.adversarial(product, r1=True)
    params = jax.jit(transform.init)(KEY, trace)

    def by_hand(discriminator):
        def squared(x):
            gradient = jax.grad(lambda x: native.apply(discriminator, x[None])[0][0])(x)
            return 0.5 * (gradient**2).sum()

        return jax.vmap(squared)(trace.x)

    def ours(discriminator):
        return transform.apply({}, {"discriminator": discriminator}, trace, KEY)["r1"]

    got, want = jax.jit(ours)(params["discriminator"]), jax.jit(by_hand)(params["discriminator"])
    assert got.shape == (N,)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    got, want = (jax.jit(jax.grad(lambda c, f=f: f(c).mean()))(params["discriminator"])
                 for f in (ours, by_hand))  # fmt: skip
    scale = max(float(jnp.abs(b).max()) for b in jax.tree.leaves(want))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), got, want
    )
    # By finite differences along the gradient.
    norm = optax.tree.norm(got)
    shift = jax.tree.map(lambda g: 3e-2 * g / norm, got)
    up, down = (
        jax.jit(ours)(
            jax.tree.map(lambda a, s, sign=sign: a + sign * s, params["discriminator"], shift)
        )
        for sign in (1.0, -1.0)
    )
    np.testing.assert_allclose((up - down).mean() / 2, 3e-2 * norm, rtol=1e-2)


@pytest.mark.parametrize("likelihood", ["normal", "bernoulli"])
@pytest.mark.parametrize("loss", ["nll", "feature"])
def test_the_adaptive_weight_against_gradients_by_hand(likelihood, loss):
    """VQGAN's eq. 7 in the weights of a decoder of one hidden layer, in float64."""
    rng = np.random.RandomState(0)
    hidden = np.maximum(rng.randn(N, 6), 0)  # z is the decoder's hidden layer
    kernel, x = rng.randn(6, 16), rng.rand(N, 16)
    make_likelihood = {
        "normal": lambda a: distributions.Normal(a, jnp.full_like(a, 0.3)),
        "bernoulli": distributions.Bernoulli,
    }[likelihood]

    def decode(params, zs):
        return make_likelihood((zs[0] @ params["decoder"]["last"]).reshape(N, *SHAPE))

    params = {"decoder": {"last": jnp.asarray(kernel, jnp.float32)}}
    z = jnp.asarray(hidden, jnp.float32)
    node = game.Latent(None, None, z)
    image = jnp.asarray(x, jnp.float32).reshape(N, *SHAPE)
    generated = make_likelihood(jnp.zeros((N, *SHAPE)))
    trace = Trace(image, decode(params, (z,)), (node,), generated)
    adaptive = losses.AdaptiveWeight(decode, "decoder/last", loss)
    transform = losses.adversarial(DISCRIMINATOR, "non_saturating", adaptive=adaptive)
    params |= transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)

    v, w = (np.asarray(params["discriminator"][name], np.float64) for name in ("v", "w"))
    out = hidden @ kernel
    mean = 1 / (1 + np.exp(-out)) if likelihood == "bernoulli" else out
    chain = mean * (1 - mean) if likelihood == "bernoulli" else 1.0  # d mean / d out
    squashed = np.tanh(mean @ v)
    d = squashed @ w
    generator = (-1 / (1 + np.exp(d)))[:, None] * (((1 - squashed**2) * w) @ v.T) * chain
    numerator = (mean - x) / (0.3**2 if likelihood == "normal" else 1.0)
    if loss == "feature":
        numerator = (mean - x) @ v @ v.T * chain
    weight = np.linalg.norm(hidden.T @ numerator / N)
    weight /= np.linalg.norm(hidden.T @ generator / N) + 1e-6
    assert not 0.9 < weight < 1.1
    np.testing.assert_allclose(
        got["generator_balanced"], weight * np.asarray(got["generator"]), rtol=1e-4
    )


def test_without_prior_samples_reconstructions_are_the_only_fakes():
    trace = some_trace(generated=False)
    transform = losses.adversarial(DISCRIMINATOR, "hinge", prior_samples=False, group="other")
    params = transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)
    d, _ = in_numpy(params["other"], trace.likelihood.mean)
    np.testing.assert_allclose(got["gan_fake"], np.maximum(0, 1 + d), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["generator"], -d, rtol=1e-5, atol=1e-6)
    assert "other_accuracy" in got


def test_the_discriminator_receives_the_condition_of_the_trace():
    trace = some_trace()._replace(condition=jnp.arange(float(N))[:, None])
    conditional = Network(
        DISCRIMINATOR.init,
        lambda params, x, c: (logit_and_features(params, x)[0] + c[:, 0], flat(x)),
    )
    conditional = conditional._replace(init=lambda key, x, c: DISCRIMINATOR.init(key, x))
    transform = losses.adversarial(conditional, "hinge", r1=True)
    params = transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)
    d = sum(
        in_numpy(params["discriminator"], q.mean)[0] for q in (trace.likelihood, trace.generated)
    )
    np.testing.assert_allclose(got["generator"], -d - 2 * np.arange(N), rtol=1e-5, atol=1e-5)


def test_invalid_arguments_are_reported_with_remedies():
    trace = some_trace(generated=False)
    transform = losses.adversarial(DISCRIMINATOR)
    with pytest.raises(ValueError, match="generated=True, or the losses with prior_samples="):
        transform.apply({}, transform.init(KEY, trace), trace, KEY)
    with pytest.raises(ValueError, match=r"unknown adversarial objective 'hing'.*'hinge'"):
        losses.adversarial(DISCRIMINATOR, "hing")
    with pytest.raises(ValueError, match=r"balance the generator with 'kl' \(known: feature, nll"):
        losses.adversarial(DISCRIMINATOR, adaptive=losses.AdaptiveWeight(None, "decoder", "kl"))
    params = {"decoder": {"Conv_2": {"kernel": jnp.ones(2)}}}
    for path, message in (
        ("decoder/Conv_3/kernel", r"unknown 'Conv_3' \(known: Conv_2\); did you mean 'Conv_2'"),
        ("decoder/Conv_2", r"ends before a leaf, at \['kernel'\]"),
        ("decoder/Conv_2/kernel/0", "unknown '0'"),
    ):
        with pytest.raises(ValueError, match=message):
            losses.gradient_ratio(params, path, None, None)
    with pytest.raises(ValueError, match=r"images of shape \(H, W, C\), found events of shape"):
        families.vae_gan((5,), {}, network=MLP)
