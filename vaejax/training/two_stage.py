"""The trained run that a prior is learned for: restored, its latents as data, the two as one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax import losses
from vaejax.core.game import Batch, Family, Params, chain
from vaejax.core.rng import key_of
from vaejax.core.sharding import batch_sharding, check_batch, make_mesh, put, replicated
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation
from vaejax.data.progress import progress
from vaejax.data.source import decode_rows, in_memory
from vaejax.quantizers.token_layout import Layout, layout_of_model
from vaejax.second_stage import with_prior
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

ENCODE = 6  # a stream of random keys of its own

Config = Mapping[str, Any]


class FirstStage(NamedTuple):
    """A trained model.

    Attributes:
      family: whose model.
      params: of it, on the devices of a mesh.
      layout: of its codes; None if it has one Gaussian vector.
      mesh: the devices.
      batch_size: examples at once.
      binarize: as in its training.
    """

    family: Family
    params: Params
    layout: Layout | None
    mesh: Mesh
    batch_size: int
    binarize: str

    def latents(self, source: Source, seed: int = 0) -> Source:
        """A split as the model encodes it: `tokens` `[T]`, or `vector` `[D]`, a draw of z.

        Labels are kept. The draws depend on the seed and the example alone.
        """
        prepare = preparation(source, self.binarize)

        def encode(params: Params, rows: Any, number: Any) -> Batch:
            key, data_key = jax.random.split(key_of(seed, ENCODE, number))
            batch = prepare(rows, data_key)
            nodes = self.family.model.encode(params, batch, key)
            label = {"label": batch["label"]} if "label" in batch else {}
            if self.layout is None:
                return {"vector": nodes[0].z, **label}
            tokens = self.layout.flatten([node.posterior.indices for node in nodes])
            return {"tokens": tokens.astype(jnp.int32), **label}

        compiled = jax.jit(encode, out_shardings=replicated(self.mesh))
        parts, batches = [], list(eval_batches(source.size, self.batch_size))
        for number, (indices, _) in enumerate(progress(batches, f"encoding {source.name}")):
            rows = put(batch_sharding(self.mesh), source.take(indices))
            parts.append(jax.tree.map(np.asarray, compiled(self.params, rows, np.uint32(number))))
        order = np.concatenate([indices for indices, _ in batches])  # that of an evaluation
        back = np.unique(order, return_index=True)[1]
        whole = {k: np.concatenate([p[k] for p in parts])[back] for k in parts[0]}
        if self.layout is not None and self.layout.vocabulary <= 2**16:
            whole["tokens"] = whole["tokens"].astype(np.uint16)
        return in_memory(
            whole,
            np.arange(source.size),
            name=source.name,
            split=source.split,
            decode=decode_rows,
            num_classes=source.num_classes,
            class_names=source.class_names,
            layout=self.layout,
        )

    def whole(self, prior: Family) -> Family:
        """This model under a learned prior: to be judged and drawn from, not to be trained."""
        model = with_prior(self.family.model, prior.model, self.layout)
        return Family(model, chain(losses.nll(), losses.kl()), {})

    def and_prior(self, params: Params) -> Params:
        """The parameters of the whole, given those of the prior."""
        return {"first": self.params, "second": params}


def first_stage(
    family: Family,
    params: Params,
    source: Source,
    *,
    mesh: Mesh | None = None,
    batch_size: int = 128,
    binarize: str = "none",
) -> FirstStage:
    """A model trained here and now; `restore` takes one from a working directory.

    Args:
      family: whose model.
      params: of it, on the devices of the mesh.
      source: data of the kind that it was trained on.
      mesh: the devices; by default one.
      batch_size: examples at once.
      binarize: as in its training.

    Raises:
      ValueError: a prior cannot be learned for such a model.
    """
    mesh, prepare = make_mesh(1) if mesh is None else mesh, preparation(source, binarize)
    check_batch(mesh, batch_size)
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(prepare, rows, jax.random.key(0))
    layout = layout_of_model("first_stage", family, params, batch)
    return FirstStage(family, params, layout, mesh, batch_size, binarize)


def restore(
    config: Config,
    mesh: Mesh,
    *,
    build: Callable[..., Family],
    load_split: Callable[[Config, str], Source],
) -> tuple[Config, FirstStage]:
    """The run that a prior's config names as `prior_of`, at checkpoint `prior_step`.

    A step of 0 stands for the newest.

    Args:
      config: of the prior.
      mesh: where to put the parameters.
      build: `(config, shape, facts) -> family`.
      load_split: `(config, split) -> its data`.

    Returns:
      The prior's config with that run's `data`, in all but the dropout of conditions, and with the
      step that was found; and the run.

    Raises:
      FileNotFoundError: there is no such run, or no such checkpoint of it.
      ValueError: a prior cannot be learned for such a model.
    """
    run = open_run(Path(config["prior_of"]), mesh, "prior_of", build=build, load_split=load_split)
    theirs = run.config["data"]
    data = {**theirs, "condition_dropout": config["data"]["condition_dropout"]}
    layout = layout_of_model(run.name, run.family, run.like.params, run.batch)
    state = run.restore(config["prior_step"])
    first = FirstStage(
        run.family,
        eval_params(state),
        layout,
        mesh,
        run.config["train"]["batch_size"],
        data["binarize"],
    )
    return {**config, "data": data, "prior_step": int(state.step)}, first
