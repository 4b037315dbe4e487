"""Time and memory of what compares everything with everything, against size.

  python -m benchmarks.memory [--repeats=3] [--seconds=10]

Four parts, each in the library's form and in the plain one, which holds all pairs at once: nearest
codes (tokens against 8,192 codes of 64), squared MMD with its gradient (points of 10 dimensions),
the total correlation of a batch by weighted sampling with its gradient (10 dimensions), and
importance sampling (draws of z for 100 images, an MLP). Memory is what the compiled program takes
beyond its inputs, as the compiler tells, so the plain form can be followed to where it would not
run; time is the best of the repeats, up to the size at which one takes longer than a quarter of
`--seconds` or more memory than half of the machine's.

Writes `results/memory-<device>.json`, `.md` and `.png`.
"""

import functools
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import app, flags

from benchmarks.machine import machine
from vaejax.distributions import Normal
from vaejax.evaluation.likelihood import log_likelihood
from vaejax.families import beta_vae
from vaejax.losses.aggregate_posterior import _log_weights, log_aggregate
from vaejax.losses.mmd import squared_mmd
from vaejax.quantizers.nearest_neighbors import nearest

RESULTS = Path(__file__).parent / "results"
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed calls of each size.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "The longest call that is made.")

_ALL = 2**62  # nothing is split that holds fewer elements
Program = Callable[..., Any]


class Part(NamedTuple):
    """One computation that grows.

    Attributes:
      size_of: what the sizes count.
      sizes: that are tried.
      make: `(size, whole) -> (program, inputs)`; the plain form where `whole`.
    """

    size_of: str
    sizes: tuple[int, ...]
    make: Callable[[int, bool], tuple[Program, tuple[Any, ...]]]


def _normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def _search(size: int, whole: bool) -> tuple[Program, tuple[Any, ...]]:
    def plain(x: jax.Array, codes: jax.Array) -> jax.Array:
        return jnp.argmin(0.5 * jnp.square(codes).sum(axis=1)[None] - x @ codes.T, axis=1)

    return (plain if whole else nearest), (_normal(0, size, 64), _normal(1, 8192, 64))


def _mmd(size: int, whole: bool) -> tuple[Program, tuple[Any, ...]]:
    f = functools.partial(squared_mmd, **({"max_pairs": _ALL} if whole else {}))
    return jax.value_and_grad(f), (_normal(0, size, 10), _normal(1, size, 10))


def _total_correlation(size: int, whole: bool) -> tuple[Program, tuple[Any, ...]]:
    def f(loc: jax.Array, scale: jax.Array, noise: jax.Array) -> jax.Array:
        weights = _log_weights(size, 10 * size, "weighted")
        limit = {"max_elements": _ALL} if whole else {}
        joint, each = log_aggregate(Normal(loc, scale), loc + scale * noise, weights, **limit)
        return (joint - each.sum(axis=1)).mean()

    inputs = _normal(0, size, 10), jnp.full((size, 10), 0.3), _normal(1, size, 10)
    return jax.value_and_grad(f, (0, 1)), inputs


def _importance(size: int, whole: bool) -> tuple[Program, tuple[Any, ...]]:
    family = beta_vae(
        (28, 28, 1), {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(0.1))}, latent_dim=50,
        network={"kind": "mlp", "hidden": (200, 200)},
    )  # fmt: skip
    batch = {"image": (_normal(0, 100, 28, 28, 1) > 1).astype(jnp.float32)}
    params = family.model.init(jax.random.key(0), batch)
    estimate = log_likelihood(family.model, size, size if whole else 50)
    return estimate, (params, batch, jax.random.key(1))


PARTS = {
    "nearest codes": Part("tokens", tuple(2**i for i in range(10, 21, 2)), _search),
    "squared MMD": Part("points of each sample", tuple(2**i for i in range(8, 18, 2)), _mmd),
    "total correlation": Part("batch", tuple(2**i for i in range(7, 16, 2)), _total_correlation),
    "importance sampling": Part("draws", (50, 200, 800, 3200, 12_800), _importance),
}


def _measure(part: Part, size: int, whole: bool, *, timed: bool, most: float) -> dict[str, Any]:
    """Bytes beyond the inputs and, where it is wanted and there is room, seconds."""
    program, inputs = part.make(size, whole)
    compiled = jax.jit(program).lower(*inputs).compile()
    analysis = compiled.memory_analysis()
    row: dict[str, Any] = {"size": size, "bytes": analysis.temp_size_in_bytes}
    if timed and row["bytes"] < most:
        times = []
        for _ in range(_REPEATS.value):
            begun = time.perf_counter()
            jax.block_until_ready(compiled(*inputs))
            times.append(time.perf_counter() - begun)
            if times[-1] > _SECONDS.value:
                break
        row["seconds"] = min(times)
    return row


