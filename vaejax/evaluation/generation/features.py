"""Feature extractors for images: a trained classifier, Inception v3, or any exported program."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vaejax.core.events import event
from vaejax.core.game import Family
from vaejax.core.sharding import make_mesh
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.evaluation.context import FeatureExtractor
from vaejax.evaluation.generation.inception import inception_features, read_weights
from vaejax.export.safetensors import need
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

__all__ = ["FeatureExtractor", "load_feature_extractor"]

_PROGRAM, _WEIGHTS = ".jaxexport", (".npz", ".safetensors")


def load_feature_extractor(
    location: str,
    shape: Sequence[int],
    *,
    build: Callable[..., Family],
    load_split: Callable[[Options, str], Source],
) -> FeatureExtractor:
    """Loads the feature extractor of `evaluate.feature_extractor` and checks its shapes.

    Args:
      location: the `--workdir` of a trained `configs/classifier.py`; or a file: `.jaxexport`, a
        program of `jax.export` from images float32 `[b, H, W, C]` to features, with a symbolic
        batch size b; `.npz` or `.safetensors`, weights of Inception v3 (see `inception`).
      shape: of one image, (H, W, C).
      build: `(config, shape, dataset_info) -> family`.
      load_split: `(config, split) -> its data`.

    Raises:
      FileNotFoundError: there is neither such a run nor such a file.
      ValueError: the run is not of a classifier, the file has other contents, or images of this
        shape do not fit.
      ImportError: a package that reads the file is missing.
    """
    path = Path(location)
    if path.is_dir():
        extractor = _from_run(path, shape, build, load_split)
    elif path.suffix not in (_PROGRAM, *_WEIGHTS):
        raise ValueError(
            f"evaluate.feature_extractor={location} is neither the --workdir of a classifier nor a "
            f"file that ends in {', '.join((_PROGRAM, *_WEIGHTS))}"
        )
    elif not path.is_file():
        raise FileNotFoundError(f"evaluate.feature_extractor: no file {location}")
    elif path.suffix == _PROGRAM:
        extractor = _from_program(path)
    else:
        extractor = inception_features(read_weights(path))
    try:
        out = jax.eval_shape(extractor, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"evaluate.feature_extractor={location} does not take images {tuple(shape)}: {error}"
        ) from error
    if getattr(out, "ndim", 0) != 2 or len(out) != 2:
        raise ValueError(
            f"evaluate.feature_extractor={location} should return features [B, F], but returns "
            f"{getattr(out, 'shape', type(out).__name__)} for two images"
        )
    return extractor


def _from_run(
    path: Path,
    shape: Sequence[int],
    build: Callable[..., Family],
    load_split: Callable[[Options, str], Source],
) -> FeatureExtractor:
    run = open_run(
        path, make_mesh(1), "evaluate.feature_extractor", build=build, load_split=load_split
    )
    features = run.family.model.features
    if features is None:
        raise ValueError(
            f"{run.name} is a run of {run.config['family']!r}, but a feature extractor must be a "
            "classifier, see configs/classifier.py"
        )
    train_shape = event(run.batch).shape[1:]
    if train_shape != tuple(shape):
        raise ValueError(
            f"{run.name} was trained on images {train_shape}, these are {tuple(shape)}"
        )
    params = jax.tree.map(np.asarray, eval_params(run.restore(0)))  # on the host

    def extractor(images: jax.Array) -> jax.Array:
        return features(jax.tree.map(jnp.asarray, params), images)

    return extractor


def _from_program(path: Path) -> FeatureExtractor:
    need("flatbuffers")
    try:
        program = jax_export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # invalid bytes can raise almost any exception
        raise ValueError(
            f"evaluate.feature_extractor: {path} is not a program of jax.export"
        ) from error
    return lambda images: program.call(images)
