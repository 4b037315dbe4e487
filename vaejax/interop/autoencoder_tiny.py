"""`AutoencoderTiny` of diffusers (TAESD)."""

from vaejax import networks
from vaejax.core.types import Options
from vaejax.interop.formats import Format, refuse
from vaejax.interop.layouts import Tensor, conv
from vaejax.networks import Pair

__all__ = ["AUTOENCODER_TINY"]


def _networks(config: Options, dtype: str) -> Pair:
    refuse(config, "act_fn", "relu", "silu", "swish")
    refuse(config, "upsample_fn", "nearest")
    refuse(config, "upsampling_scaling_factor", 2)
    setting = {
        "kind": "tiny_autoencoder",
        "channels": tuple(config["encoder_block_out_channels"]),
        "decoder_channels": tuple(config["decoder_block_out_channels"]),
        "encoder_blocks": tuple(config["num_encoder_blocks"]),
        "decoder_blocks": tuple(config["num_decoder_blocks"]),
        "activation": {"swish": "silu"}.get(config["act_fn"], config["act_fn"]),
        "dtype": dtype,
    }
    shape = (8, 8, config["in_channels"])
    return networks.build(setting, shape, config["latent_channels"], config["out_channels"])


def _layout(config: Options) -> list[Tensor]:
    """The layers of either half are numbered one after another, activations and upsampling too."""
    layers: list[Tensor] = []
    for half in ("encoder", "decoder"):
        number = 0
        if half == "decoder":
            layers, number = layers + conv("decoder/conv_in", "decoder.layers.0"), 2
        counts = config[f"num_{half}_blocks"]
        for i, blocks in enumerate(counts):
            if half == "encoder":
                layers += conv(f"encoder/level_{i}_conv", f"encoder.layers.{number}", bias=i == 0)
                number += 1
            for j in range(blocks):
                for k in range(3):
                    path = f"{half}/level_{i}_block_{j}_conv_{k}"
                    layers += conv(path, f"{half}.layers.{number}.conv.{2 * k}")
                number += 1
            if half == "decoder" and i < len(counts) - 1:
                name = f"decoder.layers.{number + 1}"
                layers += conv(f"decoder/level_{i}_conv", name, bias=False)
                number += 2
        layers += conv(f"{half}/conv_out", f"{half}.layers.{number}")
    return layers


AUTOENCODER_TINY = Format(
    "AutoencoderTiny",
    "diffusers",
    "diffusion_pytorch_model",
    {
        "in_channels": 3,
        "out_channels": 3,
        "encoder_block_out_channels": [64, 64, 64, 64],
        "decoder_block_out_channels": [64, 64, 64, 64],
        "act_fn": "relu",
        "upsample_fn": "nearest",
        "latent_channels": 4,
        "upsampling_scaling_factor": 2,
        "num_encoder_blocks": [1, 3, 3, 3],
        "num_decoder_blocks": [3, 3, 3, 1],
        "latent_magnitude": 3,
        "latent_shift": 0.5,
        "force_upcast": False,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
    },
    _networks,
    _layout,
)
