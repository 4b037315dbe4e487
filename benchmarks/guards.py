"""Overhead of the training loop over a bare training step, for every family.

  python -m benchmarks.guards [--families=beta_vae,vqvae] [--rounds=5] [--check | --only_products]

Times the same steps in five variants, interleaved, all compiled beforehand:

- single: one jitted step per call, on a batch that is already on the device;
- scanned: many steps in one call of the trainer's program, which also gathers its batches;
- by hand: a plain loop that gathers a batch in NumPy and calls the jitted step;
- fit: the complete training loop, with log, progress and checkpoints;
- sweep: two models, seeds 0 and 1, as one program; the time is per step of one model.

A scanned step should take at most 1.05 times as long as a single one, a step of `fit` at most 1.1
times as long as by hand, a step of a model in a sweep at most 1.1 times as long as a scanned one.
Writes `results/guards-<device>.json` and a table `.md`, in which families that are left out keep
their last measurements.

`--check` writes nothing. It compares with that record, and ends with exit code 1 if a family's
scanned step has become more than 10 % slower. Times are in units of a fixed product of matrices of
the same run, so that a slower day of the same machine does not count; on CPU they are processor
times, which other load changes little. `--only_products` renews this part of the record alone.
"""

import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from vaejax.core.rng import Stream, key_of
from vaejax.data.preprocess import preparation
from vaejax.sweeps import Sweep, product
from vaejax.training import Trainer, fit
from vaejax.training.train_step import make_step

from .configured import FAMILIES, Configured, load
from .machine import machine
from .paths import result_path
from .records import read_rows, write_record
from .regressions import in_products, slower

__all__ = ["main"]

_FAMILIES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Interleaved repeats.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Approximate length of each.")
_CHECK = flags.DEFINE_bool("check", False, "Compare with the record instead of writing it.")
_ONLY_PRODUCTS = flags.DEFINE_bool("only_products", False, "Renew only what --check reads.")
_SLOWER = 1.1  # a ratio to the record beyond this is a regression
_LIMITS = {"scanned over single": 1.05, "fit over by hand": 1.1, "sweep over scanned": 1.1}


class _Variants:
    """The variants of taking n steps of a config; each keeps its own state."""

    def __init__(self, configured: Configured) -> None:
        family, source, settings, binarize = configured
        self.settings, self.source, self.models = settings, source, 2
        self.trainer = Trainer(family, source, settings, binarize=binarize)
        grid = product({}, seeds=tuple(range(self.models)))
        sweep = Sweep(lambda values: family, grid, source, settings, binarize=binarize)
        self._step = jax.jit(self._single_step(configured), donate_argnums=0)
        self._batch = jax.device_put(source.take(np.arange(settings.batch_size)))
        self._random = np.random.default_rng(0)
        self.take_steps: dict[str, Callable[[Any, int], Any]] = {
            "single": self._single,
            "scanned": functools.partial(self._dispatch, self.trainer),
            "by hand": self._by_hand,
            "sweep": functools.partial(self._dispatch, sweep),
        }
        self._states = {
            name: (sweep if name == "sweep" else self.trainer).init() for name in self.take_steps
        }

    def _single_step(self, configured: Configured) -> Callable[[Any, Any], Any]:
        family, source, settings, binarize = configured
        prepare = preparation(source, binarize)
        step_fn = make_step(family, ema_decay=settings.ema_decay)

        def step(state: Any, rows: Any) -> Any:
            return step_fn(state, prepare(rows, key_of(0, Stream.DATA, state.step)), 0)[0]

        return step

    def _single(self, state: Any, steps: int) -> Any:
        for _ in range(steps):
            state = self._step(state, self._batch)
        return state

    def _by_hand(self, state: Any, steps: int) -> Any:
        for _ in range(steps):
            indices = self._random.integers(0, self.source.size, self.settings.batch_size)
            state = self._step(state, self.source.take(indices))
        return state

    def _dispatch(self, trainer: Trainer | Sweep, state: Any, steps: int) -> Any:
        n = self.settings.steps_per_dispatch
        for span, batches in trainer.loader.batches([(i, i + n) for i in range(0, steps, n)]):
            state, _ = trainer.dispatch(state, span, batches)
        return state

    def seconds(self, name: str, steps: int) -> float:
        """Time of `steps` steps of a variant."""
        start = time.perf_counter()
        state = self.take_steps[name](self._states[name], steps)
        self._states[name] = jax.block_until_ready(state)
        return time.perf_counter() - start


