"""vaejax against PyTorch and pythae: the same networks, batch size, optimizer and data.

  python -m benchmarks.peers [--cases=mlp,conv] [--rounds=7] [--seconds=2]

Needs `pip install 'vaejax[bench]'`. Every competitor runs in a process of its own. In each round
they take steps in turn, each for about `--seconds`, including gathering batches from memory. A
ratio is a competitor's time over that of vaejax in the same round; the table has the median and
range over rounds.

Shared machines are slow at times. A round in which a matrix product was more than 10 % slower than
the fastest one is repeated, up to three times `--rounds` in total; a case with only such rounds is
measured again at the end. The record has the number of rounds, the rate of the matrix product, and
the medians over all rounds.

PyTorch is measured eagerly and with `torch.compile` with default options, and with options that
make it faster. Also measured is the time from the start of the process to the end of the first 20
steps, for vaejax without and with a filled compilation cache, and the memory of the process during
compiled steps, without what it had before the model was made.

How far a step is from what the machine can do: the share of vaejax' time that its matrix products
and convolutions would take at the rate of that matrix product.

Where other programs use the machine too, `taskset -c 0 python -m benchmarks.peers
--clock=processor` compares the time that one core computes, which they do not change as much.

Writes `results/peers-<device>.json` and a table `.md`, in which cases that are left out keep their
last measurements.
"""

import json
import os
from typing import Any

from absl import app, flags

from vaejax.core.registry import near_names

from ..machine import machine
from ..paths import result_path, write_json
from .cases import CASES
from .competitors import VAEJAX
from .rounds import compare
from .worker import CLOCK

__all__ = ["as_table", "main"]

_CASES = flags.DEFINE_list("cases", list(CASES), "Comparisons.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Interleaved rounds that count.")
_CLOCK = flags.DEFINE_enum("clock", "wall", ("wall", "processor"), "Time that is measured.")
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Approximate length of each.")


def _share(row: dict[str, Any]) -> str:
    """Percentage of vaejax' time that its products take at the machine's rate."""
    if "product_flops" not in row:
        return ""
    milliseconds = row["product_flops"] / row["gigaflops"] / 1e6
    return f"{100 * milliseconds / row['ways'][VAEJAX]['ms_per_step']:.0f}"


def as_table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; float32; jax "
        f"{record['jax']}, torch {record['torch']}; rounds of about "
        f"{record['seconds']:g} s each, interleaved. Times of the others are relative to vaejax.",
        "",
        "| | vaejax, ms per step | vaejax, a device for each core | PyTorch, faster of eager and "
        "compiled | PyTorch with options | pythae and others | seconds to the first 20 steps: "
        "vaejax, cached, PyTorch | MiB beyond the libraries: vaejax, PyTorch | products at the "
        "machine's rate, % of vaejax | rounds that count | commit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]

    def cell(row: dict[str, Any], group: str, *, named: bool = True) -> str:
        name = row.get(f"best of {group}")
        if name is None:
            return ""
        median, low, high = row["ways"][name]["over_ours"]
        return f"{median:.2f} ({low:.2f}–{high:.2f})" + (f", {name}" if named else "")

    for row in record["cases"].values():
        ours = row["ways"][VAEJAX]
        columns = (VAEJAX, "torch", "tuned", "vaejax, tuned")
        groups = [key.removeprefix("best of ") for key in row if key.startswith("best of ")]
        others = [group for group in groups if group not in columns]
        start = [ours["seconds_to_start"], ours["seconds_to_start_cached"]]
        torch = row["ways"][row["best of torch"]]
        start.append(torch["seconds_to_start"])
        needed = [way.get("bytes") for way in (ours, torch)]
        memory = ", ".join(f"{b / 2**20:.0f}" for b in needed if b is not None)
        lines.append(
            f"| {row['what']} | {ours['ms_per_step']:.3g} | "
            f"{cell(row, 'vaejax, tuned', named=False)} | {cell(row, 'torch')} | "
            f"{cell(row, 'tuned')} | {'; '.join(cell(row, group) for group in others)} | "
            f"{', '.join(f'{s:.1f}' for s in start)} | {memory} | {_share(row)} | "
            f"{row['rounds']} of {row['rounds_in_all']} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures and prints; writes the files after every case."""
    del argv
    for case in _CASES.value:
        if case not in CASES:
            raise app.UsageError(f"unknown case {near_names(case, CASES)}")
    try:
        import torch
    except ImportError as error:
        raise app.UsageError("PyTorch is missing: pip install 'vaejax[bench]'") from error
    os.environ[CLOCK] = _CLOCK.value  # of the workers too
    origin = machine()
    path = result_path(f"peers-{str(origin['device']).lower().replace(' ', '-')}.json")
    record: dict[str, Any] = {**origin, "torch": torch.__version__, "seconds": _SECONDS.value}
    stored = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    if _CLOCK.value == "processor":  # the rows say so themselves; the others are as they were
        record |= stored
    record["cases"] = stored["cases"]
    todo, repeated = list(_CASES.value), set[str]()
    rates: dict[str, float] = {}
    while todo:
        case = todo.pop(0)
        print(f"{CASES[case].what} ({len(todo)} more)", flush=True)
        best = max(rates.values(), default=0.0)
        row = compare(case, _ROUNDS.value, _SECONDS.value, best)
        rates[case] = row["gigaflops"]
        if _CLOCK.value == "processor":
            row["what"] += f" (processor time, {origin['cores']} core)"
        record["cases"][case] = {**row, "commit": origin["commit"]}
        for name, measured in row["ways"].items():
            median, low, high = measured["over_ours"]
            print(
                f"    {name:32} {measured['ms_per_step']:9.3g} ms  {median:6.2f} × "
                f"({low:.2f}–{high:.2f})  {measured['parameters']:,} parameters, started in "
                f"{measured['seconds_to_start']:.1f} s",
                flush=True,
            )
        write_json(path, record)
        path.with_suffix(".md").write_text(as_table(record))
        if not todo:  # cases measured while the machine was slow are repeated once
            best = max(rates.values())
            todo = [c for c in rates if rates[c] <= 0.9 * best and c not in repeated]
            repeated |= set(todo)
    print("\n" + as_table(record) + f"\nWrote {path} and .md.")


if __name__ == "__main__":
    app.run(main)
