"""Frictionless balls in a box, simulated from collision to collision, rendered when decoded."""

import functools

import jax.numpy as jnp
import numpy as np

from vaejax.data.load_options import LoadOptions, check_range
from vaejax.data.source import Batch, Source, in_memory

__all__ = ["bouncing_balls", "initial_states", "simulate"]

_MAX_BALLS = 12  # the time to simulate them grows with the cube of their number
_TRIES = 16  # random places tried for a ball before all of an example's balls are placed again
_MAX_FILLED = 0.3  # share of the box; above it random places without overlap are rarely found


def simulate(position: np.ndarray, velocity: np.ndarray, radius: float, length: int) -> np.ndarray:
    """Elastic collisions of discs of equal mass in the unit square, computed event by event.

    At a wall the velocity component across it changes sign. Two discs that touch exchange the
    components of their velocities along the line of centres, which conserves momentum and energy.

    Args:
      position: centres float64 `[N, K, 2]`, without overlap, at least `radius` from the walls.
      velocity: per frame, float64 `[N, K, 2]`.
      radius: of a disc.
      length: T, frames.

    Returns:
      Positions and velocities `[N, T, K, 4]` at the times 0, 1, …, T − 1.
    """
    # Copies in C order, which are updated in place.
    x, v = (np.array(a, np.float64, order="C") for a in (position, velocity))
    first, second = np.triu_indices(x.shape[1], 1)
    frames = [np.concatenate([x, v], axis=-1)]
    for _ in range(length - 1):
        # Time left to the next frame, and the examples that have not reached it.
        remaining, active = np.ones(len(x)), np.arange(len(x))
        while len(active):
            x_active, v_active = x[active], v[active]
            walls = _time_to_walls(x_active, v_active, radius).reshape(len(active), -1)
            pairs = _time_to_pairs(x_active, v_active, radius, first, second)
            times = np.concatenate([walls, pairs, remaining[active, None]], axis=1)
            event = times.argmin(axis=1)
            time = np.take_along_axis(times, event[:, None], axis=1)[:, 0]
            x[active] += v_active * time[:, None, None]
            remaining[active] -= time
            at_wall = event < walls.shape[1]
            v.reshape(len(v), -1)[active[at_wall], event[at_wall]] *= -1
            pair = event - walls.shape[1]
            at_pair = ~at_wall & (pair < len(first))
            _collide(x, v, active[at_pair], first[pair[at_pair]], second[pair[at_pair]])
            active = active[at_wall | at_pair]
        frames.append(np.concatenate([x, v], axis=-1))
    return np.stack(frames, axis=1)


