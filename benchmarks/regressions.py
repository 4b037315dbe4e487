"""Whether a measurement is slower than the record of the same kind of machine."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

__all__ = ["in_products", "slower"]

_CLOCK, _PROCESSOR = "products per step", "processor products per step"


def in_products(
    run: Callable[[], None], steps: int, rounds: int, size: int = 2048
) -> dict[str, float]:
    """The time of a step in units of a product of two square matrices.

    The fastest of the rounds counts, in which runs and products take turns; the first run, which
    compiles, is not timed.

    Args:
      run: takes the steps, and waits for them.
      steps: in one run.
      rounds: how many.
      size: rows of the matrices.

    Returns:
      `products per step`, by the clock; on CPU also `processor products per step`.
    """
    matrix = jax.random.normal(jax.random.key(0), (size, size))
    multiply = jax.jit(lambda a: a @ a)

    def product() -> None:
        for _ in range(5):
            jax.block_until_ready(multiply(matrix))

    def seconds(function: Callable[[], None], count: int) -> tuple[float, float]:
        start, processor = time.perf_counter(), time.process_time()
        function()
        ended = time.perf_counter() - start, time.process_time() - processor
        return ended[0] / count, ended[1] / count

    run(), product()
    times = [(seconds(run, steps), seconds(product, 5)) for _ in range(rounds)]
    ratios = [min(t[0][i] for t in times) / min(t[1][i] for t in times) for i in range(2)]
    on_cpu = jax.default_backend() == "cpu"
    return {_CLOCK: ratios[0]} | ({_PROCESSOR: ratios[1]} if on_cpu else {})


def slower(row: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> float | None:
    """How many times slower a family's step is than recorded; None without such a record.

    By processor time where both have it, which other load changes less than the clock.
    """
    for key in (_PROCESSOR, _CLOCK):
        if key in row and key in (recorded or {}):
            return float(row[key] / recorded[key])  # type: ignore[index]  # it has the key
    return None