def _exhausted(rows: list[dict[str, Any]], memory: float) -> float:
    """At which size all of the memory would be taken, by the growth between the largest two."""
    (a, b) = rows[-2:]
    power = math.log(b["bytes"] / a["bytes"]) / math.log(b["size"] / a["size"])
    return b["size"] * (memory / b["bytes"]) ** (1 / power)


def as_table(record: dict[str, Any]) -> str:
    """The record in Markdown."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores, "
        f"{record['memory'] / 2**30:.0f} GiB; jax {record['jax']}; commit {record['commit']}.",
        "",
        "| | size | memory | all pairs at once | time | all pairs at once | these run out at |",
        "|---|---|---|---|---|---|---|",
    ]

    def mib(row: dict[str, Any]) -> str:
        size = row["bytes"] / 2**20
        return f"{size:,.0f} MiB" if size >= 100 else f"{size:.3g} MiB"

    def seconds(row: dict[str, Any]) -> str:
        return f"{row['seconds']:.3g} s" if "seconds" in row else "not run"

    for name, part in record["parts"].items():
        out = float(f"{part['exhausted_at']:.2g}")
        for own, whole in zip(part["bounded"][-2:], part["whole"][-2:], strict=True):
            lines.append(
                f"| {name} | {own['size']:,} {part['size_of']} | {mib(own)} | {mib(whole)} | "
                f"{seconds(own)} | {seconds(whole)} | {out:,.0f} |"
            )
    return "\n".join(lines) + "\n"


def plot(path: Path, record: dict[str, Any]) -> None:
    """Memory above, time below, against size; a column a part."""
    from vaejax.visualization.plots.grids_and_curves import INK, LINES, load_pyplot

    pyplot = load_pyplot()
    parts = record["parts"]
    figure, axes = pyplot.subplots(
        2, len(parts), figsize=(3 * len(parts), 5), layout="constrained", squeeze=False
    )
    colours = {"bounded": LINES["train"], "whole": LINES["eval"]}
    labels = {"bounded": "vaejax", "whole": "all pairs at once"}
    for column, (name, part) in enumerate(parts.items()):
        for form, colour in colours.items():
            rows = part[form]
            sizes = [row["size"] for row in rows]
            high = [max(row["bytes"], 1) / 2**20 for row in rows]
            axes[0, column].loglog(sizes, high, "o-", color=colour, ms=3, label=labels[form])
            timed = [row for row in rows if "seconds" in row]
            axes[1, column].loglog(
                [row["size"] for row in timed], [row["seconds"] for row in timed], "o-",
                color=colour, ms=3,
            )  # fmt: skip
        axes[0, column].axhline(record["memory"] / 2**20, color=INK, lw=0.8, ls=":")
        axes[0, column].set_title(name, fontsize=9)
        axes[1, column].set_xlabel(part["size_of"], fontsize=8)
    axes[0, 0].set_ylabel("MiB beyond the inputs", fontsize=8)
    axes[1, 0].set_ylabel("seconds", fontsize=8)
    axes[0, 0].legend(loc="center right", fontsize=7, frameon=False)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    stats = jax.devices()[0].memory_stats() or {}
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = stats.get("bytes_limit", host)
    record: dict[str, Any] = {**machine(), "memory": memory, "parts": {}}
    for name, part in PARTS.items():
        forms: dict[str, list[dict[str, Any]]] = {"bounded": [], "whole": []}
        for whole, rows in zip((False, True), forms.values(), strict=True):
            timed = True
            for size in part.sizes:
                row = _measure(part, size, whole, timed=timed, most=memory / 2)
                timed = row.get("seconds", math.inf) < _SECONDS.value / 4
                rows.append(row)
                print(f"{name}, {'all at once' if whole else 'bounded'}: {row}", flush=True)
        record["parts"][name] = {
            "size_of": part.size_of,
            "exhausted_at": _exhausted(forms["whole"], memory),
            **forms,
        }
    stem = f"memory-{str(record['device']).lower().replace(' ', '-')}"
    (RESULTS / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    (RESULTS / f"{stem}.md").write_text(as_table(record))
    plot(RESULTS / f"{stem}.png", record)
    print("\n" + as_table(record))


if __name__ == "__main__":
    app.run(main)
