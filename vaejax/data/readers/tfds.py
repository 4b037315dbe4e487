"""Datasets prepared by TensorFlow Datasets, read without TensorFlow."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.data.readers.decoded_source import from_reader
from vaejax.data.readers.images import check_request, fit, fitted_shape
from vaejax.data.readers.tfds_files import find_prepared
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Rows, Source, check_split, decoder, hold_out

DEFAULT_IMAGE_SIZE = 64
_PROBE = 64  # examples looked at to tell pixels in 0..1 from pixels in 0..255
_LARGE_RECORD = 4096  # bytes; decoding smaller ones is mostly Python, which threads only delay


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """How an example of TFDS becomes a row."""

    feature: str  # the one with pixels
    field: str  # 'image' or 'sequence'
    labelled: bool
    factors: tuple[str, ...]
    image_size: int | None
    channels: int | None
    stretch: bool  # zeros and ones become 0 and 255, as resizing makes greys

    def row(self, example: Mapping[str, Any]) -> Rows:
        pixels = _bytes(example[self.feature])
        if self.stretch:
            pixels = pixels * np.uint8(255)
        row = {self.field: fit(pixels, self.image_size, self.channels)}
        if self.labelled:
            row["label"] = np.asarray(example["label"], np.int32)
        if self.factors:
            row["factors"] = np.array([example[name] for name in self.factors], np.int32)
        return row


def load_tfds(
    dataset: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    data_dir: str | None = None,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """A dataset that TFDS has prepared as `array_record`.

    Its image feature (`image`, if there are several) becomes `image`, or else its video feature
    `sequence`; `label` becomes `label`, and the integers `label_*` become `factors`, in
    alphabetical order.

    Args:
      dataset: `NAME`, `NAME/CONFIG`, `NAME:VERSION` or `NAME/CONFIG:VERSION`.
      split: `'train'`, or `'eval'`: the dataset's test split, or else its validation split.
      image_size: height and width. Default: the dataset's own, or 64 if its images differ.
      channels: 1 or 3. Default: the dataset's own.
      holdout: fraction held out for `'eval'` where the dataset has one split.
      data_dir: where datasets are prepared. Default: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      max_resident_bytes: decoded images larger than this in total are read as they are needed.

    Raises:
      FileNotFoundError: if the dataset, or one of its files, is not there.
      ImportError: if the packages that read it are not installed.
      ValueError: if it is in another file format, or has no images.
    """
    check_split(split)
    check_request(image_size, channels)
    folder = find_prepared(dataset, data_dir)
    builder = _builder(folder)
    splits, features = builder.info.splits, dict(builder.info.features)
    train_part = "train" if "train" in splits else next(iter(splits))
    held_part = next((part for part in ("test", "validation") if part in splits), train_part)
    part = train_part if split == "train" else held_part
    files = [(name, (folder / name).stat().st_size) for name in sorted(splits[part].filenames)]
    data, count = builder.as_data_source(split=part), splits[part].num_examples

    feature, field = _pixel_feature(dataset, features)
    shape = tuple(features[feature].shape)
    if image_size is None and None in shape[-3:-1]:
        image_size = DEFAULT_IMAGE_SIZE
    fitted = fitted_shape(shape, image_size, channels)
    if None in fitted:
        raise ValueError(f"tfds:{dataset} has {feature!r} of varying shape {shape}")
    # Looked up in one split, so that both are decoded alike.
    binary = _is_binary(builder.as_data_source(split=train_part), feature)
    recipe = _Recipe(
        feature,
        field,
        labelled="label" in features and _is_integer(features["label"]),
        factors=tuple(
            sorted(n for n in features if n.startswith("label_") and _is_integer(features[n]))
        ),
        image_size=image_size,
        channels=channels,
        stretch=binary and fitted != shape,
    )

    def read(indices: list[int]) -> list[Rows]:
        return [recipe.row(example) for example in data.__getitems__(indices)]

    label = features["label"] if recipe.labelled else None
    factor_sizes = [getattr(features[name], "num_classes", None) for name in recipe.factors]
    return from_reader(
        read,
        np.arange(count) if train_part != held_part else hold_out(count, split, holdout),
        count=count,
        row_bytes=int(np.prod(fitted)),
        threads=sum(size for _, size in files) > count * _LARGE_RECORD,
        label="-".join(["tfds", *builder.info.full_name.split("/"), part]),
        identity=[files, fitted, dataclasses.asdict(recipe)],
        max_resident_bytes=max_resident_bytes,
        name=f"tfds:{dataset}",
        split=split,
        decode=decoder(1.0 if binary and not recipe.stretch else 255.0),
        factor_sizes=tuple(factor_sizes) if factor_sizes and None not in factor_sizes else None,
        factor_names=tuple(name.removeprefix("label_") for name in recipe.factors) or None,
        num_classes=getattr(label, "num_classes", None),
        class_names=tuple(getattr(label, "names", None) or ()) or None,
    )


def _builder(folder: Path) -> Any:
    """What TFDS makes of a folder with a prepared dataset."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of its dependencies are not for our users
            import array_record  # noqa: F401  tensorflow_datasets would miss it later on
            import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"tfds: sources need packages that are not installed ({error}): "
            "pip install 'vaejax[tfds]'"
        ) from error
    try:
        return tensorflow_datasets.builder_from_directory(str(folder))
    except ImportError as error:  # videos, for one
        raise ImportError(
            f"the features of {folder} need TensorFlow even to be read ({error}): "
            "pip install 'vaejax[tfds,tf]'"
        ) from error


def _pixel_feature(dataset: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the feature with the pixels, and the field that it becomes."""
    for kind, field in (("Image", "image"), ("Video", "sequence")):
        found = sorted(n for n, feature in features.items() if type(feature).__name__ == kind)
        if field in found or len(found) == 1:
            return (field if field in found else found[0]), field
    raise ValueError(
        f"tfds:{dataset} has neither an image feature nor a video, found {sorted(features)}"
    )


def _is_integer(feature: Any) -> bool:
    return feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)


def _is_binary(data: Any, feature: str) -> bool:
    """Whether pixels are zeros and ones, judged by examples from all over the split."""
    spread = np.linspace(0, len(data) - 1, min(_PROBE, len(data))).astype(int)
    return all(_bytes(e[feature]).max() <= 1 for e in data.__getitems__(spread.tolist()))


def _bytes(pixels: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Pixels `[..., H, W, C]` as uint8; of 16 bits, the upper eight."""
    pixels = np.asarray(pixels)
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if pixels.dtype not in (np.uint8, np.bool_):
        raise ValueError(f"expected images of bytes or bits, found {pixels.dtype}")
    return pixels.astype(np.uint8)
