"""Many models in one program: hyperparameters and seeds are arrays, mapped over by `jax.vmap`.

Models share data and training settings. Each sees the batches and the random keys that it would see
alone, and none touches another: a model that diverges is frozen while the others go on.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaejax.core.game import Family
from vaejax.core.rng import DATA, key_of
from vaejax.core.sharding import DATA as DATA_AXIS
from vaejax.core.sharding import FSDP, check_batch, make_mesh, put, replicated
from vaejax.data import Source
from vaejax.data.batches import batch_indices
from vaejax.data.preprocess import preparation
from vaejax.networks.ops import conv2d
from vaejax.sweeps.check_traceable import checked
from vaejax.sweeps.grid import Grid
from vaejax.training.batch_loader import Feed
from vaejax.training.settings import Settings, Span
from vaejax.training.train_step import TrainState, init_state, make_step
from vaejax.training.trainer import compiled_loop, several

Make = Callable[[Mapping[str, Any]], Family]  # values of the swept settings, maybe traced -> family

_SMALL = 2**16  # parameters; on CPU, where larger models fill the cores alone


def select(stack: Any, model: int) -> Any:
    """One model's part of a sweep's state, or of any tree whose arrays have a model axis first."""
    return jax.tree.map(lambda a: a[model], stack)


def over_models(f: Callable[..., Any], mesh: Mesh, chunk: int) -> Callable[..., Any]:
    """`f(own, shared)` of one model -> of a stack of models, `own` `[N, ...]`.

    The models are spread over all devices of the mesh. On each, `chunk` at once are mapped by
    `jax.vmap`, and the chunks follow one another; a chunk of 1 is `f` itself, one model after
    another.
    """
    axis = PartitionSpec((DATA_AXIS, FSDP))

    def here(own: Any, shared: Any) -> Any:
        count = len(jax.tree.leaves(own)[0])
        if chunk <= 1:
            return jax.lax.map(lambda one: f(one, shared), own)
        with conv2d.mapped():
            if chunk >= count:
                return jax.vmap(lambda one: f(one, shared))(own)
            return jax.lax.map(lambda one: f(one, shared), own, batch_size=chunk)

    spread = jax.shard_map(
        here, mesh=mesh, in_specs=(axis, PartitionSpec()), out_specs=axis, check_vma=False
    )

    def mapped(own: Any, shared: Any) -> Any:
        count = len(jax.tree.leaves(own)[0])
        # Each device gets as many: where the last ones have too few, copies of the last model.
        rows = np.minimum(np.arange(count + -count % mesh.size), count - 1)
        if len(rows) > count:
            own = jax.tree.map(lambda a: jnp.asarray(a)[rows], own)
        return jax.tree.map(lambda a: a[:count], spread(own, shared))

    return mapped


class SweepFeed(Feed):
    """The batches of several seeds, side by side: chunks `[capacity, S, B, ...]`."""

    def __init__(
        self, source: Source, seeds: Sequence[int], batch_size: int, capacity: int, mesh: Mesh
    ) -> None:
        super().__init__(source, seeds[0], batch_size, capacity, mesh)
        self._seeds, self._sharding = list(seeds), replicated(mesh)

    def _indices(self, steps: Sequence[int]) -> np.ndarray:
        size = self._source.size
        each = [
            [batch_indices(seed, step, size, self._batch_size) for step in steps]
            for seed in self._seeds
        ]
        return np.swapaxes(np.asarray(each), 0, 1)

    def first(self) -> dict[str, np.ndarray]:
        """The stored rows of batch 0 of every seed, `[S, B, ...]`, on the host."""
        indices = self._indices([0])[0]
        rows = self._source.take(indices.reshape(-1))
        return {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in rows.items()}


class Sweep:
    """The models of a grid, compiled as one program: driven by `fit` as a `Trainer` is.

    Its state is a `TrainState` in which every array has a leading axis of models; `select` takes
    one. A model whose gradient was not finite `max_skipped` times in a row has failed: it stays as
    it was.

    Attributes:
      grid: the models.
      state_shape: shapes, dtypes and shardings of the state.
      feed: the batches.
      chunk: models mapped at once on a device.
    """

    def __init__(
        self,
        make: Make,
        grid: Grid,
        source: Source,
        settings: Settings,
        *,
        binarize: str = "none",
        condition_dropout: float = 0.0,
        mesh: Mesh | None = None,
        chunk: int = 0,
    ) -> None:
        """Compiles nothing yet.

        Args:
          make: the family, given the values of the swept settings; these are traced.
          grid: the models.
          source: the data of all.
          settings: of the training of all.
          binarize: as for a `Trainer`.
          condition_dropout: likewise.
          mesh: devices, over which the models are spread.
          chunk: models mapped at once on a device. 0: all of them; but on CPU one, if a model has
            more than 65,536 parameters.

        Raises:
          ValueError: a setting decides what the program is made of, and cannot be swept.
        """
        mesh = make_mesh() if mesh is None else mesh
        check_batch(make_mesh(1), settings.batch_size, settings.accumulate)
        seeds, slots = np.unique(grid.seeds, return_inverse=True)
        per_dispatch = settings.steps_per_dispatch
        self.grid, self._limit = grid, settings.max_skipped
        self.feed = SweepFeed(source, seeds.tolist(), settings.batch_size, per_dispatch, mesh)
        prepare = preparation(source, binarize, condition_dropout=condition_dropout)
        own = {k: v.astype(np.float32) for k, v in grid.settings.items()}, grid.seeds

        def init(own: Any, rows: Any) -> TrainState:
            (values, seed), slot = own
            batch = prepare(jax.tree.map(lambda a: a[slot], rows), key_of(seed, DATA))
            return init_state(make(values), seed, batch, settings.ema_decay)

        def step_of(values: Any) -> Any:
            return make_step(
                make(values),
                ema_decay=settings.ema_decay,
                accumulate=settings.accumulate,
                max_skipped=settings.max_skipped,
            )

        def train(own: Any, shared: Any, fixed: int | None = None) -> tuple[TrainState, Any]:
            ((values, seed), slot), state = own
            data, chunk, *traced = shared
            n = traced[0] if fixed is None else fixed
            step_fn = step_of(values)

            def one(state: TrainState, i: jax.Array) -> Any:
                rows = self.feed.rows(data, chunk, i, slot)
                batch = prepare(rows, key_of(seed, DATA, state.step))
                return step_fn(state, batch, seed)

            state, named = several(one, per_dispatch)(state, n)
            failed = (state.skipped >= settings.max_skipped).astype(jnp.float32)
            return state, {**named, "failed": failed}

        def trace(values: Mapping[str, Any]) -> TrainState:
            seed, rows = jnp.int32(seeds[0]), select(self.feed.first(), 0)
            state = init(((values, seed), 0), self.feed.first())
            return step_of(values)(state, prepare(rows, key_of(seed, DATA)), seed)[0]

        one = checked(trace, grid)
        size = sum(leaf.size for leaf in jax.tree.leaves(one.params))
        large = jax.default_backend() == "cpu" and size > _SMALL
        self.chunk = chunk or (1 if large else grid.size)

        first, everywhere = put(replicated(mesh), self.feed.first()), replicated(mesh)
        spread = NamedSharding(mesh, PartitionSpec((DATA_AXIS, FSDP)))
        of_models = spread if grid.size % mesh.size == 0 else everywhere
        self.state_shape = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct((grid.size, *s.shape), s.dtype, sharding=of_models),
            one,
        )._replace(
            step=jax.ShapeDtypeStruct((grid.size,), jnp.int32, sharding=everywhere),
            skipped=jax.ShapeDtypeStruct((grid.size,), jnp.int32, sharding=everywhere),
        )
        sharding = jax.tree.map(lambda s: s.sharding, self.state_shape)
        init_all = over_models(init, mesh, self.chunk)
        # Values are arguments of the program, so that other values need no other program.
        self._own = (own, slots.astype(np.int32))
        compiled = jax.jit(init_all, out_shardings=sharding)
        self.init: Callable[[], TrainState] = lambda: compiled(self._own, first)

        def run(state: TrainState, own: Any, data: Any, chunk: Any, n: Any) -> tuple[Any, Any]:
            if isinstance(n, jax.Array):
                return over_models(train, mesh, self.chunk)((own, state), (data, chunk, n))
            of_n = functools.partial(train, fixed=int(n))
            return over_models(of_n, mesh, self.chunk)((own, state), (data, chunk))

        self.run = compiled_loop(run, out_shardings=(sharding, everywhere))

    def dispatch(self, state: TrainState, span: Span, chunk: Any) -> tuple[TrainState, Any]:
        """Starts the steps of a span; returns the state after them and mean figures `[N]`."""
        return self.run(state, self._own, self.feed.data, chunk, np.int32(span[1] - span[0]))

    def failed(self, state: TrainState) -> np.ndarray:
        """Which models have failed, bool `[N]`."""
        return np.asarray(state.skipped) >= self._limit

    def records(self, named: Mapping[str, Any]) -> list[tuple[dict[str, Any], dict[str, float]]]:
        """Of each model, which it is and its figures."""
        return [
            (
                {"model": i, "seed": int(self.grid.seeds[i]), **self.grid.of(i)},
                {k: float(v[i]) for k, v in named.items()},
            )
            for i in range(self.grid.size)
        ]

    def overall(self, named: Mapping[str, Any]) -> dict[str, float]:
        """The mean of each figure over the models where it is finite."""
        finite = {k: np.asarray(v)[np.isfinite(v)] for k, v in named.items()}
        return {k: float(v.mean()) if v.size else float("nan") for k, v in finite.items()}
