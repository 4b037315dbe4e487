"""Distances of reconstructions from data, per example: PSNR and SSIM of images, SI-SDR of sound."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["SSIM_WINDOW", "psnr", "si_sdr", "ssim"]

SSIM_WINDOW = 11  # pixels
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03
_LEAST_ERROR = 1e-10  # 100 dB: of images that agree to the last bit


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)


def psnr(x: jax.Array, y: jax.Array) -> jax.Array:
    """−10 log10 of the mean squared error of images `[B, H, W, C]` in [0, 1]: dB `[B]`, ≤ 100."""
    error = jnp.square(_rows(x - y)).mean(axis=1)
    return -10.0 * jnp.log10(jnp.maximum(error, _LEAST_ERROR))


def _window(x: jax.Array) -> jax.Array:
    """Weighted means over windows of 11 × 11 pixels that lie inside of the image."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        size = x.shape[axis] - SSIM_WINDOW + 1
        shifted = [
            w * jax.lax.slice_in_dim(x, i, i + size, axis=axis) for i, w in enumerate(weights)
        ]
        x = jnp.stack(shifted).sum(axis=0)
    return x


def ssim(x: jax.Array, y: jax.Array) -> jax.Array:
    """The structural similarity of images `[B, H, W, C]` in [0, 1]: `[B]`, at most 1.

    Wang et al. (IEEE TIP 13(4), 2004, eq. 13): Gaussian windows of 11 × 11 pixels and σ = 1.5,
    population covariances, the mean over windows inside of the image and over channels.

    Raises:
      ValueError: the images are smaller than a window.
    """
    if min(x.shape[1:3]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of 11 × 11 pixels or more, found {x.shape[1:3]}")
    c1, c2 = _K1**2, _K2**2
    mean_x, mean_y = _window(x), _window(y)
    var_x = _window(x * x) - mean_x * mean_x
    var_y = _window(y * y) - mean_y * mean_y
    covariance = _window(x * y) - mean_x * mean_y
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2.0 * covariance + c2) / (var_x + var_y + c2)
    return _rows(luminance * structure).mean(axis=1)


def si_sdr(x: jax.Array, y: jax.Array) -> jax.Array:
    """The scale-invariant signal-to-distortion ratio of y as an estimate of x: dB `[B]`.

    Le Roux et al. (1811.02508, eq. 5): 10 log10 of ‖αx‖² / ‖αx − y‖² with α = ⟨x, y⟩ / ‖x‖², of
    signals with their mean subtracted. Bounded to ± 100 dB.
    """
    x, y = (_rows(s) - _rows(s).mean(axis=1, keepdims=True) for s in (x, y))
    power = jnp.square(x).sum(axis=1, keepdims=True)
    target = (x * y).sum(axis=1, keepdims=True) / jnp.maximum(power, 1e-20) * x
    signal, error = jnp.square(target).sum(axis=1), jnp.square(y - target).sum(axis=1)
    ratio = jnp.maximum(signal, 1e-20) / jnp.maximum(error, 1e-20)
    return jnp.clip(10.0 * jnp.log10(ratio), -100.0, 100.0)
