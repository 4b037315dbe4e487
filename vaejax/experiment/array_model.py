"""The base of `Run`: a trained model, and its functions mapped over arrays as users have them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.dependencies import fields_read
from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.core.rng import Stream, key_of, key_shape
from vaejax.core.sharding import replicated
from vaejax.core.types import Options, PyTree, UserArray
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.data.quadrants import with_quadrants
from vaejax.data.spec import DataSpec
from vaejax.data.values import fields_of
from vaejax.distributions import Support, support_of
from vaejax.evaluation.context import EvaluationContext
from vaejax.experiment.build import evaluate_options, feature_extractor_of, load_split
from vaejax.experiment.latent_arrays import example_rows, node_shapes
from vaejax.experiment.other_data import (
    can_do_without_condition,
    compatible,
    fields_of_model,
    with_source,
)
from vaejax.experiment.row_batches import map_rows
from vaejax.experiment.user_arrays import check_values, condition_fields, event_fields

__all__ = ["ArrayModel"]


def _present(
    rows: Mapping[str, np.ndarray], events: np.ndarray, missing: np.ndarray | None
) -> np.ndarray | None:
    """The elements of events that are neither masked nor missing; None for all."""
    present = None if missing is None else ~missing.reshape(events.shape)
    if (mask := rows.get("mask")) is not None:
        mask = np.broadcast_to(
            mask.reshape(*mask.shape, *(1,) * (events.ndim - mask.ndim)), events.shape
        )
        present = mask if present is None else present & mask
    return present


class ArrayModel:
    """A trained model whose functions are applied to NumPy arrays in batches.

    Attributes:
      config: of the run.
      family: the trained family.
      params: its parameters.
      step: training steps of these parameters.
      spec: the form of the data.
      mesh: the devices.
      batch_size: examples at once.
    """

    def __init__(
        self,
        config: Options,
        family: Family,
        params: Params,
        step: int,
        spec: DataSpec,
        *,
        mesh: Mesh,
        batch_size: int,
        checkpoint: str = "",
    ) -> None:
        self.config, self.family, self.params, self.step = config, family, params, step
        self.spec, self.mesh, self.batch_size, self.checkpoint = spec, mesh, batch_size, checkpoint
        self._binarize = config["data"]["binarize"]
        shape, dtype = spec.fields[spec.event]
        template = with_quadrants(
            spec._replace(pixel_scale=1.0).source({spec.event: np.zeros((1, *shape), dtype)}),
            config["data"]["observed_quadrants"],
        )
        self._prepare = preparation(template, self._binarize)
        self._condition = self._condition_field()
        self._dropout = config["data"]["condition_dropout"] > 0 or family.model.classify is not None
        self._compiled: dict[PyTree, Callable[..., PyTree]] = {}

    @property
    def _quadrants(self) -> int:
        return self.config["data"]["observed_quadrants"]

    @functools.cached_property
    def _reads(self) -> set[str]:
        return fields_of_model(self.family, self.params, self.spec)

    @functools.cached_property
    def _support(self) -> Support | None:
        """The values that p(x | z) explains, if it explains the event and declares them."""
        images = self.spec.event in ("image", "sequence")
        if self.family.model.features is not None or (images and self._binarize != "none"):
            return None

        def likelihood(params: Params, batch: Batch, key: jax.Array) -> PyTree:
            return self.family.model.forward(params, batch, key, None).likelihood

        batch = self.spec.batch(1)
        return support_of(jax.eval_shape(likelihood, self.params, batch, key_shape()))

    def _nodes(self) -> tuple[Latent, ...]:
        """Shapes of the nodes of one example."""
        example = example_rows(self.spec, None if self._quadrants else self._condition)
        return node_shapes(self.family, self.params, self._prepare, example)

    def _condition_field(self) -> str | None:
        """The field of a batch that the model is conditioned on."""
        shapes = self.spec.batch(1)

        def condition(batch: Batch) -> PyTree:
            model = self.family.model
            return model.forward(self.params, batch, jax.random.key(0), None).condition

        fields = fields_read(condition, shapes)
        return self.spec.event if self._quadrants else fields[0] if fields else None

    def _context(self, condition: UserArray, n: int) -> dict[str, np.ndarray]:
        if self._quadrants and condition is not None:
            events = event_fields(self.spec, condition)[0][self.spec.event]
            return {self.spec.event: np.broadcast_to(events, (n, *self.spec.event_shape))}
        return condition_fields(self.spec, self._condition, condition, n, optional=self._dropout)

    def _rows(
        self, x: UserArray, condition: UserArray, missing: np.ndarray | None = None
    ) -> tuple[dict[str, np.ndarray], bool]:
        """The fields of a batch, and whether x is one event.

        Args:
          x: events.
          condition: of a conditional model.
          missing: elements whose values do not count, of the shape of x.
        """
        rows, single = event_fields(self.spec, x)
        events = rows[self.spec.event]
        if self._support is not None:
            present = _present(rows, events, missing)
            own = self.config["data"]["source"]
            check_values(self._support, self.spec, events, present, trained_on=own)
        return rows if self._quadrants else rows | self._context(condition, len(events)), single

    def _map(
        self,
        name: PyTree,
        function: Callable[..., PyTree],
        rows: Mapping[str, np.ndarray],
        *,
        seed: int = 0,
        prepared: bool = False,
    ) -> PyTree:
        """`function(params, batch, key)` over rows; compiled once for each name."""

        def of_rows(params: Params, rows: PyTree, seed: PyTree, number: PyTree) -> PyTree:
            key, data_key = jax.random.split(key_of(seed, Stream.EVALUATION, number))
            return function(params, rows if prepared else self._prepare(rows, data_key), key)

        jitted = jax.jit(of_rows, out_shardings=replicated(self.mesh))
        compiled = self._compiled.setdefault(name, jitted)
        options: PyTree = {"batch_size": self.batch_size, "mesh": self.mesh, "seed": seed}
        return map_rows(compiled, self.params, rows, **options)

    def _applied_to(
        self,
        source: Source | str,
        split: str,
        *,
        seed: int | None = None,
        all_metrics: bool = False,
        **options: PyTree,
    ) -> EvaluationContext:
        """The model and other data, after a check that it can be applied to them.

        Args:
          source: the split, or the name of data.
          split: of named data.
          seed: of random keys; None for that of the run.
          all_metrics: whether the feature extractor of the run's metrics is needed.
          **options: of the metrics, in place of those of the run.
        """
        config = self.config
        if isinstance(source, str):
            source = load_split(
                with_source(config, source, self.spec), split, self.spec.table_form()
            )
        elif self._quadrants and "hidden" not in fields_of(source):
            source = with_quadrants(source, self._quadrants)
        source = compatible(
            source,
            self.spec,
            self.family,
            self.params,
            trained_on=config["data"]["source"],
            reads=self._reads,
            binarize=self._binarize,
            optional=can_do_without_condition(config, self.family),
        )
        return EvaluationContext(
            self.family,
            self.params,
            source,
            self.mesh,
            step=self.step,
            batch_size=self.batch_size,
            seed=config["seed"] if seed is None else seed,
            binarize=self._binarize,
            options=dataclasses.replace(evaluate_options(config), **options),
            features=feature_extractor_of(config, source) if all_metrics else None,
        )
