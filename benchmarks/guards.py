"""What the machinery around a training step costs, for every family.

  python -m benchmarks.guards [--families=beta_vae,vqvae] [--rounds=5]

The same steps in five ways, interleaved, all compiled beforehand:

- single: one jitted step a call, on a batch that lies ready;
- scanned: many steps in one call of the trainer's program, which also fetches its batches;
- by hand: the loop one would write, which gathers a batch in NumPy and calls the jitted step;
- fit: the trainer as users run it, with its log, progress and checkpoints;
- sweep: two models, seeds 0 and 1, as one program; a step is that of one of them.

A scanned step should cost no more than 1.05 single ones, a step of `fit` no more than 1.1 by hand,
a step of a model in a sweep no more than 1.1 of one alone.
Writes `results/guards-<device>.json` and a table `.md`, in which families that are left out stay as
they were last measured.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks.configured import FAMILIES, load
from benchmarks.machine import machine
from vaejax.core.rng import DATA, key_of
from vaejax.data.preprocess import preparation
from vaejax.sweeps import Sweep, product
from vaejax.training import Settings, Trainer, fit
from vaejax.training.train_step import make_step

RESULTS = Path(__file__).parent / "results"
_FAMILIES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Interleaved repeats.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Rough length of each.")
LIMITS = {"scanned over single": 1.05, "fit over by hand": 1.1, "sweep over scanned": 1.1}


def measure(name: str) -> dict[str, Any]:
    """Milliseconds a step in each way, and the ratios of every round."""
    configured = load(name)
    assert configured is not None  # everyone computes in float32
    plan, family, source = configured.settings, configured.family, configured.source
    n = plan.steps_per_dispatch
    trainer = Trainer(family, source, plan, binarize=configured.binarize)
    prepare = preparation(source, configured.binarize)
    step_fn = make_step(family, ema_decay=plan.ema_decay)

    def one(state: Any, rows: Any) -> Any:
        return step_fn(state, prepare(rows, key_of(0, DATA, state.step)), 0)[0]

    step = jax.jit(one, donate_argnums=0)
    ready = jax.device_put(source.take(np.arange(plan.batch_size)))
    rng = np.random.default_rng(0)

    def single(steps: int) -> None:
        state = states["single"]
        for _ in range(steps):
            state = step(state, ready)
        states["single"] = jax.block_until_ready(state)

    def by_hand(steps: int) -> None:
        state = states["by hand"]
        for _ in range(steps):
            state = step(state, source.take(rng.integers(0, source.size, plan.batch_size)))
        states["by hand"] = jax.block_until_ready(state)

    def dispatched(way: str, runs: Trainer | Sweep, steps: int) -> None:
        state = states[way]
        for span, chunk in runs.feed.chunks([(i, i + n) for i in range(0, steps, n)]):
            state, _ = runs.dispatch(state, span, chunk)
        states[way] = jax.block_until_ready(state)

    def scanned(steps: int) -> None:
        dispatched("scanned", trainer, steps)

    grid = product({}, seeds=(0, 1))
    both = Sweep(lambda values: family, grid, source, plan, binarize=configured.binarize)

    def sweep(steps: int) -> None:
        dispatched("sweep", both, steps)

    ways: dict[str, Callable[[int], None]] = {
        "single": single, "scanned": scanned, "by hand": by_hand, "sweep": sweep,
    }  # fmt: skip
    states = {way: (both if way == "sweep" else trainer).init() for way in ways}
    for way in ways.values():
        way(n)
    begun = time.perf_counter()
    scanned(n)
    steps = n * max(1, round(_SECONDS.value / (time.perf_counter() - begun)))
    fitted = Settings(**{**configured.plan, "steps": steps + n, "checkpoint_every": 0})

    times: dict[str, list[float]] = {way: [] for way in (*ways, "fit")}
    for _ in range(_ROUNDS.value):
        for way, go in ways.items():
            begun = time.perf_counter()
            go(steps)
            each = grid.size if way == "sweep" else 1
            times[way].append(1e3 * (time.perf_counter() - begun) / steps / each)
        with tempfile.TemporaryDirectory() as folder:
            # The rate that `fit` reports leaves out what comes before its second dispatch.
            times["fit"].append(1e3 / fit(trainer, fitted, workdir=Path(folder)).rate)
    row: dict[str, Any] = {"steps": steps}
    row["ms_per_step"] = {way: statistics.median(t) for way, t in times.items()}
    for ratio in LIMITS:
        above, below = (times[way] for way in ratio.split(" over "))
        ratios = [a / b for a, b in zip(above, below, strict=True)]
        row[ratio] = [statistics.median(ratios), min(ratios), max(ratios)]
    return row


def as_table(record: dict[str, Any]) -> str:
    """The record in Markdown."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; jax "
        f"{record['jax']}; {record['rounds']} interleaved rounds.",
        "",
        "| config | a step alone, ms | scanned over single (≤ 1.05) | by hand, ms | fit over by "
        "hand (≤ 1.1) | a model of a sweep over one alone (≤ 1.1) | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in record["families"].items():
        ms = row["ms_per_step"]
        scanned, trained, swept = (
            f"{row[ratio][0]:.2f} ({row[ratio][1]:.2f}–{row[ratio][2]:.2f})" for ratio in LIMITS
        )
        lines.append(
            f"| {name} | {ms['single']:.3g} | {scanned} | {ms['by hand']:.3g} | {trained} | "
            f"{swept} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    record: dict[str, Any] = {**machine(), "rounds": _ROUNDS.value}
    stem = f"guards-{str(record['device']).lower().replace(' ', '-')}"
    path = RESULTS / f"{stem}.json"
    record["families"] = json.loads(path.read_text())["families"] if path.exists() else {}
    for number, name in enumerate(_FAMILIES.value, start=1):
        print(f"[{number}/{len(_FAMILIES.value)}] {name} ...", flush=True)
        row = {**measure(name), "commit": record["commit"]}
        record["families"][name] = row
        print(f"    {row}", flush=True)
        path.write_text(json.dumps(record, indent=2) + "\n")
        path.with_suffix(".md").write_text(as_table(record))
    print("\n" + as_table(record))


if __name__ == "__main__":
    app.run(main)
