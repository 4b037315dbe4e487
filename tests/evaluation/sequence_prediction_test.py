"""Predictions of a model whose z is the time, and whose frames show z as brightness."""

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family, Model
from vaejax.data import from_arrays
from vaejax.distributions import Normal
from vaejax.evaluation import EvaluationContext
from vaejax.evaluation.sequence_prediction import (
    context_length,
    horizon_errors,
    jumpy_predictions,
    predict,
)
from vaejax.models.sequence_model import LayeredSamples, SequenceModel

KEY = jax.random.key(0)
RATE = 0.02  # brightness per step


def counting(longest=4, bias=0.0, shape=()):
    """Beliefs are the last frame's value; a jump adds δ steps, and a bias if δ > 1."""

    def samples(z, key):
        del key
        return LayeredSamples((Normal(z, jnp.ones_like(z)),), (z,))

    def jump(params, zs, delta, key, temperature=1.0):
        moved = zs[0] + RATE * delta[:, None].astype(jnp.float32)
        return samples(jnp.where(delta[:, None] > 1, moved + bias, moved), key)

    def rollout(params, zs, deltas, key, temperature=1.0):
        steps = jnp.cumsum(deltas)[:, None, None].astype(jnp.float32)
        return (zs[0][None] + RATE * steps,)

    def beliefs(params, x):
        return x.reshape(*x.shape[:2], -1)[..., :1]

    def decode(params, zs, condition=None):
        loc = jnp.broadcast_to(zs[0].reshape(-1, *(1,) * max(1, len(shape))), (len(zs[0]), *shape))
        return Normal(loc, jnp.ones_like(loc))

    sequences = SequenceModel(
        beliefs, None, None, lambda params, b, key, temperature=1.0: samples(b, key), jump, rollout,
        None, longest,
    )  # fmt: skip
    return Model(None, None, None, decode, None, sequences=sequences)


def films(n=7, length=12, shape=(4, 4, 1)):
    start = np.linspace(0.0, 0.5, n)[:, None] + RATE * np.arange(length)[None]
    values = start.reshape(n, length, *(1,) * len(shape))
    return np.broadcast_to(values, (n, length, *shape)).astype(np.float32)


def test_predictions_are_aligned_with_the_frames():
    x, model = jnp.asarray(films()), counting(shape=(4, 4, 1))
    predictions = jax.jit(lambda x: predict(model, {}, x, 3, 2, KEY))(x[:, :9])
    assert predictions.filtered.shape == (2, 7, 9, 4, 4, 1)
    np.testing.assert_allclose(predictions.filtered[1], x[:, :9], atol=1e-6)
    np.testing.assert_allclose(predictions.rollout[0], x[:, 9:], atol=1e-6)
    deltas = jnp.array([1, 3])
    jumps = jax.jit(lambda x: jumpy_predictions(model, {}, x, deltas, 2, KEY))(x[:, :9])
    np.testing.assert_allclose(jumps[0], x[:, np.array([9, 11])], atol=1e-6)


def test_errors_by_horizon():
    source = from_arrays({"sequence": films(30)}, "eval", name="films", holdout=0.5)
    assert context_length(12) == 9
    model = counting(longest=2, bias=0.1, shape=(4, 4, 1))
    context = EvaluationContext(Family(model, None, {}), {}, source, batch_size=4)
    errors = horizon_errors(context, samples=2)
    every = {f"mse_{kind}/{h}" for kind in ("rollout", "copy_last") for h in (1, 2, 3)}
    assert errors.keys() == {*every, "mse_direct/1", "mse_direct/2"}
    for h in (1, 2, 3):
        np.testing.assert_allclose(errors[f"mse_rollout/{h}"], 0.0, atol=1e-10)
        np.testing.assert_allclose(errors[f"mse_copy_last/{h}"], (RATE * h) ** 2, rtol=1e-3)
    np.testing.assert_allclose(errors["mse_direct/1"], 0.0, atol=1e-10)
    np.testing.assert_allclose(errors["mse_direct/2"], 0.01, rtol=1e-3)
