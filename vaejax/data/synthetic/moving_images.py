"""Images that move: each stored once with its motion, the frames made on the accelerator."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.data.load_options import EVAL, TRAIN, Request, check_range
from vaejax.data.readers.tfds import load_tfds
from vaejax.data.source import Batch, Rows, Source, in_memory
from vaejax.data.synthetic import sprites
from vaejax.data.synthetic.sprites_source import SIDES, unpacked

# (down, right) of each direction, in the order of their classes.
STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
MOTION = ("x", "y", "direction", "speed")  # what is known of a motion, in the order of `factors`
EDGES = ("bounce", "wrap")
# Of the sprites every shape, the larger five of six scales and every fourth orientation: small
# ones can look the same at two orientations.
_POSES = (range(3), range(1, 6), range(0, 40, 4))


def places(start: jax.Array, velocity: jax.Array, length: int, reach: int, edge: str) -> jax.Array:
    """Where something is at each time, in whole pixels.

    Args:
      start: int32 `[B, K]`.
      velocity: pixels a step, int32 `[B, K]`.
      length: T.
      reach: R. What bounces turns at 0 and at R; what wraps comes from R back to 0.
      edge: `'bounce'` or `'wrap'`.

    Returns:
      int32 `[B, T, K]`: (start + velocity · t) mod R, or of the triangle wave of period 2R.
    """
    t = jnp.arange(length, dtype=jnp.int32)[None, :, None]
    free = start[:, None] + velocity[:, None] * t
    return free % reach if edge == "wrap" else reach - jnp.abs(reach - free % (2 * reach))


def rolled(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Images `[B, H, W, C]` moved down and right by `[B, T, 2]` pixels: `[B, T, H, W, C]`.

    What leaves on one side comes back on the other.
    """
    height, width, channels = image.shape[1:]
    twice = jnp.tile(image, (1, 2, 2, 1))  # so that every shift of it is a slice
    at = jnp.stack([-shift[..., 0] % height, -shift[..., 1] % width], axis=-1)

    def one(image: jax.Array, at: jax.Array) -> jax.Array:
        start = (at[0], at[1], jnp.zeros_like(at[0]))
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    return jax.vmap(jax.vmap(one, (None, 0)))(twice, at)