def _time_to_walls(x: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Time until each coordinate `[N, K, 2]` reaches the wall that it moves towards."""
    wall = np.where(v > 0, 1 - radius, radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(v == 0, np.inf, (wall - x) / v)
    return np.maximum(time, 0.0)


def _time_to_pairs(
    x: np.ndarray, v: np.ndarray, radius: float, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Time until each pair `[N, P]` touches: the smaller root of |Δx + t Δv| = 2 r, or infinity."""
    dx, dv = x[:, first] - x[:, second], v[:, first] - v[:, second]
    a, b = (dv * dv).sum(-1), (dx * dv).sum(-1)
    c = (dx * dx).sum(-1) - 4 * radius**2
    discriminant = b * b - a * c
    meets = (b < 0) & (discriminant > 0)  # b >= 0: the discs move apart
    time = (-b - np.sqrt(np.maximum(discriminant, 0.0))) / np.where(meets, a, 1.0)
    return np.where(meets, np.maximum(time, 0.0), np.inf)


def _collide(x: np.ndarray, v: np.ndarray, row: np.ndarray, i: np.ndarray, j: np.ndarray) -> None:
    """Collides discs i and j `[M]` of the examples `row` `[M]`, in place."""
    line = x[row, i] - x[row, j]
    line /= np.linalg.norm(line, axis=-1, keepdims=True)
    along = ((v[row, i] - v[row, j]) * line).sum(-1, keepdims=True) * line
    v[row, i] -= along
    v[row, j] += along


def initial_states(
    examples: int, seed: int, balls: int, radius: float, speed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Random positions without overlap, and velocities of equal speed in random directions.

    Returns:
      Positions and velocities, float64 `[N, K, 2]` each.
    """
    random = np.random.RandomState(seed)
    x = np.empty((examples, balls, 2))
    unplaced = np.arange(examples)
    while len(unplaced):
        placed, valid = np.empty((len(unplaced), 0, 2)), np.ones(len(unplaced), bool)
        for _ in range(balls):  # one ball after the other, each at the first free candidate
            candidates = random.uniform(radius, 1 - radius, (len(unplaced), _TRIES, 2))
            distance = np.linalg.norm(candidates[:, :, None] - placed[:, None], axis=-1)
            free = (distance >= 2 * radius).all(axis=2)
            chosen = np.take_along_axis(candidates, free.argmax(axis=1)[:, None, None], axis=1)
            placed, valid = np.concatenate([placed, chosen], axis=1), valid & free.any(axis=1)
        x[unplaced[valid]] = placed[valid]
        unplaced = unplaced[~valid]
    angle = random.uniform(0, 2 * np.pi, (examples, balls))
    return x, speed * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def bouncing_balls(
    options: LoadOptions,
    *,
    length: int = 20,
    balls: int = 3,
    radius: float = 0.12,
    speed: float = 0.06,
) -> Source:
    """`sequence` `[B, T, side, side, 1]` of white discs in a black box that collide elastically.

    10,000 sequences for training and 1,000 independent ones for evaluation, 32×32 pixels or
    `image_size`. `truth` `[B, T, 4 · balls]` holds, ball by ball, x, y (to the right and down) and
    the velocities along them; the box has width 1. Only `truth` is stored; `decode` renders the
    frames from it.

    Args:
      options: see `LoadOptions`.
      length: T, frames.
      balls: number of balls, at most 12.
      radius: of a ball.
      speed: initial speed of every ball, per frame.

    Raises:
      ValueError: a setting is out of range, the balls would fill the box, or more than one channel
        is requested.
    """
    side = options.frame_side(32)
    check_range("length", length, 1)
    check_range("balls", balls, 1, _MAX_BALLS)
    check_range("radius", radius, 0.01, 0.3)
    check_range("speed", speed, 0.0, 1.0)
    filled = balls * np.pi * radius**2
    if filled > _MAX_FILLED:
        raise ValueError(
            f"{balls} balls of radius {radius} fill {filled:.0%} of the box, "
            f"more than {_MAX_FILLED:.0%}: use fewer or smaller ones"
        )
    examples, seed = options.size_and_seed
    states = simulate(*initial_states(examples, seed, balls, radius, speed), radius, length)
    return in_memory(
        {"truth": states.reshape(examples, length, -1).astype(np.float32)},
        np.arange(examples),
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=functools.partial(_render, side=side, radius=radius),
    )


def _render(rows: Batch, *, side: int, radius: float) -> Batch:
    """Frames of states `[B, T, 4K]`, with anti-aliased edges.

    The brightness of a pixel is the radius minus its centre's distance from the ball's centre, in
    pixels, plus ½, clipped to [0, 1].
    """
    truth = rows["truth"]
    state = truth.reshape(*truth.shape[:2], -1, 4)
    centre = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side
    across = centre[None, None, None] - state[..., 0, None]  # [B, T, K, side]
    down = centre[None, None, None] - state[..., 1, None]
    distance = jnp.sqrt(jnp.square(down)[..., :, None] + jnp.square(across)[..., None, :])
    brightness = jnp.clip((radius - distance) * side + 0.5, 0.0, 1.0)
    return {"sequence": brightness.max(axis=2)[..., None], "truth": truth}
