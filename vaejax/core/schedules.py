"""Schedules of weights and learning rates: pure functions of the step."""

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from vaejax.core.arguments import check_arguments
from vaejax.core.fields import ANY, Range, check_value
from vaejax.core.registry import kind_and_arguments, make
from vaejax.core.types import Options, Step, Weight

__all__ = [
    "SCHEDULES",
    "Schedule",
    "check_schedule",
    "constant",
    "cosine",
    "cyclical",
    "delayed",
    "linear",
    "piecewise",
    "schedule",
    "warmup_cosine",
]

# The kinds of schedules are not optax's, whose lengths may not be traced, as those of a sweep
# are, and whose cosines mix the integer step with floats, which strict promotion forbids.
Schedule = Callable[[Step], jax.Array]


def _float(value: float | jax.Array) -> jax.Array:
    return jnp.asarray(value, jnp.float32)


def _progress(step: Step, begin: Step, steps: Step) -> jax.Array:
    """0 before `begin`, 1 from `begin + steps` on, linear between."""
    elapsed = _float(step) - _float(begin)
    return jnp.clip(elapsed / jnp.maximum(_float(steps), 1.0), 0.0, 1.0)


def constant(value: float) -> Schedule:
    """The same value at every step."""
    fixed: Schedule = optax.constant_schedule(value)
    return fixed


def delayed(value: float, begin: int, before: float = 0.0) -> Schedule:
    """`before` until step `begin`, then `value`, as for a late discriminator (2012.09841)."""
    return lambda step: jnp.where(_float(step) < _float(begin), _float(before), _float(value))


def linear(start: float, end: float, steps: int, begin: int = 0) -> Schedule:
    """From `start` to `end` over `steps` steps after step `begin`; constant outside."""
    return lambda step: start + (end - start) * _progress(step, begin, steps)


def cosine(start: float, end: float, steps: int, begin: int = 0) -> Schedule:
    """Half a cosine wave from `start` to `end` over `steps` steps after step `begin`."""

    def schedule(step: Step) -> jax.Array:
        rise = 0.5 - 0.5 * jnp.cos(math.pi * _progress(step, begin, steps))
        return start + (end - start) * rise

    return schedule


def cyclical(start: float, end: float, period: int, ramp: float = 0.5) -> Schedule:
    """A cycle repeated every `period` steps: linear from `start` to `end`, then constant.

    Fu et al. (1903.10145, eq. 6–7), whose R is `ramp`, the fraction of the period in which the
    value rises, and whose M is steps / period.
    """

    def schedule(step: Step) -> jax.Array:
        phase = jnp.mod(_float(step), _float(period)) / _float(period)
        return start + (end - start) * jnp.minimum(phase / ramp, 1.0)

    return schedule


def warmup_cosine(peak: float, warmup: int, steps: int, end: float = 0.0) -> Schedule:
    """Linear from 0 to `peak` in `warmup` steps, then half a cosine down to `end` at `steps`."""
    rise, fall = linear(0.0, peak, warmup), cosine(peak, end, steps - warmup, warmup)
    return lambda step: jnp.where(_float(step) < _float(warmup), rise(step), fall(step))


def piecewise(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """`values[i]` from step `boundaries[i - 1]` up to, not including, step `boundaries[i]`.

    Raises:
      ValueError: there is not one value more than boundaries, or the boundaries do not increase.
    """
    if len(values) != len(boundaries) + 1:
        raise ValueError(
            f"piecewise: {len(boundaries)} boundaries need {len(boundaries) + 1} values, "
            f"found {len(values)}"
        )
    if list(boundaries) != sorted(set(boundaries)):
        raise ValueError(f"piecewise: boundaries must increase, found {tuple(boundaries)}")

    def schedule(step: Step) -> jax.Array:
        passed = jnp.sum(jnp.asarray(boundaries, jnp.int32) <= jnp.asarray(step, jnp.int32))
        return jnp.asarray(values, jnp.float32)[passed]

    return schedule


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "delayed": delayed,
    "linear": linear,
    "cosine": cosine,
    "cyclical": cyclical,
    "piecewise": piecewise,
    "warmup_cosine": warmup_cosine,
}


def schedule(setting: Options | Weight) -> Weight:
    """A schedule from `{"kind": name, **arguments}`; a number or array is returned unchanged.

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    if not isinstance(setting, Mapping):
        return setting
    return make(SCHEDULES, setting, "kind of schedule")


_VALUES = ("before", "end", "peak", "start", "value", "values")  # of schedules, not steps


def check_schedule(path: str, setting: Options | Weight, limits: Range = ANY) -> None:
    """Checks a number, or the settings of a schedule, without making it.

    Args:
      path: of the field, for errors.
      setting: as for `schedule`; also one number for each element of a loss `[L]`.
      limits: of the number, or of every value of the schedule.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or a value is out of range.
    """
    if callable(setting):
        return
    if not isinstance(setting, Mapping):
        check_value(path, setting, float | Options | Sequence[float], limits)
        return
    kind, arguments = kind_and_arguments(SCHEDULES, setting, f"kind of schedule in {path}")
    what = f"{path}: the schedule {kind!r}"
    parameters = check_arguments(SCHEDULES[kind], what, f"{path}.", arguments)
    missing = [p.name for p in parameters.values() if p.default is p.empty]
    if missing := [name for name in missing if name not in arguments]:
        raise ValueError(f"{what} lacks the settings {missing}")
    for name in _VALUES:
        if name in arguments:
            annotation = parameters[name].annotation
            check_value(f"{path}.{name}", arguments[name], annotation, limits)
