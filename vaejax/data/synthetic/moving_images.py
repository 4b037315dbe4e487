"""Moving images: each is stored once with its motion; the accelerator computes the frames."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.data.load_options import EVAL_SIZE, TRAIN_SIZE, LoadOptions, check_range
from vaejax.data.readers.tfds import load_tfds
from vaejax.data.source import Batch, Rows, Source, in_memory
from vaejax.data.synthetic import sprites
from vaejax.data.synthetic.sprites_source import SIDES, unpack

__all__ = ["MOTION", "STEPS", "moving_mnist", "moving_sprites", "positions", "roll"]

# (down, right) of each direction, in the order of the direction classes.
STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
MOTION = ("x", "y", "direction", "speed")  # the factors of a motion, in the order of `factors`
_EDGES = ("bounce", "wrap")
# Every shape, the larger five of six scales and every fourth orientation of the sprites: small
# sprites can look the same at two orientations.
_POSES = (range(3), range(1, 6), range(0, 40, 4))


def positions(
    start: jax.Array, velocity: jax.Array, length: int, reach: int, edge: str
) -> jax.Array:
    """Positions at each time step, in whole pixels.

    Args:
      start: int32 `[B, K]`.
      velocity: pixels per step, int32 `[B, K]`.
      length: T.
      reach: R. With `'bounce'` the motion reverses at 0 and at R; with `'wrap'` it is modulo R.
      edge: `'bounce'` or `'wrap'`.

    Returns:
      int32 `[B, T, K]`: (start + velocity · t) mod R, or of the triangle wave of period 2R.
    """
    t = jnp.arange(length, dtype=jnp.int32)[None, :, None]
    free = start[:, None] + velocity[:, None] * t
    return free % reach if edge == "wrap" else reach - jnp.abs(reach - free % (2 * reach))


def roll(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Images `[B, H, W, C]` moved down and right by `[B, T, 2]` pixels: `[B, T, H, W, C]`.

    Pixels that leave on one side enter on the other.
    """
    height, width, channels = image.shape[1:]
    tiled = jnp.tile(image, (1, 2, 2, 1))  # so that every shifted image is a slice
    corner = jnp.stack([-shift[..., 0] % height, -shift[..., 1] % width], axis=-1)

    def crop(tiled: jax.Array, corner: jax.Array) -> jax.Array:
        start = (corner[0], corner[1], jnp.zeros_like(corner[0]))
        return jax.lax.dynamic_slice(tiled, start, (height, width, channels))

    return jax.vmap(jax.vmap(crop, (None, 0)))(tiled, corner)


