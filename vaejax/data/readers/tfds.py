"""Datasets prepared by TensorFlow Datasets, read without TensorFlow."""

import dataclasses
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from vaejax.core.types import Options, Untyped
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.cache import load_or_build
from vaejax.data.readers.decoded_source import digest_of, from_reader
from vaejax.data.readers.fields import bit_depth_scale
from vaejax.data.readers.image_files import StoredFile, stored_pixels
from vaejax.data.readers.images import fit, fitted_shape
from vaejax.data.readers.tfds_files import find_prepared
from vaejax.data.source import Rows, Source, decoder, hold_out

__all__ = ["load_tfds", "tfds_spare_splits"]

_DEFAULT_IMAGE_SIZE = 64
_PROBE = 64  # examples inspected to distinguish pixels in 0..1 from pixels in 0..255
_LARGE_RECORD = 4096  # bytes; decoding smaller records is mostly Python, which threads slow down


@dataclasses.dataclass(frozen=True)
class _RowFormat:
    """How an example of TFDS becomes a row. Its fields identify the cached rows."""

    feature: str  # the feature with pixels
    field: str  # 'image' or 'sequence'
    labelled: bool
    factors: tuple[str, ...]
    image_size: int | None
    channels: int | None
    stretch: bool  # zeros and ones become 0 and 255, since resizing makes grey levels

    def row(self, example: Options) -> Rows:
        pixels = _pixels(example[self.feature])
        if self.stretch:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        row = {self.field: fit(pixels, self.image_size, self.channels)}
        if self.labelled:
            row["label"] = np.asarray(example["label"], np.int32)
        if self.factors:
            row["factors"] = np.array([example[name] for name in self.factors], np.int32)
        return row


def load_tfds(dataset: str, options: LoadOptions) -> Source:
    """A dataset that TFDS has prepared as `array_record`.

    Its image feature (`image`, if there are several) becomes `image`, or else its video feature
    becomes `sequence`; `label` becomes `label`, and the integers `label_*` become `factors`, in
    alphabetical order. The split `'eval'` is the dataset's test split, or else its validation
    split; a dataset with one split has `holdout` of it held out. The split `'validation'` is that
    of `options.part`.

    Args:
      dataset: `NAME`, `NAME/CONFIG`, `NAME:VERSION` or `NAME/CONFIG:VERSION`.
      options: `image_size` defaults to the dataset's own, or 64 if its images differ; decoded
        images larger than `max_resident_bytes` in total are read when needed.

    Raises:
      FileNotFoundError: the dataset, or one of its files, does not exist.
      ImportError: the packages that read it are not installed.
      ValueError: it is in another file format, or has no images.
    """
    folder = find_prepared(dataset, options.data_dir)
    builder = _builder(folder)
    splits, features = builder.info.splits, dict(builder.info.features)
    train_part, eval_part = _parts(splits)
    part = {"train": train_part, "eval": eval_part, "validation": options.part}[options.split]
    files = [(name, (folder / name).stat().st_size) for name in sorted(splits[part].filenames)]
    feature, field = _pixel_feature(dataset, features)
    data, count = _examples(builder, part, feature), splits[part].num_examples
    shape, image_size = tuple(features[feature].shape), options.image_size
    if image_size is None and None in shape[-3:-1]:
        image_size = _DEFAULT_IMAGE_SIZE
    fitted = fitted_shape(shape, image_size, options.channels)
    if None in fitted:
        raise ValueError(f"tfds:{dataset} has {feature!r} of varying shape {shape}")
    # Determined from the training split, so that both splits are decoded alike.
    binary = _is_binary(_examples(builder, train_part, feature), feature)
    row_format = _RowFormat(
        feature,
        field,
        labelled="label" in features and _is_integer(features["label"]),
        factors=tuple(
            sorted(n for n in features if n.startswith("label_") and _is_integer(features[n]))
        ),
        image_size=image_size,
        channels=options.channels,
        stretch=binary and fitted != shape,
    )

    scale = 1.0 if binary and not row_format.stretch else 255.0
    deep = not binary and _is_deep(features[feature])
    if deep:
        used = dict.fromkeys(name for name in (train_part, eval_part, options.part) if name)
        scale = max(scale, _depth_scale(builder, list(used), feature))

    def read(indices: list[int]) -> Iterator[Rows]:
        return map(row_format.row, data.__getitems__(indices))

    held_out = train_part == eval_part and options.split != "validation"
    label = features["label"] if row_format.labelled else None
    factor_sizes = [getattr(features[name], "num_classes", None) for name in row_format.factors]
    return from_reader(
        read,
        hold_out(count, options.split, options.holdout) if held_out else np.arange(count),
        count=count,
        row_bytes=int(np.prod(fitted)) * (2 if deep else 1),
        threads=sum(size for _, size in files) > count * _LARGE_RECORD,
        label="-".join(["tfds", *builder.info.full_name.split("/"), part]),
        identity=[files, fitted, dataclasses.asdict(row_format), deep],
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=decoder(scale),
        factor_sizes=tuple(factor_sizes) if factor_sizes and None not in factor_sizes else None,
        factor_names=tuple(name.removeprefix("label_") for name in row_format.factors) or None,
        num_classes=getattr(label, "num_classes", None),
        class_names=tuple(getattr(label, "names", None) or ()) or None,
    )


