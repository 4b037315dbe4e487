"""A trained first stage: its latents as data for a prior, and both as one model."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax import losses
from vaejax.core.game import Batch, Family, Params, chain
from vaejax.core.paths import as_path
from vaejax.core.rng import Stream, key_of, key_shape
from vaejax.core.sharding import batch_sharding, check_batch, make_mesh, replicated
from vaejax.core.token_layout import Layout
from vaejax.core.types import Options, PyTree
from vaejax.data import Source
from vaejax.data.map_split import in_stored_order, rows_of_split
from vaejax.data.preprocess import preparation
from vaejax.data.source import decode_rows, in_memory
from vaejax.data.spec import DataSpec, spec_of
from vaejax.quantizers.token_layout import codes_of_nodes, layout_of_model
from vaejax.second_stage import two_stage_model
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

__all__ = ["FirstStage", "first_stage", "restore"]

Config = Options


class FirstStage(NamedTuple):
    """A trained model, for whose latents a prior is learned.

    Attributes:
      family: of the model.
      params: its parameters, on the devices of the mesh.
      layout: of its codes; None if its latent is one Gaussian vector or map.
      mesh: the devices.
      batch_size: examples at once.
      binarize: as in its training.
      spec: the form of its data.
    """

    family: Family
    params: Params
    layout: Layout | None
    mesh: Mesh
    batch_size: int
    binarize: str
    spec: DataSpec | None = None

    def latent_spec(self) -> DataSpec:
        """The form of the latents as data, without encoding any."""
        assert self.spec is not None
        batch: PyTree = self.spec.batch(1)
        nodes = jax.eval_shape(self.family.model.encode, self.params, batch, key_shape())
        tokens = self.layout is not None
        size = math.prod(nodes[0].z.shape[1:])
        event: tuple[tuple[int, ...], str] = (size,), "float32"
        if self.layout is not None:
            event = (self.layout.length,), "int32"
        fields = {"tokens" if tokens else "vector": event}
        if tokens and "mask" in self.spec.fields:
            fields["mask"] = event[0], "bool"
        if "label" in self.spec.fields:
            fields["label"] = self.spec.fields["label"]
        names = {k: v for k, v in self.spec.names.items() if k == "class_names"}
        return DataSpec(fields, 255.0, self.spec.examples, self.spec.classes, 0, names)

    def latents(self, source: Source, seed: int = 0) -> Source:
        """A split encoded by the model: `tokens` `[T]`, or `vector` `[D]`, one sample of z, flat.

        Labels are kept; codes of padding or missing values alone are not in the `mask`. The samples
        depend only on the seed and the example.
        """
        prepare = preparation(source, self.binarize)

        def encode(params: Params, rows: dict[str, jax.Array], number: jax.Array) -> Batch:
            key, data_key = jax.random.split(key_of(seed, Stream.LATENTS, number))
            batch = prepare(rows, data_key)
            nodes = self.family.model.encode(params, batch, key)
            label = {"label": batch["label"]} if "label" in batch else {}
            if self.layout is None:
                return {"vector": nodes[0].z.reshape(nodes[0].z.shape[0], -1), **label}
            tokens = self.layout.flatten(codes_of_nodes(nodes)).astype(jnp.int32)
            if "mask" in batch:
                return {"tokens": jnp.maximum(tokens, 0), "mask": tokens >= 0, **label}
            return {"tokens": tokens, **label}

        compiled = jax.jit(encode, out_shardings=replicated(self.mesh))
        rows = rows_of_split(
            lambda rows, mask, number: compiled(self.params, rows, number),
            source,
            self.batch_size,
            sharding=batch_sharding(self.mesh),
            description=f"encoding {source.name}",
        )
        rows = in_stored_order(rows, source.size)
        if self.layout is not None and self.layout.vocabulary <= 2**16:
            rows["tokens"] = rows["tokens"].astype(np.uint16)
        return in_memory(
            rows,
            np.arange(source.size),
            name=source.name,
            split=source.split,
            decode=decode_rows,
            num_classes=source.num_classes,
            class_names=source.class_names,
            layout=self.layout,
            unit_scale=True,
        )

    def joint_family(self, prior: Family) -> Family:
        """This model under a learned prior, for evaluation and sampling; it has no players."""
        batch: PyTree = self.spec.batch(1) if self.spec is not None else None
        shape: tuple[int, ...] = ()
        if self.layout is None and batch is not None:
            encode, key = self.family.model.encode, key_shape()
            shape = jax.eval_shape(encode, self.params, batch, key)[0].z.shape[1:]
        model = two_stage_model(self.family.model, prior.model, self.layout, shape)
        return Family(model, chain(losses.nll(), losses.kl()), {})

    def joint_params(self, params: Params) -> Params:
        """The parameters of `joint_family`, given those of the prior."""
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
    """A first stage from a model in memory; `restore` opens one from a working directory.

    Args:
      family: of the model.
      params: of it, on the devices of the mesh.
      source: data of the kind that it was trained on.
      mesh: the devices; None for one.
      batch_size: examples at once.
      binarize: as in its training.

    Raises:
      ValueError: a prior cannot be learned for such a model.
    """
    mesh, prepare = make_mesh(1) if mesh is None else mesh, preparation(source, binarize)
    check_batch(mesh, batch_size)
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(prepare, rows, key_shape())
    layout = layout_of_model("first_stage", family, params, batch)
    spec = spec_of(source, binarize)
    return FirstStage(family, params, layout, mesh, batch_size, binarize, spec)


def restore(
    config: Config,
    mesh: Mesh,
    *,
    build: Callable[..., Family],
    load_split: Callable[[Config, str], Source],
) -> tuple[Config, FirstStage]:
    """The run that a prior's config names as `first_stage`, at checkpoint `first_stage_step`.

    A step of 0 stands for the best if it has a validation split, else for the newest.

    Args:
      config: of the prior.
      mesh: where to put the parameters.
      build: `(config, shape, dataset_info) -> family`.
      load_split: `(config, split) -> its data`.

    Returns:
      The prior's config with the run's `data` (except `condition_dropout` and `augment`) and the
      step of the checkpoint; and the first stage.

    Raises:
      FileNotFoundError: there is no such run, or no such checkpoint of it.
      ValueError: a prior cannot be learned for such a model.
    """
    run = open_run(
        as_path(config["first_stage"]), mesh, "first_stage", build=build, load_split=load_split
    )
    own = config["data"]
    data = {
        **run.config["data"],
        "condition_dropout": own["condition_dropout"],
        "augment": own.get("augment", {}),
    }
    layout = layout_of_model(run.name, run.family, run.like.params, run.batch)
    state = run.restore(config["first_stage_step"])
    first = FirstStage(
        run.family,
        eval_params(state),
        layout,
        mesh,
        run.config["train"]["batch_size"],
        data["binarize"],
        run.spec,
    )
    return {**config, "data": data, "first_stage_step": int(state.step)}, first
