"""Time and memory of computations over all pairs, as a function of size.

  python -m benchmarks.memory [--repeats=3] [--seconds=10]

Compares the library's implementation, whose memory is bounded, with a plain one that keeps all
pairs in memory, for four computations: nearest codes (tokens against 8,192 codes of 64 dimensions),
squared MMD with its gradient (points of 10 dimensions), the total correlation of a batch by
weighted sampling with its gradient (10 dimensions), and importance sampling (samples of z for 100
images, an MLP). Memory is the temporary memory of the compiled program as reported by the compiler,
so it is known even for sizes that cannot run. Time is the minimum of the repeats, for sizes up to
the one that takes longer than a quarter of `--seconds` or more than half of the machine's memory.

Writes `results/memory-<device>.json`, `.md` and `.png`.
"""

import functools
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

from vaejax.distributions import Normal
from vaejax.evaluation.likelihood import log_likelihood
from vaejax.families import beta_vae
from vaejax.losses.aggregate_posterior import _log_weights, log_aggregate
from vaejax.losses.mmd import squared_mmd
from vaejax.quantizers.nearest_neighbors import nearest

from .machine import machine
from .paths import result_path
from .records import write_record

__all__ = ["main"]

_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed calls of each size.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Longest call.")

_UNLIMITED = 2**62  # elements; above any size here, so that nothing is split into blocks
_Program = Callable[..., Any]


class _Computation(NamedTuple):
    """A computation over all pairs.

    Attributes:
      size_of: what the size counts.
      sizes: to measure.
      make: `(size, plain) -> (program, inputs)`.
    """

    size_of: str
    sizes: tuple[int, ...]
    make: Callable[[int, bool], tuple[_Program, tuple[Any, ...]]]


def _normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def _search(size: int, plain: bool) -> tuple[_Program, tuple[Any, ...]]:
    def plain_search(x: jax.Array, codes: jax.Array) -> jax.Array:
        return jnp.argmin(0.5 * jnp.square(codes).sum(axis=1)[None] - x @ codes.T, axis=1)

    return (plain_search if plain else nearest), (_normal(0, size, 64), _normal(1, 8192, 64))


def _mmd(size: int, plain: bool) -> tuple[_Program, tuple[Any, ...]]:
    f = functools.partial(squared_mmd, **({"max_pairs": _UNLIMITED} if plain else {}))
    return jax.value_and_grad(f), (_normal(0, size, 10), _normal(1, size, 10))


def _total_correlation(size: int, plain: bool) -> tuple[_Program, tuple[Any, ...]]:
    def f(loc: jax.Array, scale: jax.Array, noise: jax.Array) -> jax.Array:
        weights = _log_weights(size, 10 * size, "weighted")
        limit = {"max_elements": _UNLIMITED} if plain else {}
        joint, marginals = log_aggregate(Normal(loc, scale), loc + scale * noise, weights, **limit)
        return (joint - marginals.sum(axis=1)).mean()

    inputs = _normal(0, size, 10), jnp.full((size, 10), 0.3), _normal(1, size, 10)
    return jax.value_and_grad(f, (0, 1)), inputs


def _importance(size: int, plain: bool) -> tuple[_Program, tuple[Any, ...]]:
    family = beta_vae(
        (28, 28, 1), {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(0.1))}, latent_dim=50,
        network={"kind": "mlp", "hidden": (200, 200)},
    )  # fmt: skip
    batch = {"image": (_normal(0, 100, 28, 28, 1) > 1).astype(jnp.float32)}
    params = family.model.init(jax.random.key(0), batch)
    estimate = log_likelihood(family.model, size, size if plain else 50)
    return estimate, (params, batch, jax.random.key(1))


def _powers(first: int, stop: int) -> tuple[int, ...]:
    return tuple(2**i for i in range(first, stop, 2))


_COMPUTATIONS = {
    "nearest codes": _Computation("tokens", _powers(10, 21), _search),
    "squared MMD": _Computation("points of each sample", _powers(8, 18), _mmd),
    "total correlation": _Computation("batch", _powers(7, 16), _total_correlation),
    "importance sampling": _Computation("draws", (50, 200, 800, 3200, 12_800), _importance),
}


