"""Neural networks as pure functions, `Network(init, apply)`; the only modules that import Flax.

`build` makes an encoder and a decoder from a setting of a config. There are also autoregressive and
recurrent networks, discriminators, and the networks of hierarchical models.
"""

from collections.abc import Callable, Mapping, Sequence

from vaejax.core.registry import make, table
from vaejax.core.types import Options
from vaejax.networks import codec, conv, latent_diffusion, mlp, residual, residual_1d
from vaejax.networks.autoregressive import AUTOREGRESSIVE, build_autoregressive
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.conv_ladder import conv_ladder
from vaejax.networks.dense_ladder import dense_ladder
from vaejax.networks.discriminators import DISCRIMINATORS, build_discriminator
from vaejax.networks.feature_maps import lpips_features, random_features
from vaejax.networks.gated_mlp import delta_features, gated_mlp
from vaejax.networks.image_discriminator import image_discriminator
from vaejax.networks.ladder_types import LadderNetworks, StageNetworks
from vaejax.networks.latent_discriminator import latent_discriminator
from vaejax.networks.network import (
    Network,
    apply_masked,
    bind_constants,
    from_linen,
    from_nnx,
    reshaped,
    unconditional,
)
from vaejax.networks.patch_discriminator import patch_discriminator
from vaejax.networks.recurrent import RECURRENT, Recurrent, build_recurrent
from vaejax.networks.sound_discriminators import stft_discriminator, waveform_discriminator
from vaejax.networks.sparse_decoder import sparse_decoder
from vaejax.networks.tiny_autoencoder import tiny_autoencoder
from vaejax.networks.vqvae2 import LadderLevel, multiscale_networks

Pair = tuple[Network, Network]

ARCHITECTURES: Mapping[str, Callable[..., Pair]] = table(
    "network",
    {
        "mlp": mlp.mlp,
        "codec": codec.codec,
        "conv": conv.conv,
        "latent_diffusion": latent_diffusion.latent_diffusion,
        "residual": residual.residual,
        "residual_1d": residual_1d.residual_1d,
        "tiny_autoencoder": tiny_autoencoder,
    },
)

_OF_IMAGES = ("conv", "latent_diffusion", "residual", "tiny_autoencoder")


def build(
    setting: str | Options | Pair,
    shape: Sequence[int],
    features: int,
    out_channels: int,
) -> Pair:
    """An encoder and a decoder.

    Args:
      setting: an architecture's name, `{"kind": name, **arguments}`, or a pair of networks, which
        is returned unchanged.
      shape: of one event, channels last.
      features: number of outputs of the encoder, on the last axis.
      out_channels: channels of the decoder's output.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or it does not support events of
        this shape.
    """
    if isinstance(setting, tuple):
        return setting
    kind = setting if isinstance(setting, str) else setting.get("kind")
    if kind in _OF_IMAGES and len(shape) != 3:
        raise ValueError(
            f"the architecture {kind!r} takes images of shape (H, W, C), found events of shape "
            f"{tuple(shape)}; 'mlp' takes any shape, 'residual_1d' signals and tokens"
        )
    if kind == "codec" and len(shape) != 2:
        raise ValueError(
            f"the architecture 'codec' takes signals of shape (T, C), found events of shape "
            f"{tuple(shape)}; 'mlp' takes any shape, 'residual_1d' tokens too"
        )
    if kind == "residual_1d" and len(shape) not in (1, 2):
        raise ValueError(
            "the architecture 'residual_1d' takes signals of shape (T, C) and tokens of shape "
            f"(T,), found events of shape {tuple(shape)}; 'mlp' takes any shape"
        )
    return make(ARCHITECTURES, setting, "architecture", shape, features, out_channels)


__all__ = [
    "ARCHITECTURES",
    "AUTOREGRESSIVE",
    "DISCRIMINATORS",
    "RECURRENT",
    "Autoregressive",
    "LadderLevel",
    "LadderNetworks",
    "Network",
    "Pair",
    "Recurrent",
    "StageNetworks",
    "apply_masked",
    "bind_constants",
    "build",
    "build_autoregressive",
    "build_discriminator",
    "build_recurrent",
    "conv_ladder",
    "delta_features",
    "dense_ladder",
    "from_linen",
    "from_nnx",
    "gated_mlp",
    "image_discriminator",
    "latent_discriminator",
    "lpips_features",
    "multiscale_networks",
    "patch_discriminator",
    "random_features",
    "reshaped",
    "sparse_decoder",
    "stft_discriminator",
    "unconditional",
    "waveform_discriminator",
]