def moving_mnist(
    request: Request,
    *,
    length: int = 20,
    directions: int = 2,
    speeds: int = 1,
    dataset: str = "mnist",
) -> Source:
    """Images of a prepared TFDS dataset that move and wrap around (1806.03107, section 5.2).

    By default digits of MNIST, one pixel a step to the left or the right; those to evaluate on are
    of its test split. Every image makes one sequence, `label` is its class and `factors` are
    `MOTION`: where it starts (pixels right and down of where the dataset has it), its direction in
    `STEPS`, and its speed less 1. `data.binarize = 'dynamic'` draws every frame anew;
    `'threshold'` and `dataset=binarized_mnist` leave the image the same while it moves.

    Args:
      request: what `load` was asked for.
      length: T, frames.
      directions: 2 for left and right, 4 for up and down as well, 8 for the diagonals too; with 2
        all start at their own height.
      speeds: how many there are: 1, 2, … pixels a step.
      dataset: of TFDS, `NAME`, `NAME/CONFIG` or `NAME/CONFIG:VERSION`.

    Raises:
      ValueError: a setting is out of range, or the dataset has no images.
    """
    base = load_tfds(
        dataset,
        request.split,
        image_size=request.image_size,
        channels=request.channels,
        holdout=request.holdout,
        data_dir=request.data_dir,
        max_resident_bytes=request.max_resident_bytes,
    )
    shape = jax.eval_shape(base.decode, base.take(np.zeros(1, np.int32)))
    if "image" not in shape:
        raise ValueError(f"{request.name!r} moves images, tfds:{dataset} has {sorted(shape)}")
    height, width = shape["image"].shape[1:3]
    _check_motion(length, directions, speeds, min(height, width) // 2 - 1)
    sizes = (width, 1 if directions == 2 else height, directions, speeds)
    random = np.random.RandomState(request.sized[1])
    motion = np.stack([random.randint(n, size=base.size) for n in sizes], -1).astype(np.int32)

    def take(indices: np.ndarray) -> Rows:
        return {**base.take(indices), "motion": motion[indices]}

    def decode(rows: Batch) -> Batch:
        factors = rows["motion"]
        batch = base.decode({k: v for k, v in rows.items() if k != "motion"})
        start, velocity = factors[:, 1::-1], _velocity(factors)
        # One axis at a time, since the image need not be square.
        shift = [
            places(start[:, k : k + 1], velocity[:, k : k + 1], length, reach, "wrap")
            for k, reach in enumerate((height, width))
        ]
        sequence = rolled(batch.pop("image"), jnp.concatenate(shift, axis=-1))
        return {**batch, "sequence": sequence, "factors": factors}

    return dataclasses.replace(
        base,
        name=request.name,
        take=take,
        arrays=None if base.arrays is None else {**base.arrays, "motion": motion},
        decode=decode,
        factor_sizes=sizes,
        factor_names=MOTION,
    )


def moving_sprites(
    request: Request,
    *,
    length: int = 20,
    directions: int = 8,
    speeds: int = 1,
    edge: str = "bounce",
) -> Source:
    """Sprites that move in a straight line and bounce off the edges: nothing to download.

    10,000 sequences to train on and 1,000 to evaluate on, no two alike, 32×32 pixels or what
    `image_size` says. `label` is the shape; `factors` are shape, scale (the larger five),
    orientation (one in four) and `MOTION`. A sprite at x, y is the rendered one at place (0, 0),
    whose centre is a quarter of the frame from the top left, moved by x and y pixels. What bounces
    has x and y in 0 … side/2 and starts at one more than its class, inside; what wraps starts at
    its class.

    Args:
      request: what `load` was asked for; `image_size` 16, 32 or 64.
      length: T, frames.
      directions: 2 for left and right, 4 for up and down as well, 8 for the diagonals too.
      speeds: how many there are: 1, 2, … pixels a step.
      edge: `'bounce'`, or `'wrap'`: what leaves on one side comes back on the other.

    Raises:
      ValueError: a setting, the image size or the number of channels cannot be had.
    """
    side = request.grey(32)
    if side not in SIDES:
        raise ValueError(f"{request.name!r} can be 16, 32 or 64 pixels wide, image_size={side}")
    if edge not in EDGES:
        raise ValueError(f"edge must be one of {', '.join(EDGES)}, found {edge!r}")
    _check_motion(length, directions, speeds, side // 2 - 1)
    inside = side if edge == "wrap" else side // 2 - 1
    sizes = (*map(len, _POSES), inside, inside, directions, speeds)
    # Of one permutation, so that no sequence is in both splits.
    chosen = np.random.RandomState(0).permutation(math.prod(sizes))[: TRAIN + EVAL]
    chosen = chosen[:TRAIN] if request.split == "train" else chosen[TRAIN:]
    factors = np.stack(np.unravel_index(chosen, sizes), axis=-1).astype(np.int32)
    shown = np.zeros((len(factors), len(sprites.SIZES)), np.int64)
    for k, classes in enumerate(_POSES):
        shown[:, k] = np.array(classes)[factors[:, k]]
    return in_memory(
        {"packed": sprites.render_packed(sprites.index_of(shown)), "factors": factors},
        np.arange(len(factors)),
        max_resident_bytes=request.max_resident_bytes,
        name=request.name,
        split=request.split,
        decode=functools.partial(_decode_sprites, side=side, length=length, edge=edge),
        factor_sizes=sizes,
        factor_names=(*sprites.NAMES[: len(_POSES)], *MOTION),
        num_classes=sprites.SIZES[0],
        class_names=sprites.SHAPES,
    )


def _decode_sprites(rows: Batch, *, side: int, length: int, edge: str) -> Batch:
    """Unpacks pixels uint8 `[B, 512]`, averages over squares of them, and moves the result."""
    factors, image = rows["factors"], unpacked(rows["packed"], side)
    motion = factors[:, -len(MOTION) :]
    start, reach = (motion, side) if edge == "wrap" else (motion + 1, side // 2)
    shift = places(start[:, 1::-1], _velocity(motion), length, reach, edge)
    return {"sequence": rolled(image, shift), "label": factors[:, 0], "factors": factors}


def _velocity(motion: jax.Array) -> jax.Array:
    """Pixels down and right a step `[B, 2]` of factors `[B, 4]`, `MOTION`."""
    return jnp.asarray(STEPS, jnp.int32)[motion[:, 2]] * (motion[:, 3:] + 1)


def _check_motion(length: int, directions: int, speeds: int, fastest: int) -> None:
    check_range("length", length, 1)
    check_range("speeds", speeds, 1, fastest)
    if directions not in (2, 4, 8):
        raise ValueError(f"directions must be 2, 4 or 8, found {directions}")
