"""Trained runs as checkpoints of other libraries."""

import inspect
from collections.abc import Mapping
from math import gcd
from pathlib import Path
from typing import Protocol

import numpy as np

from vaejax.core.game import Params
from vaejax.core.paths import as_path
from vaejax.core.types import Json, Options, PyTree
from vaejax.interop.autoencoder_kl import AUTOENCODER_KL, VQ_MODEL
from vaejax.interop.checkpoints import save_params
from vaejax.interop.formats import Format
from vaejax.interop.pictures import PictureModel
from vaejax.interop.sounds import SoundModel
from vaejax.networks.latent_diffusion import latent_diffusion

__all__ = ["TrainedRun", "save"]

_MEAN_LIKELIHOODS = ("laplace", "normal")  # whose decoder gives the picture itself


class TrainedRun(Protocol):
    """What is read of a run from `vaejax.load_run`."""

    config: Options
    params: Params


def save(
    model: PictureModel | SoundModel | TrainedRun,
    folder: str | Path,
    *,
    scaling_factor: float = 1.0,
    shift_factor: float = 0.0,
) -> Path:
    """Writes a checkpoint that `from_pretrained(folder)` of diffusers or transformers loads.

    Args:
      model: from `vaejax.interop.load`, or a run from `vaejax.load_run` whose network is that of a
        supported class: `latent_diffusion`, with a Gaussian (`AutoencoderKL`) or with a codebook
        (`VQModel`).
      folder: is created; its `config.json` and safetensors file are replaced.
      scaling_factor: of a run: the factor for diffusion models, one over the deviation of latents.
      shift_factor: of a run: the mean of latents.

    Returns:
      The folder.

    Raises:
      ValueError: the run's model has no counterpart there.
      WriteError: a file cannot be written.
      ImportError: safetensors is not installed.
    """
    folder = as_path(folder).expanduser()
    if isinstance(model, PictureModel | SoundModel):
        save_params(model.format, model.config, model.params, folder)
        return folder
    form, config, params = _of_run(model)
    config |= {"scaling_factor": scaling_factor}
    if form is AUTOENCODER_KL:
        config |= {"shift_factor": shift_factor}
    elif shift_factor:
        raise ValueError(f"{form.name} has no shift_factor: leave it out")
    save_params(form, config, params, folder)
    return folder


def _options(setting: Json) -> dict[str, Json]:
    """The options of a network `latent_diffusion`, with their defaults."""
    setting = {"kind": setting} if isinstance(setting, str) else dict(setting)
    if setting.get("kind") != "latent_diffusion":
        raise ValueError(
            f"a run with the network {setting.get('kind')!r} has no counterpart in diffusers: only "
            "'latent_diffusion' has"
        )
    parameters = inspect.signature(latent_diffusion).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**defaults, **setting}


def _of_run(run: TrainedRun) -> tuple[Format, dict[str, Json], Params]:
    """The format, config and parameters of a run.

    Raises:
      ValueError: the model has no counterpart.
    """
    model = run.config["model"]
    options = _options(model.get("network", ""))
    likelihood = model.get("likelihood", "normal")
    kind = likelihood if isinstance(likelihood, str) else likelihood.get("kind")
    predicted = not isinstance(likelihood, str) and likelihood.get("scale") == "predicted"
    if kind not in _MEAN_LIKELIHOODS or predicted:
        raise ValueError(
            f"the decoder of a run with the likelihood {kind!r} does not give pictures themselves; "
            f"only {' and '.join(map(repr, _MEAN_LIKELIHOODS))} with a fixed or learned scale do"
        )
    params = {group: run.params[group] for group in ("encoder", "decoder")}
    if "network" in params["decoder"]:  # beside the learned scale
        params["decoder"] = params["decoder"]["network"]
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
    quantizer = run.config["model"].get("quantizer", "vector")
    setting: Mapping[str, Json] = {"kind": quantizer} if isinstance(quantizer, str) else quantizer
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
