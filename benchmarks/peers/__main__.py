"""vaejax beside PyTorch and pythae: the same networks, batch, optimizer and data, interleaved.

  python -m benchmarks.peers [--cases=mlp,conv] [--rounds=7] [--seconds=2]

Needs `pip install 'vaejax[bench]'`. Every competitor has a process of its own, in which it waits
while another works; in every round each takes steps for about `--seconds`, batches being fetched
from memory as part of them. A ratio is a competitor's time over ours in the same round; the table
has the median and range of the rounds. Rented machines are slow at times, as if their cores were
halves of one: a round in which a product of matrices was more than a tenth slower than at the best
seen is repeated, up to three times as many rounds in all; a case without such rounds once more at
the end. The record says how many there were, how fast the product was, and has the medians of all
rounds. Plain PyTorch is eager and `torch.compile` as they come; beside them, what their
options gain. Also the time from starting the process to the end of the first 20 steps, for ours
without and with what an earlier run has left in the compile cache.

Writes `results/peers-<device>.json` and a table `.md`, in which cases that are left out stay as
they were last measured.
"""

import json
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.machine import machine
from benchmarks.peers.cases import CASES
from benchmarks.peers.rounds import compare
from benchmarks.peers.ways import OURS
from vaejax.core.registry import near_names

RESULTS = Path(__file__).parent.parent / "results"
_CASES = flags.DEFINE_list("cases", list(CASES), "Which comparisons.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Interleaved repeats that count.")
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Length of each, roughly.")


def as_table(record: dict[str, Any]) -> str:
    """The record in Markdown."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; float32; jax "
        f"{record['jax']}, torch {record['torch']}; rounds of about "
        f"{record['seconds']:g} s each, interleaved. How many times as long as vaejax the others "
        "take.",
        "",
        "| | vaejax, ms a step | the same with a device for each core | PyTorch, the better of "
        "eager and compiled | PyTorch with its options | pythae and others | first 20 steps after, "
        "s: vaejax, cached, PyTorch | rounds that count | commit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def cell(row: dict[str, Any], whose: str, *, named: bool = True) -> str:
        name = row.get(f"best of {whose}")
        if name is None:
            return ""
        median, low, high = row["ways"][name]["over_ours"]
        return f"{median:.2f} ({low:.2f}–{high:.2f})" + (f", {name}" if named else "")

    for row in record["cases"].values():
        ours = row["ways"][OURS]
        others = [
            key.removeprefix("best of ")
            for key in row
            if key.startswith("best of ")
            and key[8:] not in (OURS, "torch", "tuned", "vaejax, tuned")
        ]
        start = [ours["seconds_to_start"], ours["seconds_to_start_cached"]]
        start.append(row["ways"][row["best of torch"]]["seconds_to_start"])
        lines.append(
            f"| {row['what']} | {ours['ms_per_step']:.3g} | "
            f"{cell(row, 'vaejax, tuned', named=False)} | {cell(row, 'torch')} | "
            f"{cell(row, 'tuned')} | {'; '.join(cell(row, whose) for whose in others)} | "
            f"{', '.join(f'{s:.1f}' for s in start)} | "
            f"{row['rounds']} of {row['rounds_in_all']} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes; a file after every case."""
    del argv
    for case in _CASES.value:
        if case not in CASES:
            raise app.UsageError(f"unknown case {near_names(case, CASES)}")
    try:
        import torch
    except ImportError as error:
        raise app.UsageError("PyTorch is missing: pip install 'vaejax[bench]'") from error
    here = machine()
    path = RESULTS / f"peers-{str(here['device']).lower().replace(' ', '-')}.json"
    record: dict[str, Any] = {**here, "torch": torch.__version__, "seconds": _SECONDS.value}
    record["cases"] = json.loads(path.read_text())["cases"] if path.exists() else {}
    todo, repeated = list(_CASES.value), set[str]()
    rates: dict[str, float] = {}
    while todo:
        case = todo.pop(0)
        print(f"{CASES[case].what} ({len(todo)} more)", flush=True)
        best = max(rates.values(), default=0.0)
        row = compare(case, _ROUNDS.value, _SECONDS.value, best)
        rates[case] = row["gigaflops"]
        record["cases"][case] = {**row, "commit": here["commit"]}
        for name, way in row["ways"].items():
            median, low, high = way["over_ours"]
            print(
                f"    {name:32} {way['ms_per_step']:9.3g} ms  {median:6.2f} × "
                f"({low:.2f}–{high:.2f})  {way['parameters']:,} parameters, started in "
                f"{way['seconds_to_start']:.1f} s",
                flush=True,
            )
        path.write_text(json.dumps(record, indent=2) + "\n")
        path.with_suffix(".md").write_text(as_table(record))
        if not todo:  # those measured while the machine was slow, once more
            best = max(rates.values())
            todo = [c for c in rates if rates[c] <= 0.9 * best and c not in repeated]
            repeated |= set(todo)
    print("\n" + as_table(record) + f"\nWrote {path} and .md.")


if __name__ == "__main__":
    app.run(main)
