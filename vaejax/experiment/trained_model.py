"""A trained model on NumPy arrays, and on data by their name."""

from typing import overload

import jax
import numpy as np

from vaejax.core.game import Params
from vaejax.core.rng import key_shape
from vaejax.core.types import PyTree, UserArray
from vaejax.data import Source
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.imputation import imputation_obstacle
from vaejax.evaluation.likelihood import importance_sampling_obstacle
from vaejax.evaluation.metric import compute_metrics
from vaejax.experiment.classification import classify
from vaejax.experiment.encode import encode_source
from vaejax.experiment.generative_model import GenerativeModel
from vaejax.experiment.row_functions import MISSING, encoding, imputation, reconstruction, scores
from vaejax.experiment.user_arrays import without_missing

__all__ = ["Run"]

Arrays = np.ndarray | tuple[np.ndarray, ...]


class Run(GenerativeModel):
    """A trained model on arrays as a user has them, from `load_run`.

    Events are given as they are stored: images `[N, H, W, C]` (or `[N, H, W]` of one channel),
    uint8 or float in [0, 1]; vectors `[N, D]`; sequences `[N, T, H, W, C]`; signals `[N, T, C]`;
    tokens `[N, T]`. Of runs with a mask, tables may hold NaN, and lists have different lengths. For
    one event without the axis N the result has no such axis either.
    Methods work in batches of `batch_size` and compile once; results are NumPy arrays. `decode`,
    `sample` and `sample_table` are those of `GenerativeModel`.

    Attributes:
      config: of the run, as in its `config.json`.
      family: the trained family; of a run with a first stage, the two as one model.
      params: its parameters, on the devices of `mesh`: the moving average if one was kept.
      step, checkpoint: training steps of these parameters; `'best'`, `'latest'`, or `''`.
      spec: the form of the data.
    """

    @overload
    def encode(
        self,
        x: Source | str,
        condition: None = None,
        *,
        split: str = "eval",
        reconstructions: bool = False,
        samples: int = 0,
    ) -> dict[str, np.ndarray]: ...

    @overload
    def encode(self, x: UserArray, condition: UserArray = None) -> Arrays: ...

    def encode(
        self,
        x: UserArray,
        condition: UserArray = None,
        *,
        split: str = "eval",
        reconstructions: bool = False,
        samples: int = 0,
    ) -> PyTree:
        """Posterior means, or the indices of the most likely codes; nothing is sampled.

        A mean outside of the posterior's support, a sphere, is projected, as for `reconstruct`.

        Args:
          x: events, see the class; or a `Source` or the name of data, see Returns.
          condition: of a conditional model: labels `[N]` (or one for all), or an array.
          split: of named data.
          reconstructions: of a source: whether to return them too.
          samples: of a source: importance samples for `log_likelihood`; 0 leaves it out.

        Returns:
          `[N, D]` (float32), or int32 indices `[N, h, w]`, `[N, T]`; a tuple of these, top-down, of
          a model with several stochastic nodes. For a source, by name the arrays that
          `--mode=encode` writes: `mean` and `scale` or `indices`, `nll`, `kl`, `elbo`, `label`, ...

        Raises:
          ValueError: x or the condition does not fit the model.
        """
        if isinstance(x, Source | str):
            context = self._applied_to(x, split, importance_samples=samples)
            return encode_source(context, reconstructions=reconstructions)
        rows, single = self._rows(x, condition)
        nodes = self._map("encode", encoding(self.family.model), rows)
        nodes = jax.tree.map(lambda a: a[0], nodes) if single else nodes
        return nodes[0] if len(nodes) == 1 else nodes

    def reconstruct(self, x: UserArray, condition: UserArray = None) -> np.ndarray:
        """Events through the model: decoded posterior means, or decoded most likely codes.

        Args:
          x: events, see the class.
          condition: as for `encode`.

        Returns:
          `[N, *event_shape]` as from `decode`.
        """
        rows, single = self._rows(x, condition)
        result = self._map("reconstruct", reconstruction(self.family.model), rows)
        return result[0] if single else result

    classify = classify

    def score(
        self, x: UserArray, samples: int = 0, condition: UserArray = None, seed: int = 0
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

        def encode(params: Params, rows: PyTree, key: jax.Array) -> PyTree:
            return self.family.model.encode(params, self._prepare(rows, key), key)

        rows, single = self._rows(x, condition)
        if samples:
            first = {name: value[:1] for name, value in rows.items()}
            nodes = jax.eval_shape(encode, self.params, first, key_shape())
            if reason := importance_sampling_obstacle(nodes):
                raise ValueError(f"log_likelihood does not apply to this run: {reason}")
        function = scores(self.family, self.step, samples)
        result = self._map(("score", samples), function, rows, seed=seed)
        return {name: a[0] if single else a for name, a in result.items()}

    def impute(
        self,
        x: UserArray,
        missing: UserArray = None,
        condition: UserArray = None,
        *,
        samples: int = 0,
        steps: int = 200,
        seed: int = 0,
    ) -> np.ndarray:
        """Events with their missing elements imputed from the observed ones.

        A Markov chain over z and the missing elements, see `vaejax.evaluation.imputer`.

        Args:
          x: events, see the class; NaN marks missing elements.
          missing: bool of the shape of x, True where missing, whatever x holds there; None for the
            NaN of x alone.
          condition: as for `encode`.
          samples: 0 for E[x_missing | x_observed] (of classes, the most probable); K for K samples
            of x_missing, each from a chain of its own (multiple imputation).
          steps: of the chain, at least 4; the mean leaves out the first quarter.
          seed: of the chain.

        Returns:
          x as float32 `[N, *event_shape]` (classes int32) with no element missing; `[K, N, ...]` if
          samples are asked for.

        Raises:
          ValueError: x does not fit the model, or the model cannot impute.
        """
        if steps < 4 or samples < 0:
            raise ValueError(
                f"impute needs steps of at least 4 and samples of at least 0, found {steps} and "
                f"{samples}"
            )
        if self._quadrants:
            raise ValueError("this run predicts hidden quadrants of images itself: use reconstruct")
        if reason := imputation_obstacle(self._nodes()):
            raise ValueError(f"impute does not apply to this run: {reason}")
        x, mask = without_missing(x, missing)
        rows, single = self._rows(x, condition, mask)
        rows[MISSING] = mask.reshape(rows[self.spec.event].shape).astype(np.uint8)
        function = imputation(self.family.model, steps)
        chains = [
            self._map(("impute", steps), function, rows, seed=seed + i)
            for i in range(max(1, samples))
        ]
        filled = np.stack([last for _, last in chains]) if samples else chains[0][0]
        if self.spec.event in ("image", "sequence"):  # observed pixels are not binarised
            events = rows[self.spec.event]
            filled = np.where(mask.reshape(events.shape), filled, events)
        axis = filled.ndim - 1 - len(self.spec.event_shape)
        return np.take(filled, 0, axis) if single else filled

    def evaluate(
        self,
        source: Source | str,
        limit: int = 0,
        seed: int = 0,
        *,
        split: str = "eval",
        all_metrics: bool = False,
    ) -> dict[str, float]:
        """Metrics of a whole split, as `evaluation.json` has them.

        Args:
          source: a split, or the name of data. The units, the pixel scale, classes and tokens of
            the run's own data apply to it.
          limit: only this many examples; 0 for all.
          seed: of the samples of z.
          split: of named data. Data without splits of their own are not divided, unless they are
            the run's own.
          all_metrics: also those that the run's config asks for in its section `evaluate`.

        Returns:
          Means of every loss, `elbo`, `mse`, ... by name.

        Raises:
          ValueError: the data do not fit the model.
        """
        context = self._applied_to(source, split, seed=seed, all_metrics=all_metrics)
        run = evaluator(
            self.family,
            context.source,
            self.mesh,
            batch_size=self.batch_size,
            seed=seed,
            binarize=self._binarize,
        )
        metrics = run(self.params, self.step, limit)
        return metrics | compute_metrics(context) if all_metrics else metrics
