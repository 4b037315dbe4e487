"""Balls in a box, without friction: simulated from collision to collision, drawn when decoded."""

import functools

import jax.numpy as jnp
import numpy as np

from vaejax.data.load_options import Request, check_range
from vaejax.data.source import Batch, Source, in_memory

_MOST = 12  # balls; the time to simulate them grows with the cube
_TRIES = 16  # places for a ball before all of an example's are placed anew
_FULLEST = 0.3  # share of the box that random places may be asked to fill without overlap


def simulate(position: np.ndarray, velocity: np.ndarray, radius: float, length: int) -> np.ndarray:
    """Discs of equal mass in the unit square, from one collision to the next.

    At a wall the velocity across it turns round. Two discs that touch exchange the parts of their
    velocities along the line of their centres, which conserves momentum and energy.

    Args:
      position: centres float64 `[N, K, 2]`, without overlap, at least `radius` from the walls.
      velocity: a frame, float64 `[N, K, 2]`.
      radius: of a disc.
      length: T.

    Returns:
      Positions and velocities `[N, T, K, 4]` at the times 0, 1, …, T − 1.
    """
    # Copies in C order, which are moved in place.
    x, v = (np.array(a, np.float64, order="C") for a in (position, velocity))
    first, second = np.triu_indices(x.shape[1], 1)
    frames = [np.concatenate([x, v], axis=-1)]
    for _ in range(length - 1):
        left, on = np.ones(len(x)), np.arange(len(x))  # of the time to the next frame, and who
        while len(on):
            here, there = x[on], v[on]
            walls = _until_walls(here, there, radius).reshape(len(on), -1)
            pairs = _until_pairs(here, there, radius, first, second)
            waits = np.concatenate([walls, pairs, left[on, None]], axis=1)
            event = waits.argmin(axis=1)
            wait = np.take_along_axis(waits, event[:, None], axis=1)[:, 0]
            x[on] += there * wait[:, None, None]
            left[on] -= wait
            at_wall = event < walls.shape[1]
            v.reshape(len(v), -1)[on[at_wall], event[at_wall]] *= -1
            pair = event - walls.shape[1]
            at_pair = ~at_wall & (pair < len(first))
            _exchange(x, v, on[at_pair], first[pair[at_pair]], second[pair[at_pair]])
            on = on[at_wall | at_pair]
        frames.append(np.concatenate([x, v], axis=-1))
    return np.stack(frames, axis=1)


def _until_walls(x: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Time until each coordinate `[N, K, 2]` meets the wall that it moves towards."""
    goal = np.where(v > 0, 1 - radius, radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        wait = np.where(v == 0, np.inf, (goal - x) / v)
    return np.maximum(wait, 0.0)


def _until_pairs(
    x: np.ndarray, v: np.ndarray, radius: float, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Time until each pair `[N, P]` touches: the lesser root of |Δx + t Δv| = 2 r, or infinity."""
    dx, dv = x[:, first] - x[:, second], v[:, first] - v[:, second]
    a, b = (dv * dv).sum(-1), (dx * dv).sum(-1)
    c = (dx * dx).sum(-1) - 4 * radius**2
    square = b * b - a * c
    meets = (b < 0) & (square > 0)  # b >= 0: they part
    wait = (-b - np.sqrt(np.maximum(square, 0.0))) / np.where(meets, a, 1.0)
    return np.where(meets, np.maximum(wait, 0.0), np.inf)


def _exchange(x: np.ndarray, v: np.ndarray, row: np.ndarray, i: np.ndarray, j: np.ndarray) -> None:
    """Lets discs i and j `[M]` of the examples `row` `[M]` collide, in place."""
    line = x[row, i] - x[row, j]
    line /= np.linalg.norm(line, axis=-1, keepdims=True)
    along = ((v[row, i] - v[row, j]) * line).sum(-1, keepdims=True) * line
    v[row, i] -= along
    v[row, j] += along


def starts(
    examples: int, seed: int, balls: int, radius: float, speed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Random positions without overlap, and velocities of one speed in random directions.

    Returns:
      Both float64 `[N, K, 2]`.
    """
    random = np.random.RandomState(seed)
    x = np.empty((examples, balls, 2))
    again = np.arange(examples)
    while len(again):
        placed, fits = np.empty((len(again), 0, 2)), np.ones(len(again), bool)
        for _ in range(balls):  # one after the other, each at the first of some places that is free
            places = random.uniform(radius, 1 - radius, (len(again), _TRIES, 2))
            apart = np.linalg.norm(places[:, :, None] - placed[:, None], axis=-1)
            free = (apart >= 2 * radius).all(axis=2)
            chosen = np.take_along_axis(places, free.argmax(axis=1)[:, None, None], axis=1)
            placed, fits = np.concatenate([placed, chosen], axis=1), fits & free.any(axis=1)
        x[again[fits]] = placed[fits]
        again = again[~fits]
    angle = random.uniform(0, 2 * np.pi, (examples, balls))
    return x, speed * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def bouncing_balls(
    request: Request,
    *,
    length: int = 20,
    balls: int = 3,
    radius: float = 0.12,
    speed: float = 0.06,
) -> Source:
    """`sequence` `[B, T, side, side, 1]` of white discs in a black box that collide elastically.

    10,000 to train on and 1,000, drawn apart, to evaluate on, 32×32 pixels or what `image_size`
    says. `truth` `[B, T, 4 · balls]` are x, y (to the right and down) and the velocities along
    them, ball by ball; the box is 1 wide. What is stored is that; the frames are drawn from it.

    Args:
      request: what `load` was asked for.
      length: T, frames.
      balls: how many, at most 12.
      radius: of a ball.
      speed: of every ball at the start, a frame.

    Raises:
      ValueError: a setting is out of range, the balls would fill the box, or more than one channel
        is wanted.
    """
    side = request.grey(32)
    check_range("length", length, 1)
    check_range("balls", balls, 1, _MOST)
    check_range("radius", radius, 0.01, 0.3)
    check_range("speed", speed, 0.0, 1.0)
    filled = balls * np.pi * radius**2
    if filled > _FULLEST:
        raise ValueError(
            f"{balls} balls of radius {radius} fill {filled:.0%} of the box, "
            f"more than {_FULLEST:.0%}: take fewer or smaller ones"
        )
    examples, seed = request.sized
    states = simulate(*starts(examples, seed, balls, radius, speed), radius, length)
    return in_memory(
        {"truth": states.reshape(examples, length, -1).astype(np.float32)},
        np.arange(examples),
        max_resident_bytes=request.max_resident_bytes,
        name=request.name,
        split=request.split,
        decode=functools.partial(_draw, side=side, radius=radius),
    )


def _draw(rows: Batch, *, side: int, radius: float) -> Batch:
    """Discs of states `[B, T, 4K]`; a pixel that the edge goes through is grey.

    Its brightness is the radius less its centre's distance, in pixels, plus ½, within [0, 1].
    """
    truth = rows["truth"]
    state = truth.reshape(*truth.shape[:2], -1, 4)
    centre = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side
    across = centre[None, None, None] - state[..., 0, None]  # [B, T, K, side]
    down = centre[None, None, None] - state[..., 1, None]
    distance = jnp.sqrt(jnp.square(down)[..., :, None] + jnp.square(across)[..., None, :])
    bright = jnp.clip((radius - distance) * side + 0.5, 0.0, 1.0)
    return {"sequence": bright.max(axis=2)[..., None], "truth": truth}
