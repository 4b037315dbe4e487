"""Random changes of training examples, inside the compiled step: the section `data.augment`."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import EVENTS
from vaejax.core.fields import check_fields, field
from vaejax.core.types import PyTree
from vaejax.data.source import Batch, Source
from vaejax.data.values import fields_of

__all__ = ["Augmentation", "Draws", "augmenter", "draw"]

_FLIPS = ("none", "horizontal", "vertical", "both")
# Event -> the axes of one example that are moved.
_AXES = {"image": (0, 1), "sequence": (1, 2), "signal": (0,)}
_IMAGES = ("image", "sequence")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of training examples; never of those that are evaluated.

    They are applied in this order. What moves out of an image or a signal is lost, its outermost
    pixels or samples are repeated. All frames of a sequence are moved alike.

    Attributes:
      flip: mirrors an image with probability 1/2: left and right (horizontal), top and bottom
        (vertical), or each of the two (both).
      crop: the least side of a square part, as a fraction of the image, that is enlarged to the
        size of the image by linear interpolation. The fraction is uniform in [crop, 1], and so is
        the place; 1: off.
      shift: the largest number of pixels by which an image is moved along each axis, or of samples
        by which a signal is moved in time; each number up to it has the same probability.
      brightness: the largest number that is added to all pixels of an image, uniform in
        ±brightness.
      noise: standard deviation of the Gaussian noise that is added to each pixel or sample.
    """

    flip: str = field("none", "mirror images with probability 1/2", choices=_FLIPS)
    crop: float = field(
        1.0, "least side of a random part that is enlarged to the whole image; 1: off", low=0,
        high=1, above=True,
    )  # fmt: skip
    shift: int = field(0, "largest shift in pixels, of signals in samples; 0: off", low=0)
    brightness: float = field(
        0.0, "largest number added to all pixels of an image, of which 1 is white", low=0, high=1
    )
    noise: float = field(0.0, "standard deviation added to each pixel or sample; 0: off", low=0)

    def __post_init__(self) -> None:
        check_fields(self, "data.augment")

    @property
    def changed(self) -> dict[str, PyTree]:
        """The settings that are not off, by name."""
        fields = dataclasses.fields(self)
        values = {f.name: getattr(self, f.name) for f in fields}
        return {f.name: values[f.name] for f in fields if values[f.name] != f.default}


class Draws(NamedTuple):
    """The random numbers of one example with A moved axes, of which an image has two.

    Attributes:
      mirrored: bool `[A]`.
      side: of the part, as a fraction, `[]`.
      place: of the part, as a fraction of the positions that it can have, `[A]`.
      shift: int32 `[A]`.
      brightness: `[]`.
      noise: standard normal, of the shape of the example; `[]` if there is none.
    """

    mirrored: jax.Array
    side: jax.Array
    place: jax.Array
    shift: jax.Array
    brightness: jax.Array
    noise: jax.Array


def draw(augment: Augmentation, key: jax.Array, shape: tuple[int, ...], axes: int) -> Draws:
    """The random numbers of one example, a pure function of its key.

    Args:
      augment: the settings.
      key: of the example.
      shape: of its event.
      axes: A, number of moved axes.
    """
    keys = jax.random.split(key, 6)
    can_flip = np.array([augment.flip in (name, "both") for name in ("vertical", "horizontal")])
    return Draws(
        mirrored=jax.random.bernoulli(keys[0], 0.5, (axes,)) & can_flip[:axes],
        side=jax.random.uniform(keys[1], (), minval=augment.crop, maxval=1.0),
        place=jax.random.uniform(keys[2], (axes,)),
        shift=jax.random.randint(keys[3], (axes,), -augment.shift, augment.shift + 1),
        brightness=augment.brightness * jax.random.uniform(keys[4], (), minval=-1.0, maxval=1.0),
        noise=jax.random.normal(keys[5], shape) if augment.noise else jnp.zeros(()),
    )


