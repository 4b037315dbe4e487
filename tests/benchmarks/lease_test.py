"""The list of `benchmarks.accelerator`, and the kernels of a trace."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from benchmarks.kernels import largest_kernels, of_events
from benchmarks.lease import PARTS, Part, remaining


def test_every_part_is_a_module():
    for part in PARTS.values():
        assert importlib.util.find_spec(part.module) is not None


def test_finished_parts_are_not_run_again_and_others_are():
    parts = {name: Part("json") for name in "abcd"} | {"e": Part("json", needs="no_such_package")}
    record = {
        "a": {"state": "finished", "commit": "1"},
        "b": {"state": "finished", "commit": "0"},
        "c": {"state": "stopped", "commit": "1"},
    }
    assert list(remaining(parts, record, "1")) == ["b", "c", "d"]


def label(kind, pid, tid, name):
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def event(pid, tid, name, microseconds):
    return {"ph": "X", "pid": pid, "tid": tid, "name": name, "dur": microseconds}


def test_kernels_of_an_accelerator():
    events = [
        label("process_name", 1, 0, "/device:GPU:0"), label("process_name", 2, 0, "/host:CPU"),
        label("thread_name", 1, 5, "Stream #1(Compute)"), label("thread_name", 1, 6, "XLA Modules"),
        label("thread_name", 2, 7, "python"),
        event(1, 5, "gemm", 3000.0), event(1, 5, "add", 500.0), event(1, 5, "gemm", 4500.0),
        event(1, 6, "jit_step", 9000.0), event(2, 7, "dispatch", 9000.0),
    ]  # fmt: skip
    rows = of_events(events)
    assert [(row["name"], row["ms"], row["calls"]) for row in rows] == [
        ("gemm", 7.5, 2), ("add", 0.5, 1)
    ]  # fmt: skip
    assert rows[0]["share"] == pytest.approx(7.5 / 8)
    assert [row["name"] for row in of_events(events, count=1)] == ["gemm"]


def test_a_trace_of_this_machine():
    run = jax.jit(lambda x: jnp.tanh(x @ x).sum())
    x = jnp.ones((400, 400))
    run(x).block_until_ready()
    rows = largest_kernels(lambda: run(x))
    assert rows
    assert sum(row["share"] for row in rows) == pytest.approx(1.0, abs=0.2)
