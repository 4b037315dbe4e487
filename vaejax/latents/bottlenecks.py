"""Bottlenecks of continuous latents: encoder features -> a stochastic node."""

import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.game import Latent, Params, Weight
from vaejax.distributions import Distribution, Normal
from vaejax.distributions.spike_and_slab import SpikeAndSlab

__all__ = ["MIN_SCALE", "gaussian", "sample_or_mean", "soft_normal", "spike_and_slab"]

_LAST_STEP = 2**31 - 1  # every schedule has reached its final value
_LN2 = 0.6931471805599453
MIN_SCALE = 1e-3


def soft_normal(features: jax.Array, min_scale: float = MIN_SCALE) -> Normal:
    """A Gaussian of D dimensions from features `[..., 2 D]`: means, then unbounded deviations.

    A softplus with β = ln 2 maps the latter to standard deviations, 0 to 1 (Efficient-VDVAE,
    2203.13751, section 3.2); it grows linearly, which keeps the gradients of large deviations
    bounded where exp does not. Deviations are at least `min_scale`.
    """
    loc, raw = jnp.split(features, 2, axis=-1)
    return Normal(loc, min_scale + (1 - min_scale) * jax.nn.softplus(_LN2 * raw) / _LN2)


def sample_or_mean(q: Distribution, key: jax.Array | None) -> jax.Array:
    """A sample from q, or its mean if the key is None."""
    return q.mean if key is None else q.sample(key)


def gaussian(latent_dim: int) -> Bottleneck:
    """A diagonal Gaussian posterior with the prior N(0, I) (VAE, 1312.6114).

    Features `[B, ..., 2 · latent_dim]`: its mean and its log-variance.
    """

    def apply(params: Params, features: jax.Array, key: jax.Array | None) -> Latent:
        del params
        posterior = Normal.from_features(features)
        prior = Normal(jnp.zeros_like(posterior.loc), jnp.ones_like(posterior.loc))
        return Latent(posterior, prior, sample_or_mean(posterior, key))

    def sample_prior(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del params
        return temperature * jax.random.normal(key, (*shape[:-1], latent_dim))

    return Bottleneck(2 * latent_dim, lambda key, features: {}, apply, sample_prior)


def spike_and_slab(
    latent_dim: int,
    *,
    alpha: float = 0.01,
    sharpness: Weight = 200.0,
    slab: Weight = 1.0,
    relaxed: bool = True,
) -> Bottleneck:
    """The posterior γ N(μ, σ²) + (1 − γ) δ₀ with the prior α N(0, 1) + (1 − α) δ₀, elementwise.

    Variational sparse coding (Tonolini et al., UAI 2019). Features `[B, ..., 3 · latent_dim]`.

    Args:
      latent_dim: elements of z.
      alpha: the prior probability α that an element is not zero.
      sharpness: c of the relaxed sample (see `SpikeAndSlab.sample`), a number or a schedule; the
        paper raises it from 50 to 200.
      slab: factor of the slabs' mean and log-variance, a number or a schedule: at 0 all slabs are
        N(0, 1), and only γ depends on x. Raised from 0 to 1 it is the paper's spike warm-up.
      relaxed: whether training uses the relaxed sample, as in the paper, in which a small part of
        the elements is neither zero nor from the slab; or the exact sample with the gradient of
        the relaxed one. Outside of training samples are exact, so that log q(z) is their density.
    """

    def variant(step: jax.Array, relaxed: bool = relaxed) -> Bottleneck:
        def current(value: Weight) -> jax.Array:
            return jnp.asarray(value(step) if callable(value) else value, jnp.float32)

        def apply(params: Params, features: jax.Array, key: jax.Array | None) -> Latent:
            del params
            q = SpikeAndSlab.from_features(
                features, sharpness=current(sharpness), slab=current(slab), relaxed=relaxed
            )
            log_alpha = jnp.full_like(q.loc, jnp.log(alpha))
            ones = jnp.ones_like(q.loc)
            prior = SpikeAndSlab(jnp.zeros_like(ones), ones, log_alpha, q.sharpness, relaxed)
            return Latent(q, prior, sample_or_mean(q, key))

        return Bottleneck(3 * latent_dim, lambda key, features: {}, apply, sample_prior, variant)

    def sample_prior(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del params
        slab_key, mask_key = jax.random.split(key)
        shape = (*shape[:-1], latent_dim)
        mask = jax.random.bernoulli(mask_key, alpha, shape)
        return jnp.where(mask, temperature * jax.random.normal(slab_key, shape), 0.0)

    return variant(jnp.int32(_LAST_STEP), relaxed=False)
