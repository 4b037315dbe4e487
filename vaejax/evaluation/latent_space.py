"""Interpolations in the space of one continuous latent vector, and its principal plane."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params, Trace
from vaejax.core.registry import near_names
from vaejax.distributions import capabilities_of

__all__ = [
    "INTERPOLATIONS",
    "decode_interpolations",
    "interpolate",
    "posterior_means",
    "principal_plane",
    "vector_node",
]

INTERPOLATIONS = ("linear", "spherical")
_PARALLEL = 1e-4  # sin of the angle below which an arc is treated as a line


def vector_node(latents: tuple[Latent, ...]) -> Latent | None:
    """The only node of a model if its z is one continuous vector `[B, D]`; None otherwise."""
    if len(latents) != 1 or latents[0].z.ndim != 2:
        return None
    return latents[0] if capabilities_of(latents[0].posterior).continuous else None


def posterior_means(trace: Trace) -> jax.Array:
    """The posterior mean of each example of a trace with one node, `[B, D]`."""
    mean = trace.latents[0].posterior.mean
    return mean[:: len(mean) // len(trace.x)]


def interpolate(z0: jax.Array, z1: jax.Array, steps: int, kind: str = "linear") -> jax.Array:
    """`steps` points from z0 to z1, both included: `[..., D]` twice -> `[..., steps, D]`.

    `'linear'` is (1 − t) z0 + t z1. `'spherical'` (Shoemake 1985, "slerp"; for latents White,
    1609.04468) follows the arc, (sin((1 − t) ω) z0 + sin(t ω) z1) / sin ω with ω the angle between
    the two: at equal norms it keeps the norm, while a line passes through smaller norms, where a
    high-dimensional Gaussian prior has hardly any mass. Ends that are parallel, opposite or zero
    have no arc, and are joined by the line.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in INTERPOLATIONS:
        raise ValueError(f"unknown kind of interpolation {near_names(kind, INTERPOLATIONS)}")
    t = jnp.linspace(0.0, 1.0, steps)
    weights = jnp.stack([1.0 - t, t], axis=-1)  # [S, 2]
    ends = jnp.stack([z0, z1], axis=-2)  # [..., 2, D]
    line = jnp.matmul(weights, ends, precision=jax.lax.Precision.HIGHEST)
    if kind == "linear":
        return line
    norms = jnp.linalg.norm(z0, axis=-1) * jnp.linalg.norm(z1, axis=-1)
    cosine = jnp.sum(z0 * z1, axis=-1) / jnp.where(norms > 0, norms, 1.0)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))[..., None, None]
    has_arc = (norms > 0)[..., None, None] & (jnp.sin(angle) > _PARALLEL)
    angle = jnp.where(has_arc, angle, 1.0)
    weights = weights.reshape(*(1,) * (z0.ndim - 1), steps, 2)
    arc_weights = jnp.sin(weights * angle) / jnp.sin(angle)
    # Exactly 0 and 1 at the ends.
    arc_weights = jnp.where((weights == 0.0) | (weights == 1.0), weights, arc_weights)
    arc = jnp.matmul(arc_weights, ends, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(has_arc, arc, line)


def decode_interpolations(
    family: Family,
    params: Params,
    means: jax.Array,
    pairs: np.ndarray,
    steps: int = 8,
    conditions: Batch | None = None,
    project: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Decoder means on interpolations of posterior means: `[N, len(INTERPOLATIONS), steps, ...]`.

    Args:
      family: whose decoder.
      params: of the model.
      means: posterior means of B examples, `[B, D]`.
      pairs: of examples, `[N, 2]`.
      steps: points of each interpolation, its ends among them.
      conditions: a batch of the B examples; the condition is that of the first of a pair. None for
        an unconditional model.
      project: points of ℝᴰ to the support of the posterior, where that is smaller.
    """
    compiled = jax.jit(
        functools.partial(_decode_interpolations, family, steps=steps, project=project)
    )
    return compiled(params, means, np.asarray(pairs), conditions)


def _decode_interpolations(
    family: Family,
    params: Params,
    means: jax.Array,
    pairs: jax.Array,
    conditions: Batch | None,
    steps: int,
    project: Callable[[jax.Array], jax.Array] | None,
) -> jax.Array:
    z0, z1 = means[pairs[:, 0]], means[pairs[:, 1]]
    z = jnp.stack([interpolate(z0, z1, steps, kind) for kind in INTERPOLATIONS], axis=1)
    z = z if project is None else project(z)
    flat, points = z.reshape(-1, z.shape[-1]), len(INTERPOLATIONS) * steps
    repeated = conditions and {
        k: jnp.repeat(v[pairs[:, 0]], points, axis=0) for k, v in conditions.items()
    }
    mean = family.model.decode(params, (flat,), repeated).mean
    return mean.reshape(*z.shape[:-1], *mean.shape[1:])


def principal_plane(means: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Projects `[N, D]` onto two dimensions: `[N, 2]`, and the fraction of variance they explain.

    Two dimensions are returned unchanged, with None for the fraction. More are projected onto the
    first two principal components, each with the sign that makes its largest loading positive.
    """
    if means.shape[1] == 2:
        return means, None
    centred = np.asarray(means, np.float64) - means.mean(axis=0, dtype=np.float64)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    squares = np.square(singular)
    return centred @ axes.T, float(squares[:2].sum() / max(squares.sum(), 1e-300))
