"""A trained model on NumPy arrays: encode, decode, reconstruct, sample, score, evaluate."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax.core.dependencies import fields_read
from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Params, losses_and_trace
from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import replicated
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.data.quadrants import with_quadrants
from vaejax.data.spec import DataSpec
from vaejax.distributions.point_estimate import point_estimate
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.likelihood import importance_sampling_obstacle, log_likelihood
from vaejax.experiment.build import load_split
from vaejax.experiment.classification import classify
from vaejax.experiment.latent_arrays import check_latents, example_rows, node_shapes
from vaejax.experiment.row_batches import latent_values, map_rows, padded
from vaejax.experiment.user_arrays import check_classes, condition_fields, event_fields
from vaejax.losses.metrics import trace_metrics

__all__ = ["Run"]

Arrays = np.ndarray | tuple[np.ndarray, ...]


class Run:
    """A trained model on arrays as a user has them, from `load_run`.

    Events are given as they are stored: images `[N, H, W, C]` (or `[N, H, W]` of one channel),
    uint8 or float in [0, 1]; vectors `[N, D]`; sequences `[N, T, H, W, C]`; signals `[N, T, C]`;
    tokens `[N, T]`. Of runs with a mask, tables may hold NaN, and lists have different lengths. For
    one event without the axis N the result has no such axis either.
    Methods work in batches of `batch_size` and compile once; results are NumPy arrays.

    Attributes:
      config: of the run, as in its `config.json`.
      family: the trained family; of a run with a first stage, the two as one model.
      params: its parameters, on the devices of `mesh`: the moving average if one was kept.
      step, checkpoint: training steps of these parameters; `'best'`, `'latest'`, or `''`.
      spec: the form of the data.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
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
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def encode(self, x: Any, condition: Any = None) -> Arrays:
        """Posterior means, or the indices of the most likely codes; nothing is sampled.

        A mean outside of the posterior's support, a sphere, is projected, as for `reconstruct`.

        Args:
          x: events, see the class.
          condition: of a conditional model: labels `[N]` (or one for all), or an array.

        Returns:
          `[N, D]` (float32), or int32 indices `[N, h, w]`, `[N, T]`; a tuple of these, top-down, of
          a model with several stochastic nodes.

        Raises:
          ValueError: x or the condition does not fit the model.
        """

        def encode(params: Params, batch: Batch, key: jax.Array) -> Any:
            del key
            nodes = self.family.model.encode(params, batch, None)
            return tuple(latent_values(node) for node in nodes)

        rows, single = self._rows(x, condition)
        nodes = self._map("encode", encode, rows)
        nodes = jax.tree.map(lambda a: a[0], nodes) if single else nodes
        return nodes[0] if len(nodes) == 1 else nodes

    def decode(self, z: Any, condition: Any = None) -> np.ndarray:
        """Events from latents: the mean of p(x | z), or the most likely classes.

        Args:
          z: as `encode` returns it, else ValueError: of its shape, and codes that exist.
          condition: as for `encode`.

        Returns:
          `[N, *event_shape]`, float32 (images in [0, 1]) or int32 classes.
        """
        zs = z if isinstance(z, tuple | list) else (z,)
        rows: dict[str, Any] = {f"z{i}": np.asarray(a) for i, a in enumerate(zs)}
        integers = all(np.issubdtype(a.dtype, np.integer) for a in rows.values())
        embed = self.family.model.embed if integers else None
        n = len(rows["z0"])
        if not self.family.model.sequences:
            example = example_rows(self.spec, None if self._quadrants else self._condition)
            nodes = node_shapes(self.family, self.params, self._prepare, example)
            check_latents(nodes, [*rows.values()], codes=embed is not None)
        rows |= self._context(condition, n)

        def decode(params: Params, batch: Batch, key: jax.Array) -> Any:
            latents = tuple(batch[f"z{i}"] for i in range(len(zs)))
            latents = latents if embed is None else embed(params, latents)
            rest = {k: v for k, v in batch.items() if not k.startswith("z")}
            context = (self._prepare(rest, key) if self._quadrants else rest) if rest else None
            return point_estimate(self.family.model.decode(params, latents, context))

        name = ("decode", len(zs), embed is not None)
        return self._map(name, decode, rows, prepared=True)

    def reconstruct(self, x: Any, condition: Any = None) -> np.ndarray:
        """Events through the model: decoded posterior means, or decoded most likely codes.

        Args:
          x: events, see the class.
          condition: as for `encode`.

        Returns:
          `[N, *event_shape]` as from `decode`.
        """

        def reconstruct(params: Params, batch: Batch, key: jax.Array) -> Any:
            del key
            nodes = self.family.model.encode(params, batch, None)
            zs = tuple(node.z for node in nodes)
            return point_estimate(self.family.model.decode(params, zs, batch))

        rows, single = self._rows(x, condition)
        result = self._map("reconstruct", reconstruct, rows)
        return result[0] if single else result

    classify = classify

    def sample(
        self, n: int, seed: int = 0, condition: Any = None, temperature: float = 1.0
    ) -> np.ndarray:
        """Means of p(x | z), or the most likely classes, at samples of z from the prior.

        Args:
          n: how many.
          seed: of the samples; the same seed gives the same samples.
          condition: of a conditional model: labels `[n]` (or one for all), or an array; None for
            none, which a model learns only from `data.condition_dropout`.
          temperature: scale of the prior's noise; for priors over codes, of their logits.

        Returns:
          `[n, *event_shape]`, float32 (images in [0, 1]) or int32 classes.
        """
        if n < 1:
            raise ValueError(f"sample needs n of at least 1, found {n}")
        size = min(n, self.batch_size)
        fields = self._context(condition, n) if condition is not None else {}
        if self._condition and not fields and not self._dropout:
            raise ValueError(
                "this run's model is conditional and was trained without data.condition_dropout: "
                "pass a condition"
            )

        @functools.partial(jax.jit, static_argnums=2)
        def generate(
            params: Params, key: jax.Array, count: int, context: Any, temperature: Any
        ) -> Any:
            if context is not None and self._quadrants:
                context = self._prepare(context, key)
            p = self.family.model.generate(params, key, count, context, temperature)
            return point_estimate(p)

        compiled = self._compiled.setdefault(("sample", size), generate)
        scale, parts = np.float32(temperature), []
        for number, start in enumerate(range(0, n, size)):
            rows = {k: padded(v[start : start + size], size) for k, v in fields.items()}
            key = jax.random.fold_in(jax.random.key(seed), number)
            parts.append(np.asarray(compiled(self.params, key, size, rows or None, scale)))
        return np.concatenate(parts)[:n]

    def score(
        self, x: Any, samples: int = 0, condition: Any = None, seed: int = 0
    ) -> dict[str, np.ndarray]:
        """Per-example terms of the ELBO, nats, from one sample of z each.

        Args:
          x: events, see the class.
          samples: importance samples for `log_likelihood`; 0 leaves it out.
          condition: as for `encode`.
          seed: of the samples of z.

        Returns:
          `nll`, `kl`, `elbo` = −(nll + kl) and, if asked for, `log_likelihood`: `[N]` each.

        Raises:
          ValueError: importance samples of a model whose latents are codes.
        """
        losses_fn = losses_and_trace(self.family, training=False)
        estimate = log_likelihood(self.family.model, samples) if samples else None

        def encode(params: Params, rows: Any, key: jax.Array) -> Any:
            return self.family.model.encode(params, self._prepare(rows, key), key)

        def score(params: Params, batch: Batch, key: jax.Array) -> Any:
            n = event(batch).shape[0]
            losses, trace = losses_fn(params, batch, key, jnp.int32(self.step))
            metrics = trace_metrics(losses, trace)
            result = {
                name: metrics[name].reshape(n, -1).mean(axis=1) for name in ("nll", "kl", "elbo")
            }
            if estimate is not None:
                result["log_likelihood"] = estimate(params, batch, jax.random.fold_in(key, 1))
            return result

        rows, single = self._rows(x, condition)
        if samples:
            first = {name: value[:1] for name, value in rows.items()}
            nodes = jax.eval_shape(encode, self.params, first, jax.random.key(0))
            if reason := importance_sampling_obstacle(nodes):
                raise ValueError(f"log_likelihood does not apply to this run: {reason}")
        result = self._map(("score", samples), score, rows, seed=seed)
        return {name: a[0] if single else a for name, a in result.items()}

    def evaluate(self, source: Source | str, limit: int = 0, seed: int = 0) -> dict[str, float]:
        """Metrics of a whole split, as `evaluation.json` has them.

        Args:
          source: a split, or the name of data, of which the split `'eval'` is taken.
          limit: only this many examples; 0 for all.
          seed: of the samples of z.

        Returns:
          Means of every loss, `elbo`, `mse`, ... by name.
        """
        if isinstance(source, str):
            data = {**self.config["data"], "source": source}
            source = load_split({**self.config, "data": data}, "eval")
        check_classes(self.spec, self._condition, source)
        run = evaluator(
            self.family, source, self.mesh, batch_size=self.batch_size, seed=seed,
            binarize=self._binarize,
        )  # fmt: skip
        return run(self.params, self.step, limit)

    @property
    def _quadrants(self) -> int:
        return self.config["data"]["observed_quadrants"]

    def _condition_field(self) -> str | None:
        """The field of a batch that the model is conditioned on."""
        shapes = self.spec.batch(1)

        def condition(batch: Batch) -> Any:
            model = self.family.model
            return model.forward(self.params, batch, jax.random.key(0), None).condition

        fields = fields_read(condition, shapes)
        return self.spec.event if self._quadrants else fields[0] if fields else None

    def _context(self, condition: Any, n: int) -> dict[str, np.ndarray]:
        if self._quadrants and condition is not None:
            events = event_fields(self.spec, condition)[0][self.spec.event]
            return {self.spec.event: np.broadcast_to(events, (n, *self.spec.event_shape))}
        return condition_fields(self.spec, self._condition, condition, n, optional=self._dropout)

    def _rows(self, x: Any, condition: Any) -> tuple[dict[str, np.ndarray], bool]:
        """The fields of a batch, and whether x is one event."""
        rows, single = event_fields(self.spec, x)
        count = len(rows[self.spec.event])
        return rows if self._quadrants else rows | self._context(condition, count), single

    def _map(
        self,
        name: Any,
        function: Callable[..., Any],
        rows: Mapping[str, np.ndarray],
        *,
        seed: int = 0,
        prepared: bool = False,
    ) -> Any:
        """`function(params, batch, key)` over rows; compiled once for each name."""

        def of_rows(params: Params, rows: Any, seed: Any, number: Any) -> Any:
            key, data_key = jax.random.split(key_of(seed, Stream.EVALUATION, number))
            return function(params, rows if prepared else self._prepare(rows, data_key), key)

        jitted = jax.jit(of_rows, out_shardings=replicated(self.mesh))
        compiled = self._compiled.setdefault(name, jitted)
        options: Any = {"batch_size": self.batch_size, "mesh": self.mesh, "seed": seed}
        return map_rows(compiled, self.params, rows, **options)