def tfds_spare_splits(dataset: str, options: LoadOptions) -> tuple[str, ...]:
    """The splits of a prepared dataset that are neither `'train'` nor `'eval'`.

    Raises:
      FileNotFoundError, ImportError: as from `load_tfds`.
    """
    splits = _builder(find_prepared(dataset, options.data_dir)).info.splits
    return tuple(name for name in splits if name not in _parts(splits))


def _parts(splits: Collection[str]) -> tuple[str, str]:
    """The dataset's names of the splits `'train'` and `'eval'`."""
    train = "train" if "train" in splits else next(iter(splits))
    return train, next((part for part in ("test", "validation") if part in splits), train)


def _builder(folder: Path) -> Untyped:
    """The TFDS builder of a folder with a prepared dataset."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of its dependencies
            import array_record  # noqa: F401  tensorflow_datasets would fail later without it
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
            f"reading the features of {folder} needs TensorFlow ({error}): "
            "pip install 'vaejax[tfds,tf]'"
        ) from error


def _pixel_feature(dataset: str, features: Options) -> tuple[str, str]:
    """The name of the feature with the pixels, and the field that it becomes."""
    for kind, field in (("Image", "image"), ("Video", "sequence")):
        names = sorted(n for n, feature in features.items() if type(feature).__name__ == kind)
        if field in names or len(names) == 1:
            return (field if field in names else names[0]), field
    raise ValueError(
        f"tfds:{dataset} has neither an image feature nor a video, found {sorted(features)}"
    )


def _is_integer(feature: Untyped) -> bool:
    return feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)


def _is_binary(data: Untyped, feature: str) -> bool:
    """Whether pixels are zeros and ones, in examples spread over the split."""
    spread = np.linspace(0, len(data) - 1, min(_PROBE, len(data))).astype(int)
    return all(_pixels(e[feature]).max() <= 1 for e in data.__getitems__(spread.tolist()))


def _is_deep(feature: Untyped) -> bool:
    return np.dtype(feature.np_dtype) == np.uint16


def _examples(builder: Untyped, part: str, feature: str) -> Untyped:
    """The examples of a split; images of 16 bits as stored, since TFDS needs OpenCV for them."""
    if not _is_deep(builder.info.features[feature]):
        return builder.as_data_source(split=part)
    from tensorflow_datasets import decode

    return builder.as_data_source(split=part, decoders={feature: decode.SkipDecoding()})


def _depth_scale(builder: Untyped, parts: list[str], feature: str) -> float:
    """The largest value of the depth of pixels of 16 bits, the same for all splits."""
    counts = [builder.info.splits[part].num_examples for part in parts]

    def read() -> Rows:
        high = 0
        for part, count in zip(parts, counts, strict=True):
            data = _examples(builder, part, feature)
            for start in range(0, count, _PROBE):
                examples = data.__getitems__(list(range(start, min(start + _PROBE, count))))
                high = max(high, *(int(_pixels(e[feature]).max()) for e in examples))
        return {"high": np.array([high])}

    name = "-".join(["depth-tfds", *builder.info.full_name.split("/")])
    rows = load_or_build(f"{name}-{digest_of([parts, counts, feature])}", read)
    return bit_depth_scale(int(rows["high"][0]))


def _pixels(pixels: bytes | np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Pixels `[..., H, W, C]` as uint8 or uint16."""
    if isinstance(pixels, bytes):
        return stored_pixels(StoredFile(pixels, "of an example"))
    pixels = np.asarray(pixels)
    if pixels.dtype not in (np.uint8, np.uint16, np.bool_):
        raise ValueError(f"expected images of uint8, uint16 or bool, found {pixels.dtype}")
    return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
