"""Pictures of the space of one continuous latent vector: ways through it, and a map of it."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params, Trace
from vaejax.core.registry import near_names
from vaejax.data import Source
from vaejax.distributions import Normal
from vaejax.distributions.spike_and_slab import SpikeAndSlab
from vaejax.visualization.plots import latent_space
from vaejax.visualization.plots.latent_space import Panel

KINDS = ("linear", "spherical")
_PANELS = 4  # factors that a map shows at most
_PARALLEL = 1e-4  # sin of the angle below which an arc is a line


def one_vector(latents: tuple[Latent, ...]) -> Latent | None:
    """The only node, if it is one vector `[B, D]` of Gaussians or of spikes and slabs."""
    if len(latents) != 1 or latents[0].z.ndim != 2:
        return None
    return latents[0] if isinstance(latents[0].posterior, Normal | SpikeAndSlab) else None


def interpolate(z0: jax.Array, z1: jax.Array, steps: int, kind: str = "linear") -> jax.Array:
    """`steps` points from z0 to z1, both included: `[..., D]` twice -> `[..., steps, D]`.

    `'linear'` is (1 − t) z0 + t z1. `'spherical'` (Shoemake 1985, "slerp"; for latents White,
    1609.04468) goes along the arc, (sin((1 − t) ω) z0 + sin(t ω) z1) / sin ω with ω the angle
    between the two: at equal norms it keeps the norm, where a line dips to where a Gaussian prior
    of many dimensions has hardly any mass. Ends that are parallel, opposite or zero have no arc,
    and are joined by the line.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of interpolation {near_names(kind, KINDS)}")
    t = jnp.linspace(0.0, 1.0, steps)
    weights = jnp.stack([1.0 - t, t], axis=-1)  # [S, 2]
    ends = jnp.stack([z0, z1], axis=-2)  # [..., 2, D]
    line = jnp.matmul(weights, ends, precision=jax.lax.Precision.HIGHEST)
    if kind == "linear":
        return line
    norms = jnp.linalg.norm(z0, axis=-1) * jnp.linalg.norm(z1, axis=-1)
    cosine = jnp.sum(z0 * z1, axis=-1) / jnp.where(norms > 0, norms, 1.0)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))[..., None, None]
    bent = (norms > 0)[..., None, None] & (jnp.sin(angle) > _PARALLEL)
    angle = jnp.where(bent, angle, 1.0)
    weights = weights.reshape(*(1,) * (z0.ndim - 1), steps, 2)
    shares = jnp.sin(weights * angle) / jnp.sin(angle)
    shares = jnp.where((weights == 0.0) | (weights == 1.0), weights, shares)  # to the last digit
    return jnp.where(bent, jnp.matmul(shares, ends, precision=jax.lax.Precision.HIGHEST), line)


def between(
    family: Family,
    params: Params,
    means: jax.Array,
    pairs: np.ndarray,
    steps: int = 8,
    given: Batch | None = None,
) -> jax.Array:
    """Decoder means on the ways between posterior means: `[N, len(KINDS), steps, ...]`.

    Args:
      family: whose decoder.
      params: of the model.
      means: of many examples, `[B, D]`.
      pairs: of examples, `[N, 2]`.
      steps: points on each way, its ends among them.
      given: a batch of as many examples; the first of a pair gives the condition. None for none.
    """
    z0, z1 = means[pairs[:, 0]], means[pairs[:, 1]]
    z = jnp.stack([interpolate(z0, z1, steps, kind) for kind in KINDS], axis=1)
    flat, each = z.reshape(-1, z.shape[-1]), len(KINDS) * steps
    first = given and {k: jnp.repeat(v[pairs[:, 0]], each, axis=0) for k, v in given.items()}
    p = jax.jit(lambda z, first: family.model.decode(params, (z,), first).mean)(flat, first)
    return p.reshape(*z.shape[:-1], *p.shape[1:])


def plane(means: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Points of D dimensions in two: `[N, D] -> [N, 2]`, and the share of the variance they keep.

    Two dimensions stay as they are, with None for the share. Of more the first two principal
    components are taken, each so turned that its largest loading is positive.
    """
    if means.shape[1] == 2:
        return means, None
    centred = np.asarray(means, np.float64) - means.mean(axis=0, dtype=np.float64)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    squares = np.square(singular)
    return centred @ axes.T, float(squares[:2].sum() / max(squares.sum(), 1e-300))


def panels_of(source: Source, batch: Batch) -> list[Panel]:
    """By what a map of a batch is coloured: up to four factors that vary, or the label."""
    label = np.asarray(batch["label"]) if "label" in batch else None
    classes = source.class_names or ()
    if "factors" in batch:
        factors = np.asarray(batch["factors"])

        def named(i: int) -> Sequence[str]:  # the label may be one of the factors
            same = label is not None and np.array_equal(factors[:, i], label)
            return classes if same else ()

        names = source.factor_names or [f"factor {i}" for i in range(factors.shape[1])]
        varied = [i for i in range(factors.shape[1]) if len(np.unique(factors[:, i])) > 1]
        if varied:
            return [Panel(names[i], factors[:, i], named(i)) for i in varied[:_PANELS]]
    return [] if label is None else [Panel("label", label, classes)]


def draw_map(path: Path, means: np.ndarray, panels: list[Panel]) -> None:
    """The map of posterior means `[N, D]`, D ≥ 2, if there is something to colour it by."""
    if not panels or means.shape[1] < 2 or len(means) < 2:
        return
    points, share = plane(means)
    title, axes = "Posterior means", ("z0", "z1")
    if share is not None:
        title += f": two principal components of {means.shape[1]}, {share:.0%} of the variance"
        axes = ("first component", "second component")
    latent_space.latent_map(path, points, panels, title=title, axes=axes)


def draw_interpolations(
    family: Family,
    params: Params,
    trace: Trace,
    path: Path,
    *,
    pairs: int = 4,
    given: Batch | None = None,
) -> None:
    """Ways between the posterior means of examples far apart in the trace, which has images.

    Args:
      family: whose decoder.
      params: of the model.
      trace: of examples `x`, one or more draws each, side by side.
      path: of the PNG.
      pairs: how many.
      given: the batch that gives the conditions, as for `between`; None for none.
    """
    means = examples_means(trace)
    count = min(pairs, len(means) // 2)
    chosen = np.linspace(0, len(means) - 1, 2 * count).astype(int).reshape(2, count).T
    ways = between(family, params, means, chosen, given=given)
    x = np.asarray(trace.x)
    title = "From one held-out example to another, between posterior means"
    if given is not None:
        title += ", under the first's condition"
    latent_space.interpolations(path, x[chosen], np.asarray(ways), KINDS, title)


def examples_means(trace: Trace) -> jax.Array:
    """The posterior mean of each example of a trace with one node, `[B, D]`."""
    mean = trace.latents[0].posterior.mean
    return mean[:: len(mean) // len(trace.x)]
