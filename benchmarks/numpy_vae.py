"""A VAE of dense layers in NumPy and float64, as a reference implementation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params

__all__ = ["likelihood_noise", "numpy_log_likelihood"]


def numpy_log_likelihood(
    params: Params, x: np.ndarray, noise: np.ndarray, chunk: int = 50
) -> np.ndarray:
    """log 1/K Σ p(x | z) p(z) / q(z | x) of a VAE of dense layers and tanh, float64 `[B]`, in nats.

    Args:
      params: of the library's model: layers `Dense_0`, `Dense_1`, ... of `encoder` and `decoder`;
        the encoder's last returns mean and log-variance, the decoder's last logits.
      x: binary images, `[B, ...]`.
      noise: standard normal, `[K, B, D]`; z = mean + standard deviation · noise.
      chunk: samples at once.
    """

    def dense(layers: Any, h: np.ndarray) -> np.ndarray:
        for i in range(len(layers)):
            layer = layers[f"Dense_{i}"]
            h = h @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
            h = np.tanh(h) if i < len(layers) - 1 else h
        return h

    x = np.asarray(x, np.float64).reshape(len(x), -1)
    mean, log_variance = np.split(dense(params["encoder"], x), 2, axis=1)
    weights = []
    for start in range(0, len(noise), chunk):
        e = np.asarray(noise[start : start + chunk], np.float64)
        z = mean + np.exp(0.5 * log_variance) * e
        logits = dense(params["decoder"], z)
        log_p = (x * logits - np.logaddexp(0.0, logits)).sum(axis=2)
        weights.append(log_p + 0.5 * (e**2 - z**2 + log_variance).sum(axis=2))
    w = np.concatenate(weights)
    largest = w.max(axis=0)
    return largest + np.log(np.exp(w - largest).mean(axis=0))


def likelihood_noise(key: jax.Array, samples: int, shape: tuple[int, int]) -> np.ndarray:
    """The noise that `log_likelihood` uses with this key for the node of a Gaussian bottleneck."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(samples))
    return np.asarray(jax.vmap(lambda k: jax.random.normal(k, shape))(keys))
