"""`Trainer`: a family, its data and a mesh as two compiled programs."""

import functools
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family, Params
from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import (
    batch_sharding,
    check_batch,
    make_mesh,
    replicated,
    tree_sharding,
)
from vaejax.core.tensor_axis import using_mesh
from vaejax.core.types import Options, PyTree
from vaejax.data import Source
from vaejax.data.augment import Augmentation
from vaejax.data.preprocess import preparation
from vaejax.training.batch_loader import BatchLoader
from vaejax.training.settings import Settings, Span
from vaejax.training.train_step import Metrics, TrainState, init_state, make_step

__all__ = [
    "CONSECUTIVE",
    "Trainable",
    "Trainer",
    "counters",
    "jit_dispatch",
    "jit_once",
    "numbers",
    "repeat_step",
]

CONSECUTIVE = "consecutive_skipped"  # of a dispatch's metrics; not part of the records

Count = int | jax.Array  # of steps; traced or not
# (state, number of the step in the dispatch) -> (state, metrics, whether the step was taken)
Step = Callable[[TrainState, jax.Array], tuple[TrainState, Metrics, jax.Array]]


def jit_dispatch(run: Callable[..., PyTree], **options: PyTree) -> jax.stages.Wrapped:
    """`jax.jit(run)` of `run(state, ..., n)`, the state donated; `n` is the number of steps.

    On CPU one program serves every n. On an accelerator a loop of unknown length would synchronise
    with the host in every iteration, so each n gets a program of its own. These are few: a dispatch
    is shorter than the others only where it ends at a step that logs or saves.
    """
    static = () if jax.default_backend() == "cpu" else ("n",)
    return jax.jit(run, donate_argnums=0, static_argnames=static, **options)


def jit_once(function: Callable[..., PyTree], **options: PyTree) -> Callable[..., PyTree]:
    """`jax.jit` of what runs once: on CPU, XLA compiles it without optimisation.

    The initial state of a convolutional VQ-VAE then compiles in 6 s of processor time instead of
    14, and is computed in 0.15 s instead of 0.09.
    """
    if jax.default_backend() == "cpu":
        options |= {"compiler_options": {"xla_backend_optimization_level": 0}}
    return jax.jit(function, **options)


def repeat_step(
    step: Step, max_steps: int
) -> Callable[[TrainState, Count], tuple[TrainState, Metrics]]:
    """The function `(state, n) -> (state, mean metrics)` that takes n steps.

    The means are over the steps that were taken; NaN if all n were skipped.

    Args:
      step: see `Step`.
      max_steps: the largest n. At 1 there is no loop, since XLA compiles plain convolutions badly
        inside a loop on CPU.
    """

    def run(state: TrainState, n: Count) -> tuple[TrainState, Metrics]:
        if max_steps == 1:
            state, metrics, _ = step(state, jnp.zeros((), jnp.int32))
            return state, metrics

        # Traced once, for the shapes and for the loop, whose i would be of a weak type.
        traced = jax.jit(step, inline=True)

        def body(i: jax.Array, carry: PyTree) -> PyTree:
            state, sums, count = carry
            state, metrics, taken = traced(state, jnp.asarray(i, jnp.int32))
            sums = {k: v + jnp.where(taken, metrics[k], 0.0) for k, v in sums.items()}
            return state, sums, count + taken.astype(jnp.float32)

        shapes = jax.eval_shape(traced, state, jnp.int32(0))[1]
        zeros = {k: jnp.zeros(v.shape, v.dtype) for k, v in shapes.items()}
        state, sums, count = jax.lax.fori_loop(0, n, body, (state, zeros, jnp.zeros(())))
        return state, {k: v / count for k, v in sums.items()}

    return run


def counters(state: TrainState) -> Metrics:
    """The metrics that count skipped steps: `skipped`, of all steps so far, and `CONSECUTIVE`."""
    # Arrays of their own: the next dispatch reuses those of the state.
    return {"skipped": state.total_skipped + 0, CONSECUTIVE: state.skipped + 0}


def numbers(metrics: Options) -> dict[str, float]:
    """Metrics as Python's numbers; counts are integers."""
    return {k: np.asarray(v).item() for k, v in metrics.items()}


