"""Sparse decoding: an autoencoder whose decoder selects latents for every column of a table."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.conditions import Condition
from vaejax.core.distribution import Distribution
from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.registry import make
from vaejax.core.types import Options, PyTree, Setting
from vaejax.distributions.likelihoods import Likelihood, negative_binomial, normal, scale_feature
from vaejax.models.autoencoder import autoencoder
from vaejax.networks import Network

__all__ = ["COLUMNS", "ColumnInit", "Columns", "build_columns", "sparse_decoder", "split_group"]

_SUBTREES = ("selector", "columns")  # of `networks.sparse_decoder`; separate groups here


def split_group(model: Model, group: str, subtrees: Sequence[str]) -> Model:
    """The same model with subtrees of one parameter group as separate groups.

    Different players can then own them.

    Args:
      model: its parameter group is a dict.
      group: name of the group.
      subtrees: names of the subtrees; the others stay in the group.
    """

    def join(params: Params) -> Params:
        rest = {name: tree for name, tree in params.items() if name not in subtrees}
        return {**rest, group: {**params[group], **{name: params[name] for name in subtrees}}}

    def init(key: jax.Array, batch: Batch) -> Params:
        params = dict(model.init(key, batch))
        remaining = dict(params[group])
        separate = {name: remaining.pop(name) for name in subtrees}
        return {**params, group: remaining, **separate}

    def forward(params: Params, *args: PyTree) -> Trace:
        return model.forward(join(params), *args)

    def encode(params: Params, *args: PyTree) -> tuple[Latent, ...]:
        return model.encode(join(params), *args)

    def decode(params: Params, *args: PyTree) -> Distribution:
        return model.decode(join(params), *args)

    def generate(params: Params, *args: PyTree) -> Distribution:
        return model.generate(join(params), *args)

    return Model(init, forward, encode, decode, generate)


class ColumnInit(NamedTuple):
    """Initial parameters of the columns, `[D]` each.

    Attributes:
      location: of the decoder's output.
      unit: scale of the decoder's output, not trained.
      second: the second feature of the likelihood.
    """

    location: jax.Array
    unit: jax.Array
    second: jax.Array


class Columns(NamedTuple):
    """A type of table.

    Attributes:
      likelihood: from a location and a second feature of each column, `[B, 2 · D]`.
      encoder_input: x -> the input of the encoder.
      init: `(x, condition) -> ColumnInit` from the statistics of a batch.
      condition: second input of encoder and decoder; None for none.
    """

    likelihood: Likelihood
    encoder_input: Callable[[jax.Array], jax.Array]
    init: Callable[[jax.Array, jax.Array | None], ColumnInit]
    condition: Condition | None = None


def _real_columns() -> Columns:
    """Real numbers: x_ij ~ N(f_ij, σ_j²), f_ij in units of the column's standard deviation."""

    def init(x: jax.Array, condition: jax.Array | None) -> ColumnInit:
        del condition
        deviation = jnp.maximum(x.std(axis=0), 1e-2)
        return ColumnInit(x.mean(axis=0), deviation, scale_feature(deviation))

    return Columns(normal("predicted"), lambda x: x, init)


def _count_columns(reference: float = 1000.0) -> Columns:
    """Counts: x_ij ~ NegativeBinomial(mean e_i exp(f_ij), concentration r_j).

    e_i is the exposure of an example, its total over all columns / `reference` (the library size of
    a cell in scVI, 1709.02082). It is a condition: the likelihood is p(x | z, e). The encoder
    receives log(1 + x) and log e. Without a condition, generated examples have exposure one.

    Args:
      reference: the total at which exp(f) is the mean.
    """

    def read(batch: Batch) -> jax.Array:
        total = event(batch).sum(axis=1, keepdims=True)
        return jnp.log(jnp.maximum(total, 1.0) / reference)

    def init(x: jax.Array, condition: jax.Array | None) -> ColumnInit:
        assert condition is not None
        rate = (x.sum(axis=0) + 0.5) / jnp.exp(condition).sum()
        return ColumnInit(jnp.log(rate), jnp.ones_like(rate), jnp.zeros_like(rate))

    log_exposure = Condition(read, lambda n: jnp.zeros((n, 1)))
    return Columns(negative_binomial(), jnp.log1p, init, log_exposure)


COLUMNS: dict[str, Callable[..., Columns]] = {"normal": _real_columns, "counts": _count_columns}


def build_columns(setting: str | Options | Columns) -> Columns:
    """A type of table from a name in `COLUMNS` or from `{"kind": name, **arguments}`.

    Args:
      setting: one of these, or a `Columns`, which is returned unchanged.

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    return setting if isinstance(setting, Columns) else make(COLUMNS, setting, "kind of columns")


def sparse_decoder(
    encoder: Network,
    bottleneck: Bottleneck,
    decoder: Network,
    columns: Columns,
    shape: Sequence[int],
    **options: Setting,
) -> Model:
    """Sparse decoding (2110.10804): groups of `autoencoder`, and `selector` and `columns`.

    Locations, units and scales of the columns are initialised from the first batch.

    Args:
      encoder: encoder input `[B, D]` (and the condition) -> features.
      bottleneck: features -> `Latent`.
      decoder: from `networks.sparse_decoder`.
      columns: the type of table.
      shape: (D,).
      **options: of `autoencoder`.
    """
    input_encoder = Network(
        lambda key, x, *c: encoder.init(key, columns.encoder_input(x), *c),
        lambda params, x, *c: encoder.apply(params, columns.encoder_input(x), *c),
    )
    likelihood = columns.likelihood._replace(encoder_input=None)  # the columns have their own
    joint = autoencoder(
        input_encoder, bottleneck, decoder, likelihood, shape,
        condition=columns.condition, **options,
    )  # fmt: skip
    model = split_group(joint, "decoder", _SUBTREES)

    def init(key: jax.Array, batch: Batch) -> Params:
        params = model.init(key, batch)
        condition = columns.condition.read(batch) if columns.condition else None
        first = columns.init(event(batch), condition)
        body = {**params["decoder"]["body"], "bias": first.location, "unit": first.unit}
        return {**params, "decoder": {"body": body}, "columns": first.second[None]}

    return model._replace(init=init)
