"""A family, its data and a mesh, made into two compiled programs."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family
from vaejax.core.rng import DATA, key_of
from vaejax.core.sharding import (
    batch_sharding,
    check_batch,
    make_mesh,
    put,
    replicated,
    tree_sharding,
)
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.training.batch_loader import Feed
from vaejax.training.settings import Settings, Span
from vaejax.training.train_step import Figures, TrainState, init_state, make_step

Step = Callable[[TrainState, jax.Array], tuple[TrainState, Figures, jax.Array]]


def compiled_loop(run: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`run` of a state that is donated, ..., and `n` steps, jitted with `options`.

    On CPU one program takes any n. An accelerator would ask the host before every round of such a
    loop whether there is another; there each n has a program of its own. They are few: a dispatch
    is shorter than the others only where something is due.
    """
    fixed = () if jax.default_backend() == "cpu" else ("n",)
    return jax.jit(run, donate_argnums=0, static_argnames=fixed, **options)


def several(step: Step, most: int) -> Callable[[TrainState, Any], tuple[TrainState, Figures]]:
    """`(state, n) -> (state, figures)`: n steps, at most `most`, and the mean of those taken.

    Args:
      step: `(state, number in the dispatch) -> (state, figures, whether the step was taken)`.
      most: at 1 there is no loop, since XLA compiles plain convolutions badly in one on CPU.
    """

    def run(state: TrainState, n: Any) -> tuple[TrainState, Figures]:
        if most == 1:
            state, named, _ = step(state, jnp.zeros((), jnp.int32))
            return state, named

        def body(i: jax.Array, carry: Any) -> Any:
            state, sums, taken = carry
            state, named, ok = step(state, i)
            sums = {k: v + jnp.where(ok, named[k], 0.0) for k, v in sums.items()}
            return state, sums, taken + ok.astype(jnp.float32)

        named = jax.eval_shape(step, state, jnp.int32(0))[1]
        zeros = {k: jnp.zeros(v.shape, v.dtype) for k, v in named.items()}
        state, sums, taken = jax.lax.fori_loop(0, n, body, (state, zeros, jnp.zeros(())))
        return state, {k: v / taken for k, v in sums.items()}  # nan where no step was taken

    return run


class Trainable(Protocol):
    """What `fit` drives: a `Trainer`, or a `Sweep` of many models.

    Attributes:
      state_shape: shapes, dtypes and shardings of the state.
      feed: the batches.
      init: the state before the first step.
    """

    state_shape: TrainState
    feed: Any
    init: Callable[[], TrainState]

    def dispatch(self, state: TrainState, span: Span, chunk: Any) -> tuple[TrainState, Any]:
        """Starts the steps of a span; returns the state after them and their mean metrics."""

    def records(self, named: Mapping[str, Any]) -> list[tuple[dict[str, Any], dict[str, float]]]:
        """For each model: which of the sweep it is (`{}` for a single one), and its metrics."""

    def overall(self, named: Mapping[str, Any]) -> dict[str, float]:
        """One number per metric, for the progress line and to rank checkpoints."""


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
        condition_dropout: float = 0.0,
        mesh: jax.sharding.Mesh | None = None,
        rules: Mapping[str, tuple[str | None, ...]] | None = None,
    ) -> None:
        mesh = make_mesh() if mesh is None else mesh
        check_batch(mesh, settings.batch_size, settings.accumulate)
        self.feed = Feed(source, seed, settings.batch_size, settings.steps_per_dispatch, mesh)
        self._seed = seed
        prepare = preparation(source, binarize, condition_dropout=condition_dropout)
        step_fn = make_step(family, ema_decay=settings.ema_decay, accumulate=settings.accumulate)
        everywhere, spread = replicated(mesh), batch_sharding(mesh)

        def one(data: Any, chunk: Any, state: TrainState, i: jax.Array) -> Any:
            rows = self.feed.rows(data, chunk, i)
            rows = jax.lax.with_sharding_constraint(rows, spread)
            return step_fn(state, prepare(rows, key_of(seed, DATA, state.step)), seed)

        def run(state: TrainState, data: Any, chunk: Any, n: jax.Array) -> tuple[TrainState, Any]:
            each = functools.partial(one, data, chunk)
            return several(each, settings.steps_per_dispatch)(state, n)

        first = put(spread, self.feed.first())

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
        self.run = compiled_loop(run, out_shardings=(sharding, everywhere))

    def dispatch(self, state: TrainState, span: Span, chunk: Any) -> tuple[TrainState, Any]:
        """Starts the steps of a span; returns the state after them and their mean figures."""
        return self.run(state, self.feed.data, chunk, np.int32(span[1] - span[0]))

    def records(self, named: Mapping[str, Any]) -> list[tuple[dict[str, Any], dict[str, float]]]:
        """Of each model, which of several it is and its figures: here there is one."""
        return [({}, {k: float(v) for k, v in named.items()})]

    def overall(self, named: Mapping[str, Any]) -> dict[str, float]:
        """One number a figure, for a line of progress and to tell the best checkpoint."""
        return {k: float(v) for k, v in named.items()}