def _in_products(name: str, trainer: Trainer | None = None) -> dict[str, float]:
    """The time of a scanned step of a config, see `regressions.in_products`."""
    configured = load(name)
    assert configured is not None
    family, source, settings, binarize = configured
    trainer = trainer or Trainer(family, source, settings, binarize=binarize)
    span, state = (0, settings.steps_per_dispatch), trainer.init()

    def dispatch() -> None:
        nonlocal state
        for part, batches in trainer.loader.batches([span]):
            state, _ = trainer.dispatch(state, part, batches)
        jax.block_until_ready(state)

    return in_products(dispatch, span[1], _ROUNDS.value)


def _measure(name: str) -> dict[str, Any]:
    """Milliseconds per step of each variant, and the ratios of every round."""
    configured = load(name)
    assert configured is not None  # all networks compute in float32
    variants, n = _Variants(configured), configured.settings.steps_per_dispatch
    for variant in variants.take_steps:
        variants.seconds(variant, n)  # compiles
    steps = n * max(1, round(_SECONDS.value / variants.seconds("scanned", n)))
    settings = dataclasses.replace(configured.settings, steps=steps + n, checkpoint_every=0)

    times: dict[str, list[float]] = {variant: [] for variant in (*variants.take_steps, "fit")}
    for _ in range(_ROUNDS.value):
        for variant in variants.take_steps:
            models = variants.models if variant == "sweep" else 1
            times[variant].append(1e3 * variants.seconds(variant, steps) / steps / models)
        with tempfile.TemporaryDirectory() as folder:
            # The rate that `fit` reports leaves out everything before its second dispatch.
            outcome = fit(variants.trainer, settings, workdir=Path(folder))
            times["fit"].append(1e3 / outcome.rate)
    row: dict[str, Any] = {"steps": steps}
    row["ms_per_step"] = {variant: statistics.median(t) for variant, t in times.items()}
    row |= _in_products(name, variants.trainer)
    for ratio in _LIMITS:
        numerator, denominator = (times[variant] for variant in ratio.split(" over "))
        ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
        row[ratio] = [statistics.median(ratios), min(ratios), max(ratios)]
    return row


def _check(record: dict[str, Any]) -> None:
    """Measures all families, and exits with 1 if one is slower than recorded."""
    ratios = {
        name: slower(_in_products(name), record["families"].get(name)) for name in _FAMILIES.value
    }
    for name, ratio in ratios.items():
        text = "no record" if ratio is None else f"{ratio:.2f} times the recorded time"
        print(f"{name}: {text}{'  SLOWER' if ratio and ratio > _SLOWER else ''}")
    if any(ratio and ratio > _SLOWER for ratio in ratios.values()):
        raise SystemExit(1)


def _as_table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; jax "
        f"{record['jax']}; {record['rounds']} interleaved rounds.",
        "",
        "| config | single step, ms | scanned over single (≤ 1.05) | by hand, ms | fit over by "
        "hand (≤ 1.1) | sweep over scanned, per model (≤ 1.1) | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in record["families"].items():
        if "ms_per_step" not in row:  # only products were measured
            continue
        ms = row["ms_per_step"]
        scanned, fitted, sweep = (
            f"{row[ratio][0]:.2f} ({row[ratio][1]:.2f}–{row[ratio][2]:.2f})" for ratio in _LIMITS
        )
        lines.append(
            f"| {name} | {ms['single']:.3g} | {scanned} | {ms['by hand']:.3g} | {fitted} | "
            f"{sweep} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    record: dict[str, Any] = {**machine(), "rounds": _ROUNDS.value}
    stem = f"guards-{str(record['device']).lower().replace(' ', '-')}"
    path = result_path(f"{stem}.json")
    record["families"] = read_rows(path, "families")
    if _CHECK.value:
        _check(record)
        return
    for number, name in enumerate(_FAMILIES.value, start=1):
        print(f"[{number}/{len(_FAMILIES.value)}] {name} ...", flush=True)
        if _ONLY_PRODUCTS.value:
            row = {**record["families"].get(name, {}), **_in_products(name)}
            row["commit of products"] = record["commit"]
        else:
            row = {**_measure(name), "commit": record["commit"]}
        record["families"][name] = row
        print(f"    {row}", flush=True)
        write_record(path, record, _as_table(record))
    print("\n" + _as_table(record))


if __name__ == "__main__":
    app.run(main)
