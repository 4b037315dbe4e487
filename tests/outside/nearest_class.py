"""How well the latents of a model tell classes apart."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import vaejax


@vaejax.register("metric", "nearest_class")
class NearestClass:
    """`nearest_class_accuracy`: of the classifier by the nearest mean of posterior means.

    The means are of one half of the split, the accuracy in [0, 1] of the other half.
    """

    def requires(self, family: vaejax.Family, source: vaejax.Source) -> str | None:
        return None if source.num_classes else f"{source.name} has no labels"

    def compute(self, context: vaejax.EvaluationContext) -> Mapping[str, float]:
        def encode(params: Any, batch: Any, key: jax.Array) -> Any:
            nodes = context.family.model.encode(params, batch, None)
            means = [node.posterior.mean for node in nodes]
            return jnp.concatenate([m.reshape(len(m), -1) for m in means], axis=1), batch["label"]

        z, label = context.rows_of_split(encode)
        order = np.random.RandomState(context.seed).permutation(len(z))
        train, test = order[::2], order[1::2]
        classes = np.unique(label[train])
        centres = np.stack([z[train][label[train] == c].mean(axis=0) for c in classes])
        distance = np.square(z[test][:, None] - centres[None]).sum(axis=2)
        return {"nearest_class_accuracy": np.mean(classes[distance.argmin(axis=1)] == label[test])}
