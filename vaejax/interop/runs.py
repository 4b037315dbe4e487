"""Trained runs as checkpoints of other libraries."""

from pathlib import Path

from vaejax.core.paths import as_path
from vaejax.core.types import Json
from vaejax.interop.autoencoder_kl import AUTOENCODER_KL
from vaejax.interop.checkpoints import save_params
from vaejax.interop.encodec import ENCODEC
from vaejax.interop.pictures import PictureModel
from vaejax.interop.run_parts import TrainedRun, network_kind
from vaejax.interop.runs_of_pictures import picture_checkpoint
from vaejax.interop.runs_of_sounds import sound_checkpoint
from vaejax.interop.sounds import SoundModel

__all__ = ["save"]


def save(
    model: PictureModel | SoundModel | TrainedRun,
    folder: str | Path,
    *,
    scaling_factor: float = 1.0,
    shift_factor: float = 0.0,
    sampling_rate: int = 0,
) -> Path:
    """Writes a checkpoint that `from_pretrained(folder)` of diffusers or transformers loads.

    Args:
      model: from `vaejax.interop.load`, or a run from `vaejax.load_run` whose network is that of a
        supported class: `latent_diffusion`, with a Gaussian (`AutoencoderKL`) or with a codebook
        (`VQModel`); `codec` with a residual quantizer (`EncodecModel`).
      folder: is created; its `config.json` and safetensors file are replaced.
      scaling_factor: of a run: the factor for diffusion models, one over the deviation of latents.
      shift_factor: of a run: the mean of latents.
      sampling_rate: of a run on sounds, in Hz; 0 for its `data.sample_rate`.

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
    scaling: dict[str, Json] = {}
    if network_kind(model) == "codec":
        form, config, params = sound_checkpoint(model, sampling_rate)
    else:
        form, config, params = picture_checkpoint(model)
        scaling = {"scaling_factor": scaling_factor}
    if form is AUTOENCODER_KL:
        scaling["shift_factor"] = shift_factor
    elif shift_factor or (form is ENCODEC and scaling_factor != 1.0):
        raise ValueError(f"{form.name} has no such factor: leave it out")
    save_params(form, {**config, **scaling}, params, folder)
    return folder
