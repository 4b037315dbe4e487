"""Ranges of the options of families, networks, quantizers, optimizers, losses and schedules.

Names and types of these options are declared by the signatures of the functions that take them;
this table adds the ranges, by name, or by `FUNCTION.NAME` where a name has several meanings.
An option that is not in it, as those of plug-ins may be, can be any finite number.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from vaejax.core.fields import ANY, Range

__all__ = ["NUMBERS", "RANGES", "WHOLE_AS_FLOAT", "range_of_option"]

_MEMORY = "more would not fit into memory"
_SIZE = Range(1, 65_536, reason=_MEMORY)  # units, channels, dimensions
_SIZE_OR_OFF = Range(0, 65_536, reason=_MEMORY)
_DEPTH = Range(1, 1024, reason="each is compiled")
_COUNT = Range(0, 1024, reason="each is compiled")
_STEPS = Range(0, 1e12)
_FRACTION = Range(0, 1)
_DECAY = Range(0, 1, below=True)  # of a moving average
_DTYPES = Range(choices=("float32", "bfloat16", "float16"))
_AT_LEAST_0 = Range(0)
_POSITIVE = Range(0, above=True)

RANGES: Mapping[str, Range] = MappingProxyType(
    {
        # Sizes.
        "attention_levels": Range(0, 64),
        "bits": Range(1, 30),
        "block_hidden": _SIZE,
        "block_kernel": Range(1, 1024),
        "blocks": _COUNT,
        "bottleneck_channels": _SIZE,
        "channels": _SIZE,
        "classes": Range(0, 2**24, reason=_MEMORY),
        "codes": Range(1, 2**24, reason=_MEMORY),
        "components": Range(1, 65_536, reason=_MEMORY),
        "compress": _SIZE,
        "condition_shape": _SIZE,
        "count": Range(1, 65_536, reason=_MEMORY),
        "decoder_blocks": _COUNT,
        "decoder_channels": _SIZE,
        "decoder_filters": _SIZE_OR_OFF,
        "dilation_growth": Range(1, 64),
        "dim": _SIZE,
        "downsamplings": Range(0, 16),
        "embedding": _SIZE,
        "encoder_blocks": _COUNT,
        "expansion": Range(1, 1024, reason=_MEMORY),
        "feature_layer": Range(-64, 64),
        "filters": _SIZE,
        "features": _SIZE,
        "groups": _SIZE_OR_OFF,
        "grouped.groups": _SIZE,
        "heads": Range(1, 1024),
        "hidden": _SIZE,
        "kernel": Range(1, 1024),
        "kernels": Range(1, 1024),
        "kmeans_iterations": Range(0, 10_000),
        "latent_channels": _SIZE_OR_OFF,
        "latent_diffusion.groups": _SIZE,
        "latent_dim": _SIZE,
        "latent_dims": _SIZE,
        "layers": _DEPTH,
        "levels": Range(2, 65_536),
        "last_kernels": Range(1, 1024),
        "lstm": Range(0, 64, reason="each is compiled"),
        "ratios": Range(1, 1024),
        "finite_scalar.levels": Range(3, 65_536),
        "residual.levels": _DEPTH,
        "num_downsamples": Range(0, 16),
        "num_logits": _SIZE,
        "num_pairs": Range(1, 65_536, reason=_MEMORY),
        "parameters": _SIZE,
        "pseudo_inputs": Range(1, 65_536, reason=_MEMORY),
        "samples": Range(1, 10_000, reason=_MEMORY),
        "size": _SIZE,
        "tokens": Range(0, 2**24, reason=_MEMORY),
        "up_blocks": _COUNT,
        "width": _SIZE,
        "vqvae.width": _SIZE_OR_OFF,
        "window": Range(1, 65_536),
        "length": Range(1, 4096, reason=_MEMORY),
        # Densities, priors and losses.
        "a": _POSITIVE,
        "b": _POSITIVE,
        "alpha": Range(0, 1, above=True),
        "bandwidth": _POSITIVE,
        "bands": Range(1, 1024),
        "periods": Range(1, 1024),
        "rate": _POSITIVE,
        "sizes": Range(2, 65_536),
        "balanced.weights": _AT_LEAST_0,
        "waveform_discriminator.scales": Range(1, 1024),
        "total": _POSITIVE,
        "df": _AT_LEAST_0,
        "dropout": _FRACTION,
        "examples": _AT_LEAST_0,
        "feature_scale": _AT_LEAST_0,
        "kernel_variance": _POSITIVE,
        "max_pairs": Range(1),
        "min_scale": Range(0, 1, above=True),
        "nats": _AT_LEAST_0,
        "node": Range(0, 1024),
        "real_weight": _AT_LEAST_0,
        "reference": _POSITIVE,
        "scale": _POSITIVE,
        "normal.scale": Range(0, above=True, texts=("learned", "predicted")),
        "laplace.scale": Range(0, above=True, texts=("learned", "predicted")),
        "mixed.scale": Range(0, above=True, texts=("learned", "predicted")),
        "residual_variance.scale": _AT_LEAST_0,
        "scales": _POSITIVE,
        "sharpness": _POSITIVE,
        "shrink": _POSITIVE,
        "slab": _AT_LEAST_0,
        "SpikeAndSlabLasso.slab": _POSITIVE,
        "spike": _POSITIVE,
        "temperature": _POSITIVE,
        # Optimizers.
        "above": _POSITIVE,
        "at_most": Range(1),
        "b1": _DECAY,
        "b2": _DECAY,
        "clip_norm": _AT_LEAST_0,
        "decay": _DECAY,
        "eps": _AT_LEAST_0,
        "eps_root": _AT_LEAST_0,
        "epsilon": _AT_LEAST_0,
        "initial_scale": _AT_LEAST_0,
        "learning_rate": Range(0, 1e4),
        "margin": _AT_LEAST_0,
        "freeze_when_ahead.when": Range(choices=("low", "high")),
        "momentum": _DECAY,
        "revive_below": _FRACTION,
        "weight_decay": _AT_LEAST_0,
        "reduce_on_plateau.patience": Range(1),
        "cooldown": _AT_LEAST_0,
        "rtol": _FRACTION,
        "atol": _AT_LEAST_0,
        "reduce_on_plateau.min_scale": _FRACTION,
        "every": _STEPS,
        "accumulator_dtype": _DTYPES,
        "mu_dtype": _DTYPES,
        # Schedules.
        "begin": _STEPS,
        "boundaries": _STEPS,
        "period": Range(1, 1e12),
        "ramp": Range(0, 1, above=True),
        "cosine.steps": _STEPS,
        "linear.steps": _STEPS,
        "warmup_cosine.steps": _STEPS,
        "warmup": _STEPS,
    }
)
# Options of optax that are one number, whatever its annotation says; a learning rate can also be
# a schedule.
NUMBERS = frozenset(
    (
        *("b1", "b2", "decay", "eps", "eps_root", "initial_scale", "learning_rate", "momentum"),
        *("weight_decay",),
    )
)
# Whole numbers that may be written as floats (1e4): numbers of steps.
WHOLE_AS_FLOAT = frozenset(("begin", "boundaries", "period", "steps", "warmup"))


def range_of_option(function: Callable[..., object], name: str) -> Range:
    """The range of an option of a function."""
    specific = f"{getattr(function, '__name__', '')}.{name}"
    return RANGES.get(specific) or RANGES.get(name) or ANY
