"""One start of the command up to its first 20 steps, in this process; see `benchmarks.start`.

  python -m benchmarks.first_step STARTED FLAGS...

STARTED is the time at which this process was started, in seconds since the epoch; FLAGS are those
of `python -m vaejax.main`. The last line printed is the record as JSON; the process then ends,
whatever the command would do next.
"""

import json
import os
import runpy
import sys
import time
from collections import defaultdict
from typing import Any, NoReturn

__all__ = ["main"]

STEPS = 20
_EVENTS = {  # of jax.monitoring
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
    "/jax/compilation_cache/cache_retrieval_time_sec": "reading the cache",
}


def main(started: float, arguments: list[str]) -> None:
    """Runs the command with `arguments` and reports its first `STEPS` steps."""
    imported = time.time()
    # As if Python had been started with `-m vaejax.main`, which `core.startup` looks for.
    sys.argv, sys.orig_argv = ["-m"], [sys.executable, "-m", "vaejax.main", *arguments]
    import jax

    import vaejax.experiment.run
    from vaejax.training import Trainer

    del vaejax
    parts: dict[str, float] = defaultdict(float)
    parts["python"], parts["imports"] = imported - started, time.time() - imported
    programs = 0

    def listen(event: str, seconds: float, **_: Any) -> None:
        nonlocal programs
        if event in _EVENTS:
            parts[_EVENTS[event]] += seconds
            programs += _EVENTS[event] == "compiling"

    dispatch, init, on_cpu = Trainer.dispatch, Trainer.__init__, jax.default_backend() == "cpu"

    def measured_init(self: Trainer, *args: Any, **kwargs: Any) -> None:
        parts.setdefault("until the trainer", time.time() - started)
        init(self, *args, **kwargs)

    def measured_dispatch(self: Trainer, state: Any, span: Any, batches: Any) -> Any:
        if "until the first dispatch" not in parts:
            parts["until the first dispatch"] = time.time() - started
            if on_cpu:  # where one program takes any number of steps
                state, _ = dispatch(self, state, (span[0], span[0] + 1), batches)
                jax.block_until_ready(state)
                parts["until the end of the first step"] = time.time() - started
                span = (span[0] + 1, span[1])
        result = dispatch(self, state, span, batches)
        if span[1] >= STEPS:
            jax.block_until_ready(result)
            report()
        return result

    def report() -> NoReturn:
        parts["until the end of the steps"] = time.time() - started
        record = {"parts": parts, "programs": programs, "processor": time.process_time()}
        print(json.dumps(record), flush=True)
        os._exit(0)

    jax.monitoring.register_event_duration_secs_listener(listen)
    Trainer.__init__, Trainer.dispatch = measured_init, measured_dispatch  # type: ignore[method-assign]
    sys.argv = ["vaejax.main", *arguments, f"--config.train.steps={STEPS}"]
    runpy.run_module("vaejax.main", run_name="__main__")


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