class Trainable(Protocol):
    """The interface that `fit` uses, of a `Trainer` or of a `Sweep` of many models.

    Attributes:
      state_shape: shapes, dtypes and shardings of the state.
      init: the state before the first step.
    """

    state_shape: TrainState
    init: Callable[[], TrainState]

    @property
    def loader(self) -> BatchLoader:
        """The batches."""

    def compile(self) -> None:
        """Compiles the dispatch for any number of steps, on CPU; the first dispatch then does not.

        With a state of the shapes and shardings of `state_shape`.
        """

    def dispatch(
        self, state: TrainState, span: Span, batches: PyTree
    ) -> tuple[TrainState, Metrics]:
        """Starts the steps of a span; returns the state after them and their mean metrics."""

    def records(self, metrics: Options) -> list[tuple[Options, dict[str, float]]]:
        """For each model its identity in the sweep (`{}` without a sweep), and its metrics."""

    def overall(self, metrics: Options) -> dict[str, float]:
        """One number per metric, for the progress line and for ranking checkpoints."""


class Trainer:
    """A family, its data and a mesh, compiled.

    Attributes:
      state_shape: shapes, dtypes and shardings of the state.
      loader: the batches.
      initial: values of some parameters of this state, see `init_state`.
      init: the state before the first step.
      run: the compiled dispatch `(state, loader.data, batches, n) -> (state, mean metrics)`.
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
        augment: Augmentation | None = None,
        mesh: jax.sharding.Mesh | None = None,
        rules: Mapping[str, tuple[str | None, ...]] | None = None,
    ) -> None:
        """Traces the initialisation; compiles nothing yet.

        Args:
          family: the family to train.
          source: training data.
          settings: of training.
          seed: of initialisation, batches and noise.
          binarize: see `preprocess.preparation`.
          condition_dropout: see `preprocess.preparation`.
          augment: see `preprocess.preparation`.
          mesh: devices; default all.
          rules: shardings of the state by path, see `core.sharding.tree_sharding`.
        """
        mesh = make_mesh() if mesh is None else mesh
        check_batch(mesh, settings.batch_size, settings.grad_accumulation_steps)
        per_dispatch = settings.steps_per_dispatch
        self.loader = BatchLoader(source, seed, settings.batch_size, per_dispatch, mesh)
        prepare = preparation(
            source, binarize, condition_dropout=condition_dropout, augment=augment
        )
        step_fn = make_step(
            family,
            ema_decay=settings.ema_decay,
            grad_accumulation_steps=settings.grad_accumulation_steps,
        )
        everywhere, over_examples = replicated(mesh), batch_sharding(mesh)

        def step(data: PyTree, batches: PyTree, state: TrainState, i: jax.Array) -> PyTree:
            rows = self.loader.rows(data, batches, i)
            rows = jax.lax.with_sharding_constraint(rows, over_examples)
            with using_mesh(mesh):
                return step_fn(state, prepare(rows, key_of(seed, Stream.DATA, state.step)), seed)

        def run(
            state: TrainState, data: PyTree, batches: PyTree, n: Count
        ) -> tuple[TrainState, Metrics]:
            steps = repeat_step(functools.partial(step, data, batches), per_dispatch)
            state, metrics = steps(state, n)
            return state, {**metrics, **counters(state)}

        def init(rows: PyTree, initial: Params) -> TrainState:
            batch = prepare(rows, key_of(seed, Stream.DATA))
            with using_mesh(mesh):
                return init_state(family, seed, batch, settings.ema_decay, initial)

        first_batch = self.loader.first_batch()
        traced = jax.jit(init)  # traced once, for the shapes and for the program below
        shape = jax.eval_shape(traced, first_batch, {})
        sharding = tree_sharding(mesh, shape, rules)
        self.state_shape = jax.tree.map(
            lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at), shape, sharding
        )
        compiled_init = jit_once(lambda *args: traced(*args), out_shardings=sharding)
        self.initial: Params = {}
        self.init: Callable[[], TrainState] = lambda: compiled_init(first_batch, self.initial)
        self.run = jit_dispatch(run, out_shardings=(sharding, everywhere))

    def compile(self) -> None:
        """Compiles `run` for any number of steps, on CPU; the first dispatch then does not."""
        batches = self.loader.shapes()
        self.run.lower(self.state_shape, self.loader.data, batches, np.int32(1)).compile()

    def dispatch(
        self, state: TrainState, span: Span, batches: PyTree
    ) -> tuple[TrainState, Metrics]:
        """Starts the steps of a span; returns the state after them and their mean metrics."""
        return self.run(state, self.loader.data, batches, np.int32(span[1] - span[0]))

    def records(self, metrics: Options) -> list[tuple[Options, dict[str, float]]]:
        """The metrics of the single model, without an identity."""
        return [({}, numbers(metrics))]

    def overall(self, metrics: Options) -> dict[str, float]:
        """The metrics as Python's numbers."""
        return numbers(metrics)
