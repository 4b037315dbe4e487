"""A process of `benchmarks.scaling`; it prints its result as JSON in the last line.

python -m benchmarks.scaling_worker compile CONFIG DEVICES FSDP
python -m benchmarks.scaling_worker train CONFIG PROCESSES NUMBER PORT CORE
"""

import dataclasses
import json
import os
import statistics
import sys
import time
from typing import Any

import jax
import numpy as np

from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import batch_sharding, make_mesh, replicated, tree_sharding
from vaejax.core.tensor_axis import using_mesh
from vaejax.data.preprocess import preparation
from vaejax.networks.ops.conv2d import using_implementation
from vaejax.training import Trainer
from vaejax.training.train_step import init_state, make_step

from .collectives import collectives_of
from .configured import load
from .flops import products

__all__: list[str] = []


def _compile(name: str, devices: int, fsdp: int) -> dict[str, Any]:
    """FLOPs of a device, collectives and batch size of a step on a mesh, which does not run."""
    configured = load(name)
    assert configured is not None
    family, source, settings, binarize = configured
    mesh, prepare = make_mesh(-1, fsdp), preparation(source, binarize)
    size = settings.batch_size * devices
    step = make_step(family, ema_decay=settings.ema_decay)

    @using_implementation("blocks")  # of convolutions on accelerators
    def train(state: Any, rows: Any) -> Any:
        with using_mesh(mesh):
            return step(state, prepare(rows, key_of(0, Stream.DATA, state.step)), 0)

    one = source.take(np.zeros(1, np.int32))
    over_examples = batch_sharding(mesh)
    rows = {
        k: jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype, sharding=over_examples)
        for k, a in one.items()
    }
    shape = jax.eval_shape(
        lambda r: init_state(family, 0, prepare(r, key_of(0, Stream.DATA)), settings.ema_decay),
        rows,
    )
    sharding = tree_sharding(mesh, shape)
    state = jax.tree.map(
        lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at), shape, sharding
    )
    everywhere = replicated(mesh)
    traced = jax.jit(train, out_shardings=(sharding, everywhere, everywhere)).trace(state, rows)
    # Collectives are decided before machine code is generated, which needs no optimisation here.
    options: dict[str, Any] = {"xla_backend_optimization_level": 0}
    compiled = traced.lower().compile(compiler_options=options)
    jaxpr = traced.jaxpr.jaxpr
    # The compiler counts a loop's body once.
    repeated = (products(jaxpr) - products(jaxpr, loops_once=True)) / devices
    flops = (compiled.cost_analysis() or {}).get("flops", 0.0) + repeated
    found = collectives_of(compiled.as_text(), devices)
    return {"flops": flops, "batch_size": size, "collectives": found}


def _train(name: str, count: int, number: int, port: int, core: int) -> float:
    """Seconds per step of a process on one core."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", count, number)
    configured = load(name)
    assert configured is not None
    family, source, settings, binarize = configured
    settings = dataclasses.replace(settings, batch_size=settings.batch_size * count)
    n = min(settings.steps_per_dispatch, 20)
    settings = dataclasses.replace(settings, steps_per_dispatch=n)
    trainer = Trainer(family, source, settings, binarize=binarize, mesh=make_mesh())
    state, seconds = trainer.init(), []
    batches = trainer.loader.batches([(i * n, (i + 1) * n) for i in range(6)])
    for span, indices in batches:
        start = time.perf_counter()
        state, metrics = trainer.dispatch(state, span, indices)
        jax.block_until_ready((state, metrics))
        seconds.append((time.perf_counter() - start) / n)
    return statistics.median(seconds[1:])  # the first compiles


if __name__ == "__main__":
    mode, config, *values = sys.argv[1:]
    run = {"compile": _compile, "train": _train}[mode]
    print(json.dumps(run(config, *map(int, values))))
