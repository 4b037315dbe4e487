"""Many models in one program: hyperparameters and seeds are arrays, mapped over by `jax.vmap`.

The models share data and training settings. Each model gets the same batches and random keys as in
a run of its own. The models are independent: one that diverges is frozen while the others continue.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaejax.core.game import Family, Params
from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import check_batch, make_mesh, replicated
from vaejax.core.types import Metrics, Options, PyTree, Step
from vaejax.data import Source
from vaejax.data.augment import Augmentation
from vaejax.data.preprocess import preparation
from vaejax.networks.ops import conv2d
from vaejax.sweeps.check_traceable import check_traceable
from vaejax.sweeps.grid import Grid
from vaejax.sweeps.multi_seed_loader import MultiSeedLoader
from vaejax.training.settings import Settings, Span
from vaejax.training.train_step import TrainState, init_state, make_step
from vaejax.training.trainer import counters, jit_dispatch, jit_once, numbers, repeat_step

__all__ = ["Make", "Sweep", "over_models", "select"]

# Values of the swept settings, maybe traced -> the family.
Make = Callable[[Options], Family]

_LARGE = 2**16  # parameters; on CPU a single larger model uses all cores


def select(stack: PyTree, model: int) -> PyTree:
    """One model's part of a sweep's state, or of any tree of arrays with a leading model axis."""
    return jax.tree.map(lambda a: a[model], stack)


def over_models(f: Callable[..., PyTree], mesh: Mesh, chunk: int) -> Callable[..., PyTree]:
    """`f(per_model, shared)` mapped over the leading axis `[N, ...]` of `per_model`.

    The models are spread over all devices of the mesh. Each device maps `chunk` models at once with
    `jax.vmap`, one chunk after the other; with a chunk of 1 it calls `f` for one model after the
    other.
    """
    axis = PartitionSpec(mesh.axis_names)

    def on_device(per_model: PyTree, shared: PyTree) -> PyTree:
        count = len(jax.tree.leaves(per_model)[0])
        if chunk <= 1:
            return jax.lax.map(lambda model: f(model, shared), per_model)
        with conv2d.mapped_over_kernels():
            if chunk >= count:
                return jax.vmap(lambda model: f(model, shared))(per_model)
            return jax.lax.map(lambda model: f(model, shared), per_model, batch_size=chunk)

    spread = jax.shard_map(
        on_device, mesh=mesh, in_specs=(axis, PartitionSpec()), out_specs=axis, check_vma=False
    )

    def mapped(per_model: PyTree, shared: PyTree) -> PyTree:
        count = len(jax.tree.leaves(per_model)[0])
        # Copies of the last model give every device the same number of models.
        rows = np.minimum(np.arange(count + -count % mesh.size), count - 1)
        if len(rows) > count:
            per_model = jax.tree.map(lambda a: jnp.asarray(a)[rows], per_model)
        return jax.tree.map(lambda a: a[:count], spread(per_model, shared))

    return mapped


class Sweep:
    """The models of a grid, compiled as one program; `fit` trains it like a `Trainer`.

    Its state is a `TrainState` in which every array has a leading model axis; `select` extracts one
    model. A model has failed, and stays unchanged, after `max_consecutive_nonfinite` consecutive
    steps with a non-finite gradient.

    Attributes:
      grid: the models.
      state_shape: shapes, dtypes and shardings of the state.
      loader: the batches.
      chunk: models mapped at once on a device.
      initial: values of some parameters of this state, of every model, see `init_state`.
      init: the state before the first step.
      run: the compiled dispatch.
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
        augment: Augmentation | None = None,
        mesh: Mesh | None = None,
        chunk: int = 0,
        keep_best: bool = False,
    ) -> None:
        """Compiles nothing yet.

        Args:
          make: the family, given the values of the swept settings, which are traced.
          grid: the models.
          source: training data of all models.
          settings: of the training of all models.
          binarize: see `preprocess.preparation`.
          condition_dropout: see `preprocess.preparation`.
          augment: see `preprocess.preparation`.
          mesh: devices, over which the models are spread.
          chunk: models mapped at once on a device. 0: all of them; but on CPU one, if a model has
            more than 65,536 parameters.
          keep_best: whether the state has the parameters of each model's best evaluation.

        Raises:
          ValueError: a setting changes the program, and cannot be swept; or the batch cannot be
            divided over the devices of several processes.
        """
        mesh = make_mesh() if mesh is None else mesh
        check_batch(make_mesh(1), settings.batch_size, settings.grad_accumulation_steps)
        if jax.process_count() > 1:  # each reads a part of every batch
            check_batch(mesh, settings.batch_size)
        self.grid, self._make, self._settings = grid, make, settings
        self._keep_best = keep_best
        seeds, seed_index = np.unique(grid.seeds, return_inverse=True)
        self.loader = MultiSeedLoader(
            source, seeds.tolist(), settings.batch_size, settings.steps_per_dispatch, mesh
        )
        self._prepare = preparation(
            source, binarize, condition_dropout=condition_dropout, augment=augment
        )
        # The values are arguments of the program, so that other values need no other program.
        values = {k: v.astype(np.float32) for k, v in grid.settings.items()}
        self._per_model = (values, grid.seeds, seed_index.astype(np.int32))
        rows = self.loader.first_batch()
        first_batch = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), rows)  # only traced

        def trace(values: Options) -> TrainState:
            seed, rows = jnp.int32(seeds[0]), select(first_batch, 0)
            state = self._init_model((values, seed, 0), (first_batch, {}))
            batch = self._prepare(rows, key_of(seed, Stream.DATA))
            return self._make_step(values)(state, batch, seed)[0]

        model_shape = check_traceable(trace, grid)
        size = sum(leaf.size for leaf in jax.tree.leaves(model_shape.params))
        large = jax.default_backend() == "cpu" and size > _LARGE
        self.chunk = chunk or (1 if large else grid.size)
        self.state_shape = _stack(model_shape, grid.size, mesh)
        sharding = jax.tree.map(lambda s: s.sharding, self.state_shape)

        init = jit_once(over_models(self._init_model, mesh, self.chunk), out_shardings=sharding)
        self.initial: Params = {}
        self.init: Callable[[], TrainState] = lambda: init(self._per_model, (rows, self.initial))
        run = functools.partial(self._run, mesh)
        self.run = jit_dispatch(run, out_shardings=(sharding, replicated(mesh)))

    def _run(
        self,
        mesh: Mesh,
        state: TrainState,
        per_model: PyTree,
        data: PyTree,
        batches: PyTree,
        n: Step,
    ) -> tuple[PyTree, PyTree]:
        """The steps of a dispatch, of all models."""
        traced = isinstance(n, jax.Array)
        train = self._train_model if traced else functools.partial(self._train_model, n=int(n))
        shared = (data, batches, *([n] if traced else []))
        return over_models(train, mesh, self.chunk)((per_model, state), shared)

    def _init_model(self, per_model: PyTree, shared: PyTree) -> TrainState:
        """The initial state of a model.

        Args:
          per_model: its settings, seed and number of the seed.
          shared: the first batches `[S, B, ...]` of all seeds, and values of parameters.
        """
        (values, seed, seed_index), (rows, initial) = per_model, shared
        batch = self._prepare(
            jax.tree.map(lambda a: a[seed_index], rows), key_of(seed, Stream.DATA)
        )
        return init_state(
            self._make(values),
            seed,
            batch,
            self._settings.ema_decay,
            initial,
            keep_best=self._keep_best,
        )

    def _make_step(self, values: Options) -> PyTree:
        """The training step of the model with these settings."""
        return make_step(
            self._make(values),
            ema_decay=self._settings.ema_decay,
            grad_accumulation_steps=self._settings.grad_accumulation_steps,
            max_consecutive_nonfinite=self._settings.max_consecutive_nonfinite,
            patience=self._settings.patience,
        )

    def _train_model(
        self, per_model: PyTree, shared: PyTree, n: int | None = None
    ) -> tuple[TrainState, Metrics]:
        """The steps of a dispatch, of one model; their number is `n`, or traced in `shared`."""
        (values, seed, seed_index), state = per_model
        data, batches, *traced_n = shared
        step_fn = self._make_step(values)

        def step(state: TrainState, i: jax.Array) -> PyTree:
            rows = self.loader.rows(data, batches, i, seed_index)
            batch = self._prepare(rows, key_of(seed, Stream.DATA, state.step))
            return step_fn(state, batch, seed)

        steps = traced_n[0] if n is None else n
        state, metrics = repeat_step(step, self._settings.steps_per_dispatch)(state, steps)
        failed = (state.skipped >= self._settings.max_consecutive_nonfinite).astype(jnp.float32)
        return state, {**metrics, **counters(state), "failed": failed}

    def compile(self) -> None:
        """Compiles `run` for any number of steps, on CPU; the first dispatch then does not."""
        shared = self._per_model, self.loader.data, self.loader.shapes()
        self.run.lower(self.state_shape, *shared, np.int32(1)).compile()

    def dispatch(
        self, state: TrainState, span: Span, batches: PyTree
    ) -> tuple[TrainState, Metrics]:
        """Starts the steps of a span; returns the state after them and mean metrics `[N]`."""
        n = np.int32(span[1] - span[0])
        return self.run(state, self._per_model, self.loader.data, batches, n)

    def failed(self, state: TrainState) -> np.ndarray:
        """Which models have failed, bool `[N]`."""
        return np.asarray(state.skipped) >= self._settings.max_consecutive_nonfinite

    def records(self, metrics: Options) -> list[tuple[Options, dict[str, float]]]:
        """For each model its number, seed and settings, and its metrics."""
        return [
            (
                {"model": i, "seed": int(self.grid.seeds[i]), **self.grid.of(i)},
                numbers({k: np.asarray(v)[i] for k, v in metrics.items()}),
            )
            for i in range(self.grid.size)
        ]

    def overall(self, metrics: Options) -> dict[str, float]:
        """The mean of each metric over the models where it is finite."""
        finite = {k: np.asarray(v)[np.isfinite(v)] for k, v in metrics.items()}
        return {k: float(v.mean()) if v.size else float("nan") for k, v in finite.items()}


def _stack(model_shape: TrainState, size: int, mesh: Mesh) -> TrainState:
    """Shapes of the state of `size` models, sharded over models if the devices divide them."""
    everywhere = replicated(mesh)
    over_devices = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    of_models = over_devices if size % mesh.size == 0 else everywhere
    scalars = ("step", "skipped", "total_skipped", "best", "evaluations", "since_best", "best_step")
    replicated_scalars = {
        name: jax.ShapeDtypeStruct((size,), getattr(model_shape, name).dtype, sharding=everywhere)
        for name in scalars
    }
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((size, *s.shape), s.dtype, sharding=of_models), model_shape
    )._replace(**replicated_scalars)
