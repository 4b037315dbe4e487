"""Networks behind one seam, `Network(init, apply)`: the only room that knows Flax."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vaejax.core.registry import make
from vaejax.networks import conv, mlp, residual, residual_1d
from vaejax.networks.autoregressive import AUTOREGRESSIVE, build_autoregressive
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.conv_ladder import conv_ladder
from vaejax.networks.dense_ladder import dense_ladder
from vaejax.networks.gated_mlp import gated_mlp, step_features
from vaejax.networks.image_critic import build_critic, image_critic
from vaejax.networks.ladder_types import LadderNetworks, StageNetworks
from vaejax.networks.latent_critic import latent_critic
from vaejax.networks.network import Network, blind, from_linen, from_nnx, reshaped, with_constants
from vaejax.networks.recurrent import RECURRENT, Recurrent, build_recurrent
from vaejax.networks.sparse_decoder import sparse_decoder
from vaejax.networks.vqvae2 import Rung, ladder_of_maps

Pair = tuple[Network, Network]

ARCHITECTURES: dict[str, Callable[..., Pair]] = {
    "mlp": mlp.mlp,
    "conv": conv.conv,
    "residual": residual.residual,
    "residual_1d": residual_1d.residual_1d,
}


def build(
    setting: str | Mapping[str, Any] | Pair, shape: Sequence[int], width: int, out: int
) -> Pair:
    """An encoder and a decoder.

    Args:
      setting: an architecture's name, `{"kind": name, **arguments}`, or a pair of networks given
        as it is.
      shape: of one event, channels last.
      width: features that the encoder shall give.
      out: channels that the decoder shall give.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or it does not take such events.
    """
    if isinstance(setting, tuple):
        return setting
    kind = setting if isinstance(setting, str) else setting.get("kind")
    if kind in ("conv", "residual") and len(shape) != 3:
        raise ValueError(
            f"the architecture {kind!r} takes images of shape (H, W, C), found events of shape "
            f"{tuple(shape)}; 'mlp' takes any shape, 'residual_1d' signals and tokens"
        )
    if kind == "residual_1d" and len(shape) not in (1, 2):
        raise ValueError(
            "the architecture 'residual_1d' takes signals of shape (T, C) and tokens of shape "
            f"(T,), found events of shape {tuple(shape)}; 'mlp' takes any shape"
        )
    return make(ARCHITECTURES, setting, "architecture", shape, width, out)


__all__ = [
    "ARCHITECTURES",
    "AUTOREGRESSIVE",
    "RECURRENT",
    "Autoregressive",
    "LadderNetworks",
    "Network",
    "Pair",
    "Recurrent",
    "Rung",
    "StageNetworks",
    "blind",
    "build",
    "build_autoregressive",
    "build_critic",
    "build_recurrent",
    "conv_ladder",
    "dense_ladder",
    "from_linen",
    "from_nnx",
    "gated_mlp",
    "image_critic",
    "ladder_of_maps",
    "latent_critic",
    "reshaped",
    "sparse_decoder",
    "step_features",
    "with_constants",
]
