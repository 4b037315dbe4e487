"""How well the latents of a model tell classes apart."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import vaejax
from vaejax.data.preprocess import preparation


@vaejax.register("metric", "nearest_class")
class NearestClass:
    """`nearest_class_accuracy`: of the classifier by the nearest mean of posterior means.

    The means are of one half of the split, the accuracy in [0, 1] of the other half.
    """

    def requires(self, family: vaejax.Family, source: vaejax.Source) -> str | None:
        return None if source.num_classes else f"{source.name} has no labels"

    def compute(self, context: vaejax.EvaluationContext) -> Mapping[str, float]:
        model, source = context.family.model, context.source
        prepare = preparation(source, context.binarize)

        @jax.jit
        def encode(params: Any, rows: Any, key: jax.Array) -> Any:
            batch = prepare(rows, key)
            means = [node.posterior.mean for node in model.encode(params, batch, None)]
            return [m.reshape(len(m), -1) for m in means], batch["label"]

        parts = []
        for i in range(0, source.size, context.batch_size):
            rows = source.take(np.arange(i, min(i + context.batch_size, source.size)))
            key = jax.random.fold_in(jax.random.key(context.seed), i)
            means, label = jax.tree.map(np.asarray, encode(context.params, rows, key))
            parts.append((np.concatenate(means, axis=1), label))
        z, label = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.random.RandomState(context.seed).permutation(len(z))
        train, test = order[::2], order[1::2]
        classes = np.unique(label[train])
        centres = np.stack([z[train][label[train] == c].mean(axis=0) for c in classes])
        distance = np.square(z[test][:, None] - centres[None]).sum(axis=2)
        return {"nearest_class_accuracy": np.mean(classes[distance.argmin(axis=1)] == label[test])}
