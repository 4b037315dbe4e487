"""The choices of options that are texts, checked before data are loaded or a model is built.

The choices themselves are the tables of the modules that implement them.
"""

from collections.abc import Callable, Collection, Mapping

from vaejax.core.arguments import near_names
from vaejax.core.types import Options
from vaejax.losses.adversarial import OBJECTIVES
from vaejax.losses.aggregate_posterior import DIP_KINDS, SAMPLINGS
from vaejax.losses.constraints import GROUPS
from vaejax.losses.mmd import BANDWIDTHS, KERNELS, MMD_ESTIMATORS
from vaejax.models.ladder import MERGES
from vaejax.networks.codec import CODEC_ACTIVATIONS, NORMS, PADDINGS
from vaejax.networks.conv_ladder import PRECISIONS
from vaejax.networks.layers import ACTIVATIONS, DTYPES
from vaejax.networks.mlp import INITIAL_WEIGHTS
from vaejax.networks.ops.conv2d import IMPLEMENTATIONS
from vaejax.quantizers.codebook import DISTANCES, STARTS
from vaejax.quantizers.quantizer import ESTIMATORS

__all__ = ["CHOICES", "check_texts"]

# OPTION, or FUNCTION.OPTION -> its choices.
CHOICES: Mapping[str, Collection[str]] = {
    "activation": ACTIVATIONS,
    "bandwidth": BANDWIDTHS,
    "beta_tcvae.sampling": SAMPLINGS,
    "codec.activation": CODEC_ACTIVATIONS,
    "codec.norm": NORMS,
    "codec.padding": PADDINGS,
    "cvae.conditioned": ("encoder", "decoder"),
    "dip_vae.kind": DIP_KINDS,
    "distance": DISTANCES,
    "dtype": DTYPES,
    "estimator": MMD_ESTIMATORS,
    "free_bits.per": GROUPS,
    "gradient": ESTIMATORS,
    "implementation": IMPLEMENTATIONS,
    "initial_weights": INITIAL_WEIGHTS,
    "mmd.kernel": KERNELS,
    "merge": MERGES,
    "objective": OBJECTIVES,
    "precision": PRECISIONS,
    "start": STARTS,
}


def check_texts(function: Callable[..., object], prefix: str, options: Options) -> None:
    """Checks the options of a function that are texts.

    Args:
      function: of the library, whose options they are.
      prefix: comes before the name of an option in an error.
      options: settings from a config.

    Raises:
      ValueError: a text is none of the choices of its option.
    """
    owner = getattr(function, "__name__", "")
    for name, value in options.items():
        choices = CHOICES.get(f"{owner}.{name}") or CHOICES.get(name)
        texts = [value] if isinstance(value, str) else value if _is_sequence(value) else []
        for text in texts:
            if choices and isinstance(text, str) and text not in choices:
                raise ValueError(f"unknown {prefix}{name} {near_names(text, choices)}")


def _is_sequence(value: object) -> bool:
    return isinstance(value, list | tuple)
