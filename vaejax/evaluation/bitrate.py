"""The metrics `bitrate` and `si_sdr`: bits of codes, and the quality of sound at each of them."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.core.registry import register
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.distributions import Quantized, is_quantized
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import latent_shapes
from vaejax.evaluation.signal_quality import si_sdr

__all__ = ["SISDR", "Bitrate", "bits_of_codes", "first_levels", "levels_of"]


def levels_of(node: Latent) -> int:
    """The number of levels of a residual quantizer; 1 for any other."""
    trailing: tuple[int, ...] = _codes(node).indices.shape[node.z.ndim - 1 :]
    return trailing[0] if trailing else 1


def _codes(node: Latent) -> Quantized:
    return cast(Quantized, node.posterior)


def first_levels(indices: jax.Array, places: int, levels: int) -> jax.Array:
    """Indices of a residual quantizer of which only the first levels are kept; the others are −1.

    Args:
      indices: `[B, *places, levels, ...]`.
      places: number of axes `*places`.
      levels: to keep.
    """
    kept = jnp.arange(indices.shape[places + 1]) < levels
    kept = kept.reshape((1,) * (places + 1) + (-1,) + (1,) * (indices.ndim - places - 2))
    return jnp.where(kept, indices, -1)


def bits_of_codes(latents: Sequence[Latent]) -> float:
    """Bits of the codes of one example, log2 K for each index: those of uniform codes."""
    posteriors = [_codes(node) for node in latents]
    return sum((math.prod(q.indices.shape[1:]) * math.log2(q.size) for q in posteriors), 0.0)


def _needs_codes(family: Family, source: Source) -> str | None:
    if family.model.features or family.model.sequences:
        return "it needs a model that reconstructs events"
    latents = latent_shapes(family, source)
    if not latents or not all(is_quantized(node.posterior) for node in latents):
        return "it needs a model whose latents are codes of a quantizer"
    return None


@register("metric", "bitrate")
class Bitrate:
    """`bits_per_example`: log2 K for every index; of sound also `bits_per_second`.

    These are the bits of codes that are stored as they are; the `kl` under a learned prior is what
    an entropy coder would need.
    """

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: a model without codes."""
        return _needs_codes(family, source)

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The bits of one example, and of one second."""
        bits = bits_of_codes(latent_shapes(context.family, context.source))
        named = {"bits_per_example": bits}
        if (rate := context.source.sample_rate) is not None:
            named["bits_per_second"] = bits * rate / event_shape(context.source)[0]
        return named


@register("metric", "si_sdr")
class SISDR:
    """`si_sdr`: the mean scale-invariant signal-to-distortion ratio of reconstructions, dB.

    Of a residual quantizer of Q levels also `si_sdr/q` from the first q levels alone, q = 1, 2, 4,
    ... and, where the sample rate is known, `bits_per_second/q`.
    """

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: events that are not signals."""
        shape = event_shape(source)
        if family.model.features or family.model.sequences or len(shape) != 2:
            return f"it needs a model of signals; events of {source.name!r} are {shape}"
        return None

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The means over the split."""
        model, source = context.family.model, context.source
        (node, *rest) = latent_shapes(context.family, source)
        levels = 1
        if not rest and is_quantized(node.posterior) and model.embed is not None:
            levels = levels_of(node)
        counts = [] if levels == 1 else [*(2**i for i in range(levels.bit_length())
                                           if 2**i < levels), levels]  # fmt: skip

        def of_batch(params: Params, batch: Batch, key: jax.Array) -> PyTree:
            del key
            x, latents = event(batch), model.encode(params, batch, None)
            zs = {"si_sdr": tuple(node.z for node in latents)}
            for q in counts:
                assert model.embed is not None
                kept = first_levels(_codes(latents[0]).indices, latents[0].z.ndim - 2, q)
                zs[f"si_sdr/{q}"] = model.embed(params, (kept,))
            return {k: si_sdr(x, model.decode(params, z, batch).mean) for k, z in zs.items()}

        rows = context.rows_of_split(of_batch)
        named = {name: float(np.mean(value, dtype=np.float64)) for name, value in rows.items()}
        if counts and source.sample_rate is not None:
            bits = bits_of_codes([node]) * source.sample_rate / event_shape(source)[0]
            named |= {f"bits_per_second/{q}": bits * q / levels for q in counts}
        return named