def moving_mnist(
    options: LoadOptions,
    *,
    length: int = 20,
    directions: int = 2,
    speeds: int = 1,
    dataset: str = "mnist",
) -> Source:
    """Images of a prepared TFDS dataset that move and wrap around (1806.03107, section 5.2).

    By default MNIST digits that move left or right by one pixel per step; evaluation uses the test
    split. Every image makes one sequence, `label` is its class and `factors` are `MOTION`: the
    initial offset (pixels to the right and down from the dataset's image), the direction as an
    index into `STEPS`, and the speed minus 1. `data.binarize = 'dynamic'` binarises every frame
    independently; with `'threshold'` or `dataset=binarized_mnist` all frames show the same pixels.

    Args:
      options: see `LoadOptions`.
      length: T, frames.
      directions: 2 for left and right, 4 for up and down as well, 8 for the diagonals too; with 2
        the initial vertical offset is 0.
      speeds: number of speeds: 1, 2, … pixels per step.
      dataset: of TFDS, `NAME`, `NAME/CONFIG` or `NAME/CONFIG:VERSION`.

    Raises:
      ValueError: a setting is out of range, or the dataset has no images.
    """
    base = load_tfds(dataset, dataclasses.replace(options, source=f"tfds:{dataset}"))
    shape = jax.eval_shape(base.decode, base.take(np.zeros(1, np.int32)))
    if "image" not in shape:
        raise ValueError(
            f"{options.source!r} needs a dataset of images, tfds:{dataset} has {sorted(shape)}"
        )
    height, width = shape["image"].shape[1:3]
    _check_motion(length, directions, speeds, min(height, width) // 2 - 1)
    sizes = (width, 1 if directions == 2 else height, directions, speeds)
    random = np.random.RandomState(options.size_and_seed[1])
    motion = np.stack([random.randint(n, size=base.size) for n in sizes], -1).astype(np.int32)

    def take(indices: np.ndarray) -> Rows:
        return {**base.take(indices), "motion": motion[indices]}

    def decode(rows: Batch) -> Batch:
        factors = rows["motion"]
        batch = base.decode({k: v for k, v in rows.items() if k != "motion"})
        start, velocity = factors[:, 1::-1], _velocity(factors)
        # One axis at a time, since the image need not be square.
        shift = [
            positions(start[:, k : k + 1], velocity[:, k : k + 1], length, reach, "wrap")
            for k, reach in enumerate((height, width))
        ]
        sequence = roll(batch.pop("image"), jnp.concatenate(shift, axis=-1))
        return {**batch, "sequence": sequence, "factors": factors}

    return dataclasses.replace(
        base,
        name=options.source,
        take=take,
        arrays=None if base.arrays is None else {**base.arrays, "motion": motion},
        decode=decode,
        factor_sizes=sizes,
        factor_names=MOTION,
    )


def moving_sprites(
    options: LoadOptions,
    *,
    length: int = 20,
    directions: int = 8,
    speeds: int = 1,
    edge: str = "bounce",
) -> Source:
    """Sprites that move in a straight line and bounce off the edges; nothing to download.

    10,000 sequences for training and 1,000 for evaluation, all different, 32×32 pixels or
    `image_size`. `label` is the shape; `factors` are shape, scale (the larger five), orientation
    (every fourth) and `MOTION`. A sprite at x, y is the sprite rendered at position (0, 0), whose
    centre is a quarter of the frame from the top left, moved by x and y pixels. With `'bounce'`
    x and y are in 0 … side/2 and start at their class + 1; with `'wrap'` they start at their class.

    Args:
      options: `image_size` is 16, 32 or 64.
      length: T, frames.
      directions: 2 for left and right, 4 for up and down as well, 8 for the diagonals too.
      speeds: number of speeds: 1, 2, … pixels per step.
      edge: `'bounce'`, or `'wrap'`: what leaves on one side enters on the other.

    Raises:
      ValueError: a setting, the image size or the number of channels is not supported.
    """
    side = options.frame_side(32)
    if side not in SIDES:
        raise ValueError(
            f"{options.source!r} can be 16, 32 or 64 pixels wide, found image_size={side}"
        )
    if edge not in _EDGES:
        raise ValueError(f"edge must be one of {', '.join(_EDGES)}, found {edge!r}")
    _check_motion(length, directions, speeds, side // 2 - 1)
    starts = side if edge == "wrap" else side // 2 - 1
    sizes = (*map(len, _POSES), starts, starts, directions, speeds)
    # Both splits are parts of one permutation, so that no sequence is in both.
    chosen = np.random.RandomState(0).permutation(math.prod(sizes))[: TRAIN_SIZE + EVAL_SIZE]
    chosen = chosen[:TRAIN_SIZE] if options.split == "train" else chosen[TRAIN_SIZE:]
    factors = np.stack(np.unravel_index(chosen, sizes), axis=-1).astype(np.int32)
    poses = np.zeros((len(factors), len(sprites.SIZES)), np.int64)
    for k, classes in enumerate(_POSES):
        poses[:, k] = np.array(classes)[factors[:, k]]
    return in_memory(
        {"packed": sprites.render_packed(sprites.index_of(poses)), "factors": factors},
        np.arange(len(factors)),
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=functools.partial(_decode_sprites, side=side, length=length, edge=edge),
        factor_sizes=sizes,
        factor_names=(*sprites.NAMES[: len(_POSES)], *MOTION),
        num_classes=sprites.SIZES[0],
        class_names=sprites.SHAPES,
    )


def _decode_sprites(rows: Batch, *, side: int, length: int, edge: str) -> Batch:
    """Unpacks pixels uint8 `[B, 512]`, averages over squares of them, and moves the result."""
    factors, image = rows["factors"], unpack(rows["packed"], side)
    motion = factors[:, -len(MOTION) :]
    start, reach = (motion, side) if edge == "wrap" else (motion + 1, side // 2)
    shift = positions(start[:, 1::-1], _velocity(motion), length, reach, edge)
    return {"sequence": roll(image, shift), "label": factors[:, 0], "factors": factors}


def _velocity(motion: jax.Array) -> jax.Array:
    """Pixels per step down and to the right `[B, 2]`, of the factors `MOTION` `[B, 4]`."""
    return jnp.asarray(STEPS, jnp.int32)[motion[:, 2]] * (motion[:, 3:] + 1)


def _check_motion(length: int, directions: int, speeds: int, max_speed: int) -> None:
    check_range("length", length, 1)
    check_range("speeds", speeds, 1, max_speed)
    if directions not in (2, 4, 8):
        raise ValueError(f"directions must be 2, 4 or 8, found {directions}")
