"""The adversary against formulas by hand: every name, R1, VQGAN's adaptive weight.

The critic of most tests is written here in three lines, and so are its gradients.
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
from vaejax.networks import Network, image_critic

SHAPE, N = (4, 4, 1), 8
KEY = jax.random.key(0)
MLP = {"kind": "mlp", "hidden": (8,)}


def flat(x):
    return x.reshape(x.shape[0], -1)


def verdict(params, x):
    features = flat(x) @ params["v"]
    return jnp.tanh(features) @ params["w"], features


CRITIC = Network(
    lambda key, x: {
        "v": jax.random.normal(key, (16, 5)),
        "w": jax.random.normal(jax.random.fold_in(key, 1), (5,)),
    },
    verdict,
)


def some_trace(seed=0, generated=True):
    draw = np.random.RandomState(seed)
    x, *logits = (jnp.asarray(draw.rand(N, *SHAPE), jnp.float32) for _ in range(3))
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
    transform = losses.adversarial(CRITIC, objective, real_weight=1.5, feature_scale=0.7)
    params = transform.init(KEY, trace)
    assert set(params) == {"critic"}
    got = transform.apply({}, params, trace, KEY)
    fakes = trace.likelihood.mean, trace.generated.mean
    (real, of_data), (d1, of_fake), (d2, _) = (
        in_numpy(params["critic"], x) for x in (trace.x, *fakes)
    )
    if objective == "hinge":
        on_real, on_fake = np.maximum(0, 1 - real), [np.maximum(0, 1 + d) for d in (d1, d2)]
        generator = -d1 - d2
    else:
        on_real, on_fake = minus_log_d(real), [minus_log_d(-d) for d in (d1, d2)]
        generator = minus_log_d(d1) + minus_log_d(d2)
    right = 0.5 * (real > 0) + 0.25 * (d1 < 0) + 0.25 * (d2 < 0)
    assert 0 < right.mean() < 1
    want = {
        "gan": 1.5 * on_real + sum(on_fake),
        "gan_real": on_real,
        "gan_fake": sum(on_fake) / 2,
        "feature": -stats.norm.logpdf(of_data, of_fake, 0.7).sum(axis=1),
        "critic_accuracy": right,
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
    product, native = (image_critic(form=form, **sizes) for form in ("product", "native"))
    transform = losses.adversarial(product, r1=True)
    params = jax.jit(transform.init)(KEY, trace)

    def by_hand(critic):
        def squared(x):
            slope = jax.grad(lambda x: native.apply(critic, x[None])[0][0])(x)
            return 0.5 * (slope**2).sum()

        return jax.vmap(squared)(trace.x)

    def ours(critic):
        return transform.apply({}, {"critic": critic}, trace, KEY)["r1"]

    got, want = jax.jit(ours)(params["critic"]), jax.jit(by_hand)(params["critic"])
    assert got.shape == (N,)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    got, want = (jax.jit(jax.grad(lambda c, f=f: f(c).mean()))(params["critic"])
                 for f in (ours, by_hand))  # fmt: skip
    scale = max(float(jnp.abs(b).max()) for b in jax.tree.leaves(want))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), got, want
    )
    # By differences, uphill, so that both orders are seen from outside.
    norm = optax.tree.norm(got)
    shift = jax.tree.map(lambda g: 3e-2 * g / norm, got)
    up, down = (
        jax.jit(ours)(jax.tree.map(lambda a, s, sign=sign: a + sign * s, params["critic"], shift))
        for sign in (1.0, -1.0)
    )
    np.testing.assert_allclose((up - down).mean() / 2, 3e-2 * norm, rtol=1e-2)


@pytest.mark.parametrize("likelihood", ["normal", "bernoulli"])
@pytest.mark.parametrize("loss", ["nll", "feature"])
def test_the_adaptive_weight_against_gradients_by_hand(likelihood, loss):
    """VQGAN's eq. 7 in the weights of a decoder of one hidden layer, in float64."""
    draw = np.random.RandomState(0)
    hidden = np.maximum(draw.randn(N, 6), 0)  # the decoder's hidden layer stands for z
    kernel, x = draw.randn(6, 16), draw.rand(N, 16)
    of = {
        "normal": lambda a: distributions.Normal(a, jnp.full_like(a, 0.3)),
        "bernoulli": distributions.Bernoulli,
    }[likelihood]

    def decode(params, zs):
        return of((zs[0] @ params["decoder"]["last"]).reshape(N, *SHAPE))

    params = {"decoder": {"last": jnp.asarray(kernel, jnp.float32)}}
    z = jnp.asarray(hidden, jnp.float32)
    node = game.Latent(None, None, z)
    image = jnp.asarray(x, jnp.float32).reshape(N, *SHAPE)
    trace = Trace(image, decode(params, (z,)), (node,), of(jnp.zeros((N, *SHAPE))))
    adaptive = losses.Adaptive(decode, "decoder/last", loss)
    transform = losses.adversarial(CRITIC, "non_saturating", adaptive=adaptive)
    params |= transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)

    v, w = (np.asarray(params["critic"][name], np.float64) for name in ("v", "w"))
    out = hidden @ kernel
    mean = 1 / (1 + np.exp(-out)) if likelihood == "bernoulli" else out
    chain = mean * (1 - mean) if likelihood == "bernoulli" else 1.0  # d mean / d out
    squashed = np.tanh(mean @ v)
    d = squashed @ w
    found = (-1 / (1 + np.exp(d)))[:, None] * (((1 - squashed**2) * w) @ v.T) * chain
    wanted = (mean - x) / (0.3**2 if likelihood == "normal" else 1.0)
    if loss == "feature":
        wanted = (mean - x) @ v @ v.T * chain
    weight = np.linalg.norm(hidden.T @ wanted / N) / (np.linalg.norm(hidden.T @ found / N) + 1e-6)
    assert not 0.9 < weight < 1.1
    np.testing.assert_allclose(
        got["generator_balanced"], weight * np.asarray(got["generator"]), rtol=1e-4
    )


