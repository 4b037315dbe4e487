"""What each layer of a ladder holds: its KL, what is drawn anew below it, what it alone gives."""

import inspect
import itertools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family, Latent, Params, Trace
from vaejax.distributions import Normal, kl
from vaejax.distributions.point_estimate import best_guess
from vaejax.losses import sum_event
from vaejax.visualization.plots import ladder_layers

_CUTS = 6  # rows of a picture


def is_ladder(family: Family, latents: Sequence[Latent]) -> bool:
    """Whether the model can decode its top latents alone, and they are Gaussian."""
    arguments = inspect.signature(family.model.decode).parameters
    gaussian = all(isinstance(node.posterior, Normal) for node in latents)
    return len(latents) > 1 and gaussian and {"key", "temperature"} <= arguments.keys()


def cuts(shapes: Sequence[tuple[int, ...]], most: int = _CUTS) -> list[int]:
    """How many layers from the top to keep in each row of a picture, all of them last.

    The ends of the resolutions come first; where there is room left, the middles of the longest
    gaps between them.

    Args:
      shapes: of z in each layer, top-down.
      most: rows.
    """
    total = len(shapes)
    ends = [i for i in range(1, total) if shapes[i] != shapes[i - 1]]
    picked = np.linspace(0, len(ends) - 1, min(len(ends), most - 1)).round().astype(int)
    chosen = {total, *(ends[i] for i in picked)}
    while len(chosen) < min(most, total):
        edges = sorted({0} | chosen)
        gap, low = max((b - a, -a) for a, b in itertools.pairwise(edges))
        chosen.add(gap // 2 - low)
    return sorted(chosen)


def layer_kl(latents: Sequence[Latent]) -> jax.Array:
    """KL of each layer in nats, averaged over the examples `[L]`, top-down."""
    return jnp.stack([sum_event(kl(n.posterior, n.prior, n.z)).mean() for n in latents])


def from_the_top(
    family: Family, params: Params, zs: tuple[jax.Array, ...], kept: Sequence[int]
) -> jax.Array:
    """Reconstructions `[K, B, ...]` from the top layers alone, the means of the priors below.

    Args:
      family: whose decoder.
      params: of the model.
      zs: of every layer.
      kept: K numbers of layers.
    """
    decode = jax.jit(lambda p, zs: best_guess(family.model.decode(p, zs)))
    return jnp.stack([decode(params, zs[:k]) for k in kept])


def drawn_anew(
    family: Family,
    params: Params,
    zs: tuple[jax.Array, ...],
    kept: Sequence[int],
    draws: int,
    key: jax.Array,
) -> jax.Array:
    """What the layers below k leave open `[K, S, B, ...]`: they are drawn, those above are fixed.

    Args:
      family: whose decoder.
      params: of the model.
      zs: of every layer.
      kept: K numbers of layers.
      draws: S, of those below.
      key: of the draws.
    """

    @jax.jit
    def several(params: Params, zs: tuple[jax.Array, ...], keys: jax.Array) -> jax.Array:
        return jax.lax.map(
            lambda k: best_guess(family.model.decode(params, zs, None, k, 1.0)), keys
        )

    keys = jax.random.split(key, draws)
    return jnp.stack([several(params, zs[:k], keys) for k in kept])


def draw_layers(
    family: Family, params: Params, trace: Trace, folder: Path, *, seed: int, images: bool
) -> None:
    """Writes `kl_per_layer.png`, and of images `layers.png` and `resampled.png`.

    Args:
      family: whose model, a ladder.
      params: of the model.
      trace: of some held-out examples.
      folder: for the files.
      seed: of the draws.
      images: whether events are images.
    """
    shapes = [node.z.shape[1:] for node in trace.latents]
    ladder_layers.kl_per_layer(
        folder / "kl_per_layer.png", np.asarray(layer_kl(trace.latents)), shapes
    )
    if not images:
        return
    kept, pick = cuts(shapes), np.linspace(0, len(trace.x) - 1, min(12, len(trace.x))).astype(int)
    zs = tuple(node.posterior.mean[pick] for node in trace.latents)
    x = np.asarray(trace.x)[pick]
    top = np.asarray(from_the_top(family, params, zs, kept))
    ladder_layers.from_the_top(folder / "layers.png", x, top, kept, len(shapes))
    some = tuple(z[:3] for z in zs)
    # Of all layers nothing is left to draw; of none, the sample has nothing to do with the data.
    below = [k for k in kept if k < len(shapes)]
    anew = drawn_anew(family, params, some, below, 9, jax.random.key(seed))
    ladder_layers.resampled(folder / "resampled.png", x[:3], np.asarray(anew), below, len(shapes))
