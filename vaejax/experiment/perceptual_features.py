"""The features of `model.perceptual`: of a classifier's run, or of LPIPS's weights."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import losses, networks
from vaejax.core.game import Family, LossTransform
from vaejax.core.sharding import make_mesh
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.export.safetensors import need
from vaejax.families.added_losses import RANDOM
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

__all__ = ["with_perceptual_features"]

_FIELD = "model.perceptual.features"
_WEIGHTS = (".npz", ".safetensors")


def with_perceptual_features(
    model: Options,
    shape: Sequence[int],
    *,
    build: Callable[..., Family],
    load_split: Callable[[Options, str], Source],
) -> Options:
    """The section `model` with the perceptual loss itself in place of the place of its features.

    Args:
      model: of a config.
      shape: of one event.
      build: `(config, shape, dataset_info) -> family`.
      load_split: `(config, split) -> its data`.

    Raises:
      FileNotFoundError: there is neither a run nor a file.
      ValueError: the run is not of a classifier, or weights are missing.
      ImportError: a package that reads the file is missing.
    """
    setting = model.get("perceptual")
    location = setting.get("features", RANDOM) if setting else RANDOM
    if location == RANDOM:
        return model
    loss = _read(str(location), tuple(shape), build, load_split)
    return {**model, "perceptual": loss}


@functools.lru_cache(maxsize=2)  # a run builds its family several times
def _read(
    location: str,
    shape: tuple[int, ...],
    build: Callable[..., Family],
    load_split: Callable[[Options, str], Source],
) -> LossTransform:
    path = Path(location)
    if path.is_dir():
        features, heads = _from_run(path, shape, build, load_split), None
    elif path.suffix in _WEIGHTS and path.is_file():
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                weights = {name: file[name] for name in file.files}
        else:
            weights = need("safetensors.numpy").load_file(str(path))
        features, heads = networks.lpips_features(weights)
    else:
        raise FileNotFoundError(
            f"{_FIELD}={location} is neither the --workdir of a classifier nor a file of LPIPS's "
            f"weights that ends in {' or '.join(_WEIGHTS)}; {RANDOM!r} needs none"
        )
    try:
        jax.eval_shape(features, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{_FIELD}={location} does not take images {shape}: {error}") from error
    return losses.perceptual(features, heads)


def _from_run(
    path: Path,
    shape: tuple[int, ...],
    build: Callable[..., Family],
    load_split: Callable[[Options, str], Source],
) -> losses.FeatureMaps:
    run = open_run(path, make_mesh(1), _FIELD, build=build, load_split=load_split)
    maps = run.family.model.feature_maps
    if maps is None:
        raise ValueError(
            f"{run.name} is a run of {run.config['family']!r}, but perceptual features need a "
            "classifier with convolutions, see configs/classifier.py"
        )
    channels = run.spec.event_shape[-1]
    if channels != shape[-1]:
        raise ValueError(
            f"{run.name} was trained on images of {channels} channels, these have {shape[-1]}"
        )
    params = jax.tree.map(np.asarray, eval_params(run.restore(0)))  # on the host

    def features(images: jax.Array) -> tuple[jax.Array, ...]:
        return maps(jax.tree.map(jnp.asarray, params), images)

    return features
