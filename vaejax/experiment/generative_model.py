"""The part of `Run` that generates: events from latents, and from the prior."""

import functools

import jax
import numpy as np

from vaejax.core.game import Batch, Params
from vaejax.core.types import PyTree, Setting, UserArray
from vaejax.distributions.point_estimate import point_estimate
from vaejax.experiment.array_model import ArrayModel
from vaejax.experiment.latent_arrays import check_latents
from vaejax.experiment.row_batches import padded
from vaejax.experiment.table_files import named_columns

__all__ = ["GenerativeModel"]


class GenerativeModel(ArrayModel):
    """A trained model that decodes and samples, see `Run`."""

    def decode(self, z: UserArray, condition: UserArray = None) -> np.ndarray:
        """Events from latents: the mean of p(x | z), or the most likely classes.

        Args:
          z: as `encode` returns it, else ValueError: of its shape, and codes that exist.
          condition: as for `encode`.

        Returns:
          `[N, *event_shape]`, float32 (images in [0, 1]) or int32 classes.
        """
        zs = z if isinstance(z, tuple | list) else (z,)
        rows: dict[str, Setting] = {f"z{i}": np.asarray(a) for i, a in enumerate(zs)}
        integers = all(np.issubdtype(a.dtype, np.integer) for a in rows.values())
        embed = self.family.model.embed if integers else None
        n = len(rows["z0"])
        if not self.family.model.sequences:
            check_latents(self._nodes(), [*rows.values()], codes=embed is not None)
        rows |= self._context(condition, n)

        def decode(params: Params, batch: Batch, key: jax.Array) -> PyTree:
            latents = tuple(batch[f"z{i}"] for i in range(len(zs)))
            latents = latents if embed is None else embed(params, latents)
            rest = {k: v for k, v in batch.items() if not k.startswith("z")}
            context = (self._prepare(rest, key) if self._quadrants else rest) if rest else None
            return point_estimate(self.family.model.decode(params, latents, context))

        name = ("decode", len(zs), embed is not None)
        return self._map(name, decode, rows, prepared=True)

    def sample(
        self,
        n: int,
        seed: int = 0,
        condition: UserArray = None,
        temperature: float = 1.0,
        *,
        noise: bool = False,
    ) -> np.ndarray:
        """Means of p(x | z), or the most likely classes, at samples of z from the prior.

        Args:
          n: how many.
          seed: of the samples; the same seed gives the same samples.
          condition: of a conditional model: labels `[n]` (or one for all), or an array; None for
            none, which a model learns only from `data.condition_dropout`.
          temperature: scale of the prior's noise; for priors over codes, of their logits.
          noise: whether to return samples of p(x | z) instead.

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
            params: Params, key: jax.Array, count: int, context: PyTree, temperature: PyTree
        ) -> PyTree:
            if context is not None and self._quadrants:
                context = self._prepare(context, key)
            p = self.family.model.generate(params, key, count, context, temperature)
            return p.sample(jax.random.fold_in(key, 1)) if noise else point_estimate(p)

        compiled = self._compiled.setdefault(("sample", size, noise), generate)
        scale, parts = np.float32(temperature), []
        for number, start in enumerate(range(0, n, size)):
            rows = {k: padded(v[start : start + size], size) for k, v in fields.items()}
            key = jax.random.fold_in(jax.random.key(seed), number)
            parts.append(np.asarray(compiled(self.params, key, size, rows or None, scale)))
        return np.concatenate(parts)[:n]

    def sample_table(
        self, n: int, seed: int = 0, condition: UserArray = None, temperature: float = 1.0
    ) -> dict[str, np.ndarray]:
        """Rows of a table sampled from the model, by column: samples of p(x | z), not its means.

        Args:
          n: number of rows.
          seed: of the samples.
          condition: as for `sample`.
          temperature: as for `sample`.

        Returns:
          Column name -> `[n]` in the units of the data, int64 if all its values are whole numbers,
          the names of categories;
          `pandas.DataFrame` takes it as it is.

        Raises:
          ValueError: the run was not trained on vectors.
        """
        if self.spec.event != "vector":
            raise ValueError(
                f"sample_table is for runs trained on tables; this one was on {self.spec.event}s: "
                "use sample"
            )
        rows = self.sample(n, seed, condition, temperature, noise=True)
        return named_columns(rows, self.spec.names.get("column_names"), self.spec.columns)
