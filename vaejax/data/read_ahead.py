"""The rows of streamed sources, read ahead by Grain: in worker processes, or in threads.

A pipeline is a map over the numbers of the steps, so that its order does not depend on workers, and
there is no state to save.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker

import jax
import numpy as np
from absl import flags

from vaejax.core.types import PyTree, Untyped
from vaejax.data.source import Rows

__all__ = ["WorkerError", "available_cores", "chosen_workers", "has_grain", "read_ahead"]

_AHEAD = 4  # batches that each worker reads ahead
_NEVER = 2**62  # bytes of an array
_SMALL = 2**14  # bytes of a decoded example
_FEW_CORES = 4

_log = logging.getLogger(__name__)


class WorkerError(OSError):
    """A worker process ended early, as when the system ends it for want of memory."""


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chosen_workers(workers: int, row_bytes: int) -> int:
    """The number of processes that `data.workers` stands for; 0 for threads.

    Of small images most of the decoding is Python, and threads take turns. Of larger ones it is
    not, and sending them from a process to another costs as much as decoding a third to a half of
    them (`python -m benchmarks.input`), so that a few cores gain more from threads.

    Args:
      workers: the setting; −1 for a choice by the size of the examples.
      row_bytes: of a decoded example.
    """
    cores = available_cores()
    if workers >= 0:
        return workers
    return 0 if cores == 1 or (row_bytes >= _SMALL and cores <= _FEW_CORES) else cores


def has_grain(workers: int) -> bool:
    """Whether Grain is installed.

    Args:
      workers: that are asked for; -1 for as many as are of use.

    Raises:
      ImportError: it is not, and workers are asked for.
    """
    try:
        import grain  # noqa: F401
    except ImportError as error:
        text = f"reading in several processes or threads needs Grain ({error})"
        if workers > 0:
            raise ImportError(f"{text}: pip install 'vaejax[stream]'") from error
        _log.warning("%s: pip install 'vaejax[stream]'; reading in one thread", text)
        return False
    return True


def read_ahead(
    load: Callable[[int], Rows], steps: range, workers: int
) -> Generator[Rows, None, None]:
    """`load(step)` of consecutive steps in their order, read ahead.

    Closing the iterator ends the workers.

    Args:
      load: the rows of a step; with workers it is pickled.
      steps: consecutive numbers.
      workers: processes; 0 for threads in this process.

    Raises:
      WorkerError: a worker process ended early.
    """
    from grain import MapDataset, ReadOptions

    dataset = MapDataset.range(steps.start, steps.stop).map(load)
    if not workers:
        threads = available_cores()
        options = ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        iterator: Untyped = iter(dataset.to_iter_dataset(options))
        with contextlib.closing(iterator):
            yield from iterator
        return
    count = min(workers, len(steps))
    iterator = _in_workers(dataset, count)
    with contextlib.closing(iterator):
        with _without_main(), _silent_tracker(), _blocked(signal.SIGINT, signal.SIGTERM):
            first = [_next(iterator) for _ in range(count)]  # one of each worker: all have started
        yield from first
        for _ in range(len(steps) - count):
            yield _next(iterator)


def _in_workers(dataset: Untyped, count: int) -> Untyped:
    """The iterator of a pipeline in worker processes; none is started yet.

    Args:
      dataset: of all steps.
      count: number of workers, of which number i reads the steps i, i + count, ...
    """
    from grain import ReadOptions
    from grain.experimental import DatasetOptions, WithOptionsIterDataset
    from grain.multiprocessing import MultiprocessingOptions

    if not flags.FLAGS.is_parsed():  # of absl, whose flags Grain reads
        flags.FLAGS.mark_as_parsed()
    rows = dataset.to_iter_dataset(ReadOptions(num_threads=0, prefetch_buffer_size=0))
    # Shared memory, Grain's default, took 1.4 times the processor time of a pipe for images of
    # 128 × 128 pixels, since its pages are new for each batch; in many containers it has 64 MiB,
    # and a full one ends a process by a signal.
    rows = WithOptionsIterDataset(rows, DatasetOptions(min_shm_size=_NEVER))
    options = MultiprocessingOptions(num_workers=count, per_worker_buffer_size=_AHEAD)
    return iter(rows.mp_prefetch(options, worker_init_fn=_prepare_worker))


def _prepare_worker(number: int, count: int) -> None:
    """In a new worker: signals are for the training, whose end is also the worker's."""
    del number, count
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, signal.SIG_IGN)
    jax.config.update("jax_platforms", "cpu")  # should a source compute, not on an accelerator
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Untyped) -> None:
    parent.join()
    os._exit(0)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """New processes do not import the main module again.

    That would run a script that trains without `if __name__ == "__main__"` once more.
    """
    main = sys.modules.get("__main__")
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        if main is not None:
            sys.modules["__main__"] = main


@contextlib.contextmanager
def _silent_tracker() -> Iterator[None]:
    """Starts Python's process that removes what is left behind, without its warnings about it."""
    option = "ignore::UserWarning:multiprocessing.resource_tracker"
    sys.warnoptions.append(option)
    try:
        resource_tracker.ensure_running()
        yield
    finally:
        sys.warnoptions.remove(option)


@contextlib.contextmanager
def _blocked(*numbers: int) -> Iterator[None]:
    """Blocks signals in this thread, and for good in processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _next(iterator: Untyped) -> Rows:
    try:
        rows: PyTree = next(iterator)
    except RuntimeError as error:
        if "exit code" not in str(error):
            raise
        raise WorkerError(
            f"a process that reads the data ended early ({error}): it may have been out of memory; "
            "lower data.workers, or read in threads with data.workers=0"
        ) from error
    return {name: np.asarray(value) for name, value in rows.items()}
