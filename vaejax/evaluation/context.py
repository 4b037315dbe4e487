"""The inputs of an evaluation, and its two ways through a split: sums and rows."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Family, Params
from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import batch_sharding, check_batch, make_mesh, on_one_device, replicated
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.map_split import rows_of_split, sum_over_split
from vaejax.data.preprocess import Prepare, preparation
from vaejax.evaluation.options import EvaluateOptions

__all__ = ["EvaluationContext", "FeatureExtractor"]

# Images `[B, H, W, C]` in [0, 1] -> features `[B, F]`.
FeatureExtractor = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationContext:
    """A trained model and the split that it is evaluated on.

    Attributes:
      family: whose model.
      params: its parameters, on the devices of the mesh.
      source: the split.
      mesh: the devices; by default one.
      step: number of training steps of the parameters.
      batch_size: examples at once.
      seed: of all random keys.
      binarize: of images, as in training, see `data.preprocess.preparation`.
      options: of the metrics, a config's section `evaluate`.
      features: the feature extractor that samples are compared with, if there is one.
    """

    family: Family
    params: Params
    source: Source
    mesh: Mesh = dataclasses.field(default_factory=lambda: make_mesh(1))
    step: int = 0
    batch_size: int = 100
    seed: int = 0
    binarize: str = "none"
    options: EvaluateOptions = dataclasses.field(default_factory=EvaluateOptions)
    features: FeatureExtractor | None = None

    @functools.cached_property
    def prepare(self) -> Prepare:
        """`(stored rows, key) -> batch`, as in training but without augmentation."""
        return preparation(self.source, self.binarize)

    @functools.cached_property
    def local_params(self) -> Params:
        """The parameters on one device."""
        return on_one_device(self.mesh, self.params)

    def key(self, stream: Stream, number: int = 0) -> jax.Array:
        """A random key of one of the streams."""
        return key_of(self.seed, stream, number)

    def sum_over_split(
        self, function: Callable[..., PyTree], stream: Stream = Stream.METRIC, *, examples: int = 0
    ) -> tuple[PyTree, int]:
        """Sums over a split, float64, and the number of its examples.

        Args:
          function: `(params, batch, key, mask [B]) -> tree of sums` over the examples where the
            bool mask is True; pure, since it is compiled.
          stream: of the random keys.
          examples: only the first ones of the random `eval_order`; 0 for all.
        """
        size = min(examples, self.source.size) if examples else self.source.size
        return self._map(sum_over_split, function, stream, size), size

    def rows_of_split(
        self, function: Callable[..., PyTree], stream: Stream = Stream.METRIC, *, examples: int = 0
    ) -> PyTree:
        """A tree of arrays `[N, ...]` of a split, in the random `eval_order`.

        Args:
          function: `(params, batch, key) -> tree of arrays [B, ...]`; pure, since it is compiled.
          stream: of the random keys.
          examples: only the first ones of the order; 0 for all.
        """
        size = min(examples, self.source.size) if examples else self.source.size

        def rows(params: Params, batch: PyTree, key: jax.Array, mask: jax.Array) -> PyTree:
            del mask
            return function(params, batch, key)

        return self._map(rows_of_split, rows, stream, size)

    def _map(
        self,
        reduce: Callable[..., PyTree],
        function: Callable[..., PyTree],
        stream: Stream,
        size: int,
    ) -> PyTree:
        check_batch(self.mesh, self.batch_size)
        prepare = self.prepare

        def of_batch(params: Params, rows: PyTree, mask: jax.Array, number: jax.Array) -> PyTree:
            key, data_key = jax.random.split(key_of(self.seed, stream, number))
            return function(params, prepare(rows, data_key), key, mask)

        compiled = jax.jit(of_batch, out_shardings=replicated(self.mesh))

        def program(rows: PyTree, mask: PyTree, number: np.uint32) -> PyTree:
            return compiled(self.params, rows, mask, number)

        return reduce(
            program,
            self.source,
            self.batch_size,
            limit=size,
            sharding=batch_sharding(self.mesh),
        )
