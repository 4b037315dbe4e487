"""Trained runs as `AutoencoderKL` and `VQModel` of diffusers."""

from math import gcd

import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Json, Options, PyTree
from vaejax.interop.autoencoder_kl import AUTOENCODER_KL, VQ_MODEL
from vaejax.interop.formats import Format
from vaejax.interop.run_parts import (
    TrainedRun,
    network_kind,
    network_options,
    plain_params,
    settings,
)

__all__ = ["picture_checkpoint"]


def picture_checkpoint(run: TrainedRun) -> tuple[Format, dict[str, Json], Params]:
    """The format, config and parameters of a run on pictures.

    Raises:
      ValueError: the model has no counterpart.
    """
    if (kind := network_kind(run)) != "latent_diffusion":
        raise ValueError(
            f"a run with the network {kind!r} has no counterpart in other libraries: only those "
            "with 'latent_diffusion' and 'codec' have"
        )
    options, params, model = network_options(run), plain_params(run), run.config["model"]
    codebook = run.params.get("codebook")
    form = AUTOENCODER_KL if codebook is None else VQ_MODEL
    config = {**form.defaults, **_common(options, params)}
    if codebook is None:
        if options["latent_channels"]:
            raise ValueError("AutoencoderKL of diffusers has no such option: latent_channels=0")
        config |= {
            "latent_channels": model.get("latent_dim", 10),
            "use_quant_conv": options["quant_conv"],
            "use_post_quant_conv": options["post_quant_conv"],
        }
        return form, config, params
    if not (options["quant_conv"] and options["post_quant_conv"]) or _has_other_codes(run):
        raise ValueError(
            "VQModel of diffusers has one codebook with Euclidean distances, and a network with "
            "quant_conv and post_quant_conv; this run's model differs"
        )
    size, dim = np.shape(codebook)
    latent_channels = options["latent_channels"] or dim
    config |= {"latent_channels": latent_channels, "num_vq_embeddings": size, "vq_embed_dim": dim}
    return form, config, {**params, "codebook": codebook}


def _has_other_codes(run: TrainedRun) -> bool:
    setting = settings(run.config["model"].get("quantizer", "vector"))
    cosine = setting.get("distance", "euclidean") != "euclidean"
    return setting.get("kind") != "vector" or cosine or "projection" in run.params


def _common(options: Options, params: PyTree) -> dict[str, Json]:
    """The options of the config that `AutoencoderKL` and `VQModel` share."""
    channels = list(options["channels"])
    groups = gcd(options["groups"], *channels)
    if any(gcd(options["groups"], c) != groups for c in channels):
        raise ValueError(
            f"the group norms of levels of {channels} channels have different numbers of groups; "
            "diffusers has one number, which divides all of them: train with such `groups`"
        )
    if options["activation"] != "silu":
        raise ValueError(f"diffusers has no such decoder with activation={options['activation']!r}")
    attended = [i in options["attention_levels"] for i in range(len(channels))]
    return {
        "in_channels": int(np.shape(params["encoder"]["conv_in"]["kernel"])[2]),
        "out_channels": int(np.shape(params["decoder"]["conv_out"]["kernel"])[3]),
        "block_out_channels": channels,
        "layers_per_block": options["blocks"],
        "norm_num_groups": groups,
        "mid_block_add_attention": options["attention"],
        "down_block_types": [
            "AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attended
        ],
        "up_block_types": [
            "AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attended)
        ],
    }
