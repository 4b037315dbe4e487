"""Spectral and balanced losses against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import distributions, losses
from vaejax.core.game import Trace, chain
from vaejax.networks.ops.stft import mel_filters
from vaejax.optimizers.moving_average import moving_average

RATE, SIZES = 8000.0, (64, 32)
KEY = jax.random.key(0)


def magnitudes(x, size):
    """`[B, T, C] -> [B, C, N, F]`, window by window."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = [x[:, i : i + size] for i in range(0, x.shape[1] - size + 1, size // 4)]
    spectra = [np.fft.rfft(f * window[None, :, None], axis=1) for f in frames]
    return np.abs(np.stack(spectra, axis=1)).transpose(0, 3, 1, 2) * 2 / window.sum()


def some_trace(seed=0):
    rng = np.random.RandomState(seed)
    t = np.arange(160)[None, :, None]
    x = np.sin(0.1 * t * rng.rand(2, 1, 2) + rng.rand(2, 1, 2)) + 0.1 * rng.randn(2, 160, 2)
    y = x + 0.2 * rng.randn(*x.shape)
    return x, y


def test_spectral_losses_against_numpy():
    x, y = some_trace()
    stft, mel = np.zeros(2), np.zeros(2)
    for size in SIZES:
        a, b = magnitudes(x, size), magnitudes(y, size)
        flat = lambda m: m.reshape(2, -1)  # noqa: E731
        convergence = np.linalg.norm(flat(a - b), axis=1) / np.linalg.norm(flat(a), axis=1)
        stft += (convergence + np.abs(np.log(flat(a)) - np.log(flat(b))).mean(axis=1)) / 2
        filters = mel_filters(max(4, min(5, size // 16)), size, RATE)
        a, b = (np.log10(np.maximum(m @ filters, 1e-5)) for m in (a, b))
        mel += np.abs(flat(a - b)).mean(axis=1) / 2
    with jax.enable_x64(True):
        p = distributions.Laplace(jnp.asarray(y), jnp.ones(y.shape))
        trace = Trace(jnp.asarray(x), p, ())
        transform = losses.spectral(SIZES, bands=5, rate=RATE)
        got = transform.apply({}, {}, trace, None)
        np.testing.assert_allclose(got["stft"], 320 * stft, rtol=1e-6)
        np.testing.assert_allclose(got["mel"], 320 * mel, rtol=1e-6)


def test_gradients_at_silence_are_finite_and_images_are_refused():
    transform = losses.spectral((32,), rate=RATE)

    def total(y):
        p = distributions.Laplace(y, jnp.ones_like(y))
        named = transform.apply({}, {}, Trace(jnp.zeros((1, 64, 1)), p, ()), None)
        return sum(v.sum() for v in named.values())

    assert np.isfinite(jax.jit(jax.grad(total))(jnp.zeros((1, 64, 1)))).all()
    image = jnp.zeros((1, 8, 8, 1))
    p = distributions.Laplace(image, jnp.ones_like(image))
    with pytest.raises(ValueError, match=r"compare whole signals \[B, T, C\]"):
        transform.apply({}, {}, Trace(image, p, ()), None)


def power(name, exponent, scale):
    """A loss scale · |x − y|^exponent, summed over the event."""

    def apply(named, trace):
        error = jnp.abs(trace.x - trace.likelihood.mean) ** exponent
        return {name: scale * error.reshape(error.shape[0], -1).sum(axis=1)}

    return losses.stateless(apply)


def test_balanced_losses_have_their_shares_of_the_gradient():
    """Two steps: λ from the norms of the batch, then from the moving average of two batches."""
    shares = {"square": lambda step: 1.0 + step, "cube": 3.0}  # of step 0
    terms = chain(power("square", 2, 1e3), power("cube", 3, 1e-2))
    transform = chain(terms, losses.balanced(terms, shares, total=2.0))
    batches = [some_trace(seed) for seed in (0, 1)]
    with jax.enable_x64(True):
        tx, params, averages = moving_average(0.9), None, np.zeros(2)
        history = []
        for step, (x, y) in enumerate(batches):
            p = distributions.Normal(jnp.asarray(y), jnp.ones(y.shape))
            trace = Trace(jnp.asarray(x), p, ())
            if params is None:
                params = transform.init(jax.random.key(0), trace)
                state = tx.init(params["balance"])

            def value(y, x=x, params=params):
                p = distributions.Normal(y, jnp.ones(y.shape))
                return transform.apply({}, params, Trace(jnp.asarray(x), p, ()), KEY)["balanced"]

            got = np.asarray(jax.jit(jax.grad(value))(jnp.asarray(y)))
            gap = y - x
            gradients = [1e3 * 2 * gap / 2, 1e-2 * 3 * gap * np.abs(gap) / 2]
            norms = 2 * np.array(
                [np.linalg.norm(g.reshape(2, -1), axis=1).mean() for g in gradients]
            )
            used = norms if step == 0 else averages
            want = sum(
                2.0 * w / 4.0 * g / n for g, n, w in zip(gradients, used, (1.0, 3.0), strict=True)
            )
            np.testing.assert_allclose(got, want, rtol=1e-6)
            named = transform.apply({}, params, trace, KEY)
            np.testing.assert_allclose(
                [named["gradient_norm/square"], named["gradient_norm/cube"]], norms, rtol=1e-6
            )
            change, state = tx.update({}, state, params["balance"], losses=named)
            params = {"balance": optax.apply_updates(params["balance"], change)}
            averages = norms
            history.append(norms)
    for i, name in enumerate(("square", "cube")):
        want = (0.9 * history[0][i] + history[1][i]) / 1.9
        np.testing.assert_allclose(params["balance"][f"gradient_norm/{name}"], want, rtol=1e-6)
    ones = jnp.ones((2, 3))
    trace = Trace(ones, distributions.Normal(ones, ones), ())
    with pytest.raises(ValueError, match="cannot balance the loss 'fourth'"):
        losses.balanced(terms, {"fourth": 1.0}).apply({}, {"balance": {}}, trace, KEY)
    p = distributions.Bernoulli(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="likelihoods with a location"):
        transform.apply({}, params, Trace(jnp.zeros((2, 3)), p, ()), KEY)
