"""Reads and writes checkpoints of other libraries."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.paths import as_path
from vaejax.core.registry import near_names
from vaejax.core.types import Json, Options, PyTree
from vaejax.interop.autoencoder_kl import AUTOENCODER_KL, VQ_MODEL
from vaejax.interop.autoencoder_tiny import AUTOENCODER_TINY
from vaejax.interop.dac import DAC
from vaejax.interop.encodec import ENCODEC
from vaejax.interop.folders import read_config, read_tensors, write_folder
from vaejax.interop.formats import Format
from vaejax.interop.layouts import to_params, to_tensors
from vaejax.interop.pictures import PictureModel
from vaejax.interop.sounds import SoundModel

__all__ = ["FORMATS", "is_checkpoint", "load", "read_params", "save_params", "shapes_of"]

FORMATS: Mapping[str, Format] = {
    form.name: form for form in (AUTOENCODER_KL, VQ_MODEL, AUTOENCODER_TINY, ENCODEC, DAC)
}
_TYPES: Mapping[str, str] = {"encodec": "EncodecModel", "dac": "DacModel"}


def _class_of(config: Options) -> str:
    """The name of the class that a config is of; `''` if it names none."""
    named = config.get("_class_name") or next(iter(config.get("architectures") or []), "")
    return named or _TYPES.get(config.get("model_type", ""), config.get("model_type", ""))


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of another library, of whatever class."""
    if not (folder / "config.json").is_file():
        return False
    config = read_config(folder)
    return "family" not in config and bool(_class_of(config))


def load(folder: str | Path, *, dtype: str = "float32") -> PictureModel | SoundModel:
    """A model from a checkpoint of diffusers or transformers.

    Args:
      folder: with `config.json` and safetensors files, as `save_pretrained` writes it.
      dtype: of the computation, `'float32'` or `'bfloat16'`; parameters are float32.

    Returns:
      A `PictureModel`, or a `SoundModel` of a codec.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: the class or an option of it is not supported, or files do not fit each other.
      ImportError: safetensors is not installed.
    """
    form, config, params = read_params(as_path(folder).expanduser())
    kind = SoundModel if form in (ENCODEC, DAC) else PictureModel
    return kind(form, config, jax.tree.map(jnp.asarray, params), dtype)


def read_params(folder: Path) -> tuple[Format, dict[str, Json], Params]:
    """The format, the complete config and the parameters of a checkpoint.

    Raises:
      FileNotFoundError, ValueError, ImportError: see `load`.
    """
    config = dict(read_config(folder))
    name = _class_of(config)
    if name not in FORMATS:
        raise ValueError(f"{folder} is of an unknown class {near_names(name, FORMATS)}")
    form = FORMATS[name]
    config = {**form.defaults, **config}
    tensors = form.read(read_tensors(folder, form.stem), config)
    return (
        form,
        config,
        to_params(form.layout(config), tensors, shapes_of(form, config), str(folder)),
    )


def shapes_of(form: Format, config: Options) -> Params:
    """Shapes of the parameters of a checkpoint."""
    if form.shapes is not None:
        return form.shapes(config)
    encoder, decoder = form.networks(config, "float32")
    dim = config.get("vq_embed_dim") or config["latent_channels"]

    def init(key: jax.Array) -> PyTree:
        levels = config.get("num_encoder_blocks") or config["block_out_channels"]
        side = 2 ** (len(levels) - 1)
        x, z = jnp.zeros((1, side, side, config["in_channels"])), jnp.zeros((1, 1, 1, dim))
        groups = {"encoder": encoder.init(key, x), "decoder": decoder.init(key, z)}
        if "num_vq_embeddings" in config:
            groups["codebook"] = jnp.zeros((config["num_vq_embeddings"], dim))
        return groups

    return jax.eval_shape(init, jax.random.key(0))


def save_params(form: Format, config: Options, params: Params, folder: Path) -> None:
    """Writes a checkpoint.

    Raises:
      WriteError: a file cannot be written.
      ImportError: safetensors is not installed.
    """
    tensors = form.write(to_tensors(form.layout(config), params), config)
    named: dict[str, Json] = {"_class_name": form.name}
    if form.library == "transformers":
        named = {"architectures": [form.name], "model_type": config["model_type"]}
    write_folder(folder, {**config, **named}, tensors, form.stem)