def augmenter(augment: Augmentation, source: Source) -> Callable[[Batch, jax.Array], Batch]:
    """The function `(batch, key) -> batch` with each example changed by a key of its own.

    Values of images stay in [0, 1]; of those that are stored as integers they stay values that the
    data can have, rounded to the stored levels. A `condition` that is an image, and a `mask` that
    is stored with the examples, are moved with the image. Labels, factors and true states stay.

    Args:
      augment: the settings.
      source: of the batches.

    Raises:
      ValueError: the data has no such axes, or a shift is larger than the examples.
    """
    shapes = fields_of(source)
    event: str = next(name for name in EVENTS if name in shapes)
    _check(augment, source, event, shapes)
    axes, levels = _AXES.get(event, ()), _levels(source, event)
    moves = bool({"flip", "crop", "shift"} & set(augment.changed))
    stored = source.take(np.zeros(1, np.int32))
    moved = [event] if moves else []
    if moves and "condition" in shapes and len(shapes["condition"].shape) == 4:
        moved.append("condition")
    if moves and "hidden" in stored:
        moved.append("hidden")

    def one(example: Batch, key: jax.Array) -> Batch:
        draws = draw(augment, key, example[event].shape, len(axes))
        for name in moved:
            example = {**example, name: _moved(augment, example[name], draws, axes)}
        if "hidden" in moved:  # a pixel that is interpolated from a hidden one is hidden
            example["hidden"] = (example["hidden"] > 0).astype(example["hidden"].dtype)
        return {**example, event: _valued(augment, example[event], draws, event, levels)}

    def apply(batch: Batch, key: jax.Array) -> Batch:
        numbers = jnp.arange(len(batch[event]))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
        changed = {name: batch[name] for name in (event, *moved)}
        return {**batch, **jax.vmap(one)(changed, keys)}

    return apply


def _moved(augment: Augmentation, x: jax.Array, draws: Draws, axes: tuple[int, ...]) -> jax.Array:
    """An example that is mirrored, enlarged and shifted: one gather along each axis."""
    for number, axis in enumerate(axes):
        n = x.shape[axis]
        index = jnp.clip(jnp.arange(n) - draws.shift[number], 0, n - 1)
        if augment.crop < 1:
            start = draws.place[number] * (1 - draws.side) * n
            centre = index.astype(jnp.float32) + 0.5
            position = jnp.clip(centre * draws.side + start - 0.5, 0.0, n - 1.0)
            position = jnp.where(draws.mirrored[number], n - 1 - position, position)
            low = jnp.floor(position).astype(jnp.int32)
            weight = position - low.astype(jnp.float32)
            weight = jnp.expand_dims(weight, [d for d in range(x.ndim) if d != axis])
            below = jnp.take(x, low, axis, mode="clip")
            x = below + weight * (jnp.take(x, low + 1, axis, mode="clip") - below)
        else:
            index = jnp.where(draws.mirrored[number], n - 1 - index, index)
            x = jnp.take(x, index, axis, mode="clip")
    return x


def _valued(
    augment: Augmentation, x: jax.Array, draws: Draws, event: str, levels: float
) -> jax.Array:
    """An example with other values: brightness and noise, in the range of the data."""
    if augment.brightness:
        x = x + draws.brightness
    if augment.noise:
        x = x + augment.noise * draws.noise
    if event not in _IMAGES:
        return x
    if augment.brightness or augment.noise:
        x = jnp.clip(x, 0.0, 1.0)
    if levels > 1 and {"crop", "brightness", "noise"} & set(augment.changed):
        x = jnp.round(x * levels) / levels
    return x


def _check(augment: Augmentation, source: Source, event: str, shapes: PyTree) -> None:
    for name, value in augment.changed.items():
        signals = event == "signal" and name in ("shift", "noise")
        if event not in _IMAGES and not signals:
            kinds = "images and signals" if name in ("shift", "noise") else "images"
            raise ValueError(
                f"data.augment.{name}={value} is for {kinds}, but {source.name} holds "
                f"{event.removesuffix('s')}s; leave it at {getattr(Augmentation(), name)!r}"
            )
    shape = shapes[event].shape[1:]
    sides = [shape[axis] for axis in _AXES.get(event, ())]
    if augment.shift and augment.shift >= min(sides):
        raise ValueError(
            f"data.augment.shift={augment.shift} must be less than the {event}s of {source.name} "
            f"are long, {' × '.join(map(str, sides))}"
        )
    moving = sorted({"flip", "crop", "shift"} & set(augment.changed))
    if "mask" in shapes and moving:
        raise ValueError(
            f"data.augment.{moving[0]} would move the {event}s of {source.name} without their "
            "mask: leave flip, crop and shift off"
        )
    if "condition" in shapes and len(shapes["condition"].shape) == 4:
        sides_of_condition = list(shapes["condition"].shape[1:3])
        if {"flip", "crop", "shift"} & set(augment.changed) and sides_of_condition != sides:
            raise ValueError(
                f"data.augment moves images and their conditions alike, but those of {source.name} "
                f"differ in size: {sides} and {sides_of_condition}; leave flip, crop and shift off"
            )


def _levels(source: Source, event: str) -> float:
    """The largest stored integer of pixels, 255 of bytes; 1 of floats and of zeros and ones."""
    rows = source.take(np.zeros(1, np.int32))
    if event not in _IMAGES or event not in rows or rows[event].dtype.kind != "u":
        return 1.0
    if rows[event].shape != fields_of(source)[event].shape:  # packed bits
        return 1.0
    ones: PyTree = {**rows, event: np.ones_like(rows[event])}
    return float(np.round(1.0 / np.asarray(source.decode(ones)[event]).max()))