def _measure(
    computation: _Computation, size: int, plain: bool, *, timed: bool, max_bytes: float
) -> dict[str, Any]:
    """Temporary memory in bytes and, if `timed` and below `max_bytes`, seconds."""
    program, inputs = computation.make(size, plain)
    compiled = jax.jit(program).lower(*inputs).compile()
    analysis = compiled.memory_analysis()
    row: dict[str, Any] = {"size": size, "bytes": analysis.temp_size_in_bytes}
    if timed and row["bytes"] < max_bytes:
        times = []
        for _ in range(_REPEATS.value):
            start = time.perf_counter()
            jax.block_until_ready(compiled(*inputs))
            times.append(time.perf_counter() - start)
            if times[-1] > _SECONDS.value:
                break
        row["seconds"] = min(times)
    return row


def _exhausting_size(rows: list[dict[str, Any]], memory: float) -> float:
    """The size that would need all of the memory, extrapolated from the largest two sizes."""
    a, b = rows[-2:]
    power = math.log(b["bytes"] / a["bytes"]) / math.log(b["size"] / a["size"])
    return b["size"] * (memory / b["bytes"]) ** (1 / power)


def _as_table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores, "
        f"{record['memory'] / 2**30:.0f} GiB; jax {record['jax']}; commit {record['commit']}.",
        "",
        "| | size | memory | of all pairs | time | of all pairs | all pairs exhaust memory at |",
        "|---|---|---|---|---|---|---|",
    ]

    def mib(row: dict[str, Any]) -> str:
        size = row["bytes"] / 2**20
        return f"{size:,.0f} MiB" if size >= 100 else f"{size:.3g} MiB"

    def seconds(row: dict[str, Any]) -> str:
        return f"{row['seconds']:.3g} s" if "seconds" in row else "not run"

    for name, part in record["parts"].items():
        limit = float(f"{part['exhausted_at']:.2g}")
        for bounded, plain in zip(part["bounded"][-2:], part["whole"][-2:], strict=True):
            lines.append(
                f"| {name} | {bounded['size']:,} {part['size_of']} | {mib(bounded)} | "
                f"{mib(plain)} | {seconds(bounded)} | {seconds(plain)} | {limit:,.0f} |"
            )
    return "\n".join(lines) + "\n"


def _plot(path: Path, record: dict[str, Any]) -> None:
    """Memory (top) and time (bottom) against size; a column per computation."""
    from vaejax.visualization.plots import INK, LINES, load_pyplot

    pyplot = load_pyplot()
    parts = record["parts"]
    figure, axes = pyplot.subplots(
        2, len(parts), figsize=(3 * len(parts), 5), layout="constrained", squeeze=False
    )
    colours = {"bounded": LINES["train"], "whole": LINES["eval"]}
    labels = {"bounded": "vaejax", "whole": "all pairs in memory"}
    for column, (name, part) in enumerate(parts.items()):
        for implementation, colour in colours.items():
            rows = part[implementation]
            sizes = [row["size"] for row in rows]
            mib = [max(row["bytes"], 1) / 2**20 for row in rows]
            axes[0, column].loglog(
                sizes, mib, "o-", color=colour, ms=3, label=labels[implementation]
            )
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
    for name, computation in _COMPUTATIONS.items():
        measured: dict[str, list[dict[str, Any]]] = {"bounded": [], "whole": []}
        for plain, rows in zip((False, True), measured.values(), strict=True):
            timed = True
            for size in computation.sizes:
                row = _measure(computation, size, plain, timed=timed, max_bytes=memory / 2)
                timed = row.get("seconds", math.inf) < _SECONDS.value / 4
                rows.append(row)
                print(f"{name}, {'all pairs' if plain else 'bounded'}: {row}", flush=True)
        record["parts"][name] = {
            "size_of": computation.size_of,
            "exhausted_at": _exhausting_size(measured["whole"], memory),
            **measured,
        }
    path = result_path(f"memory-{str(record['device']).lower().replace(' ', '-')}.json")
    write_record(path, record, _as_table(record))
    _plot(path.with_suffix(".png"), record)
    print("\n" + _as_table(record))


if __name__ == "__main__":
    app.run(main)
