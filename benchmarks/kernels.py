"""The kernels that take most of a program's time, from a trace of JAX's profiler."""

import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

__all__ = ["largest_kernels", "of_events"]


def of_events(events: Iterable[Mapping[str, Any]], count: int = 10) -> list[dict[str, Any]]:
    """The largest kernels among the events of a trace in Chrome's format.

    On an accelerator these are the events on its streams; on CPU those of XLA's threads, which run
    whole fusions.

    Args:
      events: `traceEvents`, durations in microseconds.
      count: how many to return.

    Returns:
      for each the name, the total milliseconds, the number of calls and the share of the time of
      all kernels, the largest first.
    """
    events = list(events)
    labels: dict[Any, str] = {}
    for event in events:
        if event.get("name") in ("process_name", "thread_name"):
            at = event["pid"], event.get("tid") if event["name"] == "thread_name" else None
            labels[at] = event["args"]["name"]
    accelerator = any("/device:" in label for (_, thread), label in labels.items() if not thread)

    def is_kernel(event: Mapping[str, Any]) -> bool:
        process = labels.get((event["pid"], None), "")
        thread = labels.get((event["pid"], event.get("tid")), "")
        if accelerator:
            return "/device:" in process and (thread.startswith("Stream") or thread == "XLA Ops")
        return thread.startswith("tf_XLA") and "::" not in event["name"]

    seconds: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("ph") == "X" and is_kernel(event):
            seconds[event["name"]].append(event["dur"])
    whole = sum(map(sum, seconds.values()))
    rows = sorted(seconds.items(), key=lambda item: -sum(item[1]))[:count]
    return [
        {"name": name, "ms": sum(d) / 1e3, "calls": len(d), "share": sum(d) / whole}
        for name, d in rows
    ]


def largest_kernels(run: Callable[[], Any], count: int = 10) -> list[dict[str, Any]]:
    """Traces a call of `run`, which is compiled already, and returns its largest kernels."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run())
        (file,) = Path(folder).rglob("*.trace.json.gz")
        trace = json.loads(gzip.decompress(file.read_bytes()))
    return of_events(trace["traceEvents"], count)
