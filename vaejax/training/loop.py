"""The training loop: a few dozen steps a dispatch, and what happens between dispatches.

In order, after each dispatch: figures of the one before are read while this one runs; at a log
step a record is written; at a checkpoint step the model is evaluated and the state saved. All of
these steps are functions of the settings alone, so a run that is killed and goes on from its last
checkpoint ends in the same state, to the bit, and leaves the same records.
"""

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.data import Source
from vaejax.data.preparation import preparation
from vaejax.game import Family, Params
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.feed import Feed, Span
from vaejax.training.logs import Log, Progress
from vaejax.training.sharding import (
    batch_sharding,
    check_batch,
    make_mesh,
    replicated,
    tree_sharding,
)
from vaejax.training.state import (
    DATA,
    TrainState,
    eval_params,
    init_state,
    key_of,
    make_step,
)

Evaluate = Callable[[Params, int], dict[str, float]]  # (params, step) -> figures


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
      steps: in all.
      batch_size: examples a step, over all devices.
      steps_per_dispatch: steps in one call of the compiled program. Many is faster, except for
        networks with plain convolutions on CPU, which XLA compiles badly inside a loop: 1.
      log_every: steps between records; a record is the mean over the last dispatch.
      checkpoint_every: steps between evaluations with a checkpoint; 0 for only at the end.
      keep_last: newest checkpoints to keep.
      keep_best: checkpoints of highest evaluated ELBO to keep as well.
      ema_decay: of the moving average of the weights, used for evaluation; 0 for none.
      accumulate: micro-batches that a batch is split into to save memory.
      max_skipped: steps in a row with a gradient that is not finite before training gives up.
    """

    steps: int = 3000
    batch_size: int = 128
    steps_per_dispatch: int = 20
    log_every: int = 100
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_best: int = 1
    ema_decay: float = 0.0
    accumulate: int = 1
    max_skipped: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "steps_per_dispatch", "log_every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, found {getattr(self, name)}")
        if self.checkpoint_every < 0 or self.keep_last < 1 or self.keep_best < 0:
            raise ValueError(
                "train.checkpoint_every and keep_best must be ≥ 0, keep_last ≥ 1, found "
                f"{self.checkpoint_every}, {self.keep_best}, {self.keep_last}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay must be in [0, 1), found {self.ema_decay}")

    def saves_at(self, step: int) -> bool:
        """Whether there is a checkpoint after this many steps."""
        return step == self.steps or bool(
            self.checkpoint_every and step % self.checkpoint_every == 0
        )

    def spans(self, start: int) -> list[Span]:
        """The dispatches from `start` on; each ends at the next step where anything is due."""
        every = [self.steps_per_dispatch, self.log_every, self.checkpoint_every]
        spans = []
        while start < self.steps:
            due = [start - start % n + n for n in every if n]
            spans.append((start, stop := min(*due, self.steps)))
            start = stop
        return spans


class Outcome(NamedTuple):
    """How training ended: the state, the steps a second, and whether a signal ended it early."""

    state: TrainState
    rate: float
    interrupted: bool


class NotFiniteError(FloatingPointError):
    """Too many steps in a row had a gradient that was not finite."""


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets, in place of ending the process in mid-write."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(s, lambda *_: event.set()) for s in signals]
    try:
        yield event
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)


class Trainer:
    """A family, its data and a mesh, compiled: what `fit` drives and benchmarks measure.

    Attributes:
      state_shape: shapes, dtypes and shardings of the state.
      feed: the batches.
    """

    def __init__(
        self,
        family: Family,
        source: Source,
        settings: Settings,
        *,
        seed: int = 0,
        binarize: str = "none",
        mesh: jax.sharding.Mesh | None = None,
        rules: Mapping[str, tuple[str | None, ...]] | None = None,
    ) -> None:
        mesh = make_mesh() if mesh is None else mesh
        check_batch(mesh, settings.batch_size, settings.accumulate)
        self.feed = Feed(source, seed, settings.batch_size, settings.steps_per_dispatch, mesh)
        self._seed = seed
        prepare = preparation(source, binarize)
        step_fn = make_step(family, ema_decay=settings.ema_decay, accumulate=settings.accumulate)
        everywhere, spread = replicated(mesh), batch_sharding(mesh)

        def one(state: TrainState, data: Any, chunk: Any, i: jax.Array) -> Any:
            rows = self.feed.rows(data, chunk, i)
            rows = jax.lax.with_sharding_constraint(rows, spread)
            return step_fn(state, prepare(rows, key_of(seed, DATA, state.step)), seed)

        def run(state: TrainState, data: Any, chunk: Any, n: jax.Array) -> tuple[TrainState, Any]:
            if settings.steps_per_dispatch == 1:  # no loop around plain convolutions on CPU
                state, named, _ = one(state, data, chunk, jnp.zeros((), jnp.int32))
                return state, named

            def body(i: jax.Array, carry: Any) -> Any:
                state, sums, taken = carry
                state, named, ok = one(state, data, chunk, i)
                sums = {k: v + jnp.where(ok, named[k], 0.0) for k, v in sums.items()}
                return state, sums, taken + ok.astype(jnp.float32)

            named = jax.eval_shape(one, state, data, chunk, n)[1]
            zeros = {k: jnp.zeros(v.shape, v.dtype) for k, v in named.items()}
            state, sums, taken = jax.lax.fori_loop(0, n, body, (state, zeros, jnp.zeros(())))
            return state, {k: v / taken for k, v in sums.items()}  # nan where no step was taken

        first = {k: jax.device_put(v, spread) for k, v in self.feed.first().items()}

        def init(rows: Any) -> TrainState:
            batch = prepare(rows, key_of(seed, DATA))
            return init_state(family, seed, batch, settings.ema_decay)

        shape = jax.eval_shape(init, first)
        sharding = tree_sharding(mesh, shape, rules)
        self.state_shape = jax.tree.map(
            lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at), shape, sharding
        )
        compiled_init = jax.jit(init, out_shardings=sharding)
        self.init: Callable[[], TrainState] = lambda: compiled_init(first)
        self.run = jax.jit(run, donate_argnums=0, out_shardings=(sharding, everywhere))

    def dispatch(self, state: TrainState, span: Span, chunk: Any) -> tuple[TrainState, Any]:
        """Starts the steps of a span; returns the state after them and their mean figures."""
        return self.run(state, self.feed.data, chunk, jnp.asarray(span[1] - span[0], jnp.int32))


def fit(
    trainer: Trainer,
    settings: Settings,
    *,
    workdir: Path | None = None,
    evaluate: Evaluate | None = None,
) -> Outcome:
    """Trains, from the newest checkpoint of `workdir` if it has one.

    Args:
      trainer: what to train.
      settings: those that the trainer was made with.
      workdir: where records and checkpoints go; None keeps none.
      evaluate: called at every checkpoint.

    Raises:
      NotFiniteError: after `max_skipped` steps in a row without a finite gradient.
      CorruptCheckpointError: the newest checkpoint is damaged.
    """
    checkpoints = None
    if workdir is not None:
        checkpoints = Checkpoints(workdir / "checkpoints", settings.keep_last, settings.keep_best)
    resumed = checkpoints is not None and checkpoints.latest() is not None
    state = checkpoints.restore(trainer.state_shape) if resumed and checkpoints else trainer.init()
    start = int(state.step)
    spans = settings.spans(start)
    if workdir is None or jax.process_index() > 0:
        log = progress = None
    else:
        log, progress = Log(workdir, start), Progress(settings.steps, start)

    began, done = time.perf_counter(), start
    pending: tuple[int, Any] | None = None

    def report() -> dict[str, float]:
        assert pending is not None
        named = {k: float(v) for k, v in jax.device_get(pending[1]).items()}
        if progress:
            progress.update(pending[0], named)
        return named

    try:
        with _interruption() as interrupted:
            for span, chunk in trainer.feed.chunks(spans):
                step = span[1]
                state, named = trainer.dispatch(state, span, chunk)
                if pending:
                    report()
                pending, done = (step, named), step
                logs, saves = step % settings.log_every == 0, settings.saves_at(step)
                if not (logs or saves or interrupted.is_set()):
                    continue
                record, pending = report(), None
                if (skipped := int(state.skipped)) >= settings.max_skipped:
                    raise NotFiniteError(
                        f"step {step}: the gradient was not finite in the last {skipped} steps "
                        f"(train.max_skipped={settings.max_skipped}); the parameters are those "
                        "before. A lower learning_rate or a clip_norm for the players may help"
                    )
                if log and logs:
                    log.write(step, "train", record)
                    log.board(step, {"steps_per_second": (step - start) / _since(began)})
                if saves:
                    judged = evaluate(eval_params(state), step) if evaluate else None
                    if log and judged:
                        log.write(step, "eval", judged)
                    if log:
                        log.flush()
                    if checkpoints:
                        checkpoints.save(step, state, judged)
                if interrupted.is_set():
                    if checkpoints and not saves:
                        if log:
                            log.flush()
                        checkpoints.save(step, state)
                    break
            stopped = interrupted.is_set() and done < settings.steps
            if checkpoints:
                checkpoints.wait()
    finally:
        for resource in (progress, log, checkpoints):
            if resource:
                resource.close()
    return Outcome(state, (done - start) / _since(began), stopped)


def _since(began: float) -> float:
    return max(time.perf_counter() - began, 1e-9)