def test_without_prior_samples_reconstructions_are_the_only_fakes():
    trace = some_trace(generated=False)
    transform = losses.adversarial(CRITIC, "hinge", prior_samples=False, group="other")
    params = transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)
    d, _ = in_numpy(params["other"], trace.likelihood.mean)
    np.testing.assert_allclose(got["gan_fake"], np.maximum(0, 1 + d), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["generator"], -d, rtol=1e-5, atol=1e-6)
    assert "other_accuracy" in got


def test_the_condition_of_a_trace_is_shown_to_the_critic():
    trace = some_trace()._replace(condition=jnp.arange(float(N))[:, None])
    conditional = Network(
        CRITIC.init, lambda params, x, c: (verdict(params, x)[0] + c[:, 0], flat(x))
    )
    conditional = conditional._replace(init=lambda key, x, c: CRITIC.init(key, x))
    transform = losses.adversarial(conditional, "hinge", r1=True)
    params = transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)
    d = sum(in_numpy(params["critic"], q.mean)[0] for q in (trace.likelihood, trace.generated))
    np.testing.assert_allclose(got["generator"], -d - 2 * np.arange(N), rtol=1e-5, atol=1e-5)


def test_errors_name_the_culprit_and_the_remedy():
    trace = some_trace(generated=False)
    transform = losses.adversarial(CRITIC)
    with pytest.raises(ValueError, match="generated=True, or the adversary with prior_samples="):
        transform.apply({}, transform.init(KEY, trace), trace, KEY)
    with pytest.raises(ValueError, match=r"unknown objective of the adversary 'hing'.*'hinge'"):
        losses.adversarial(CRITIC, "hing")
    with pytest.raises(ValueError, match=r"balance the generator with 'kl' \(known: feature, nll"):
        losses.adversarial(CRITIC, adaptive=losses.Adaptive(None, "decoder", "kl"))
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
