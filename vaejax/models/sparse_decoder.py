"""An autoencoder whose decoder selects latents for every column of a table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.conditions import Condition
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.registry import make
from vaejax.distributions.likelihoods import Likelihood, negative_binomial, normal, scale_feature
from vaejax.models.autoencoder import autoencoder, event
from vaejax.networks import Network

PARTS = ("selector", "columns")  # of the decoder of `networks.columns`, groups of their own here


def split(model: Model, group: str, parts: Sequence[str]) -> Model:
    """The same model with subtrees of one of its parameter groups as groups of their own.

    So that other players can own them.

    Args:
      model: whose group is a dict.
      group: its name.
      parts: names of subtrees; the rest stays in the group.
    """

    def joined(params: Params) -> Params:
        rest = {name: tree for name, tree in params.items() if name not in parts}
        return {**rest, group: {**params[group], **{part: params[part] for part in parts}}}

    def init(key: jax.Array, batch: Batch) -> Params:
        params = dict(model.init(key, batch))
        whole = dict(params[group])
        taken = {part: whole.pop(part) for part in parts}
        return {**params, group: whole, **taken}

    def forward(params: Params, *args: Any) -> Trace:
        return model.forward(joined(params), *args)

    def encode(params: Params, *args: Any) -> tuple[Latent, ...]:
        return model.encode(joined(params), *args)

    def decode(params: Params, *args: Any) -> Any:
        return model.decode(joined(params), *args)

    def generate(params: Params, *args: Any) -> Any:
        return model.generate(joined(params), *args)

    return Model(init, forward, encode, decode, generate)


class Start(NamedTuple):
    """Of each column `[D]`: location and unit of the decoder's output, and the second feature."""

    location: jax.Array
    unit: jax.Array
    second: jax.Array


class Columns(NamedTuple):
    """What kind of numbers a table holds.

    Attributes:
      likelihood: from a location and a second feature of each column, `[B, 2 · D]`.
      seen: x -> what the encoder sees of it.
      start: `(x, condition) -> Start`, where to start from.
      condition: what encoder and decoder are given beside; None for nothing.
    """

    likelihood: Likelihood
    seen: Callable[[jax.Array], jax.Array]
    start: Callable[[jax.Array, jax.Array | None], Start]
    condition: Condition | None = None


def real_columns() -> Columns:
    """Real numbers: x_ij ~ N(f_ij, σ_j²), f_ij in units of the column's standard deviation."""

    def start(x: jax.Array, condition: jax.Array | None) -> Start:
        del condition
        spread = jnp.maximum(x.std(axis=0), 1e-2)
        return Start(x.mean(axis=0), spread, scale_feature(spread))

    return Columns(normal("predicted"), lambda x: x, start)


def count_columns(reference: float = 1000.0) -> Columns:
    """Counts: x_ij ~ NegativeBinomial(mean e_i exp(f_ij), concentration r_j).

    e_i is the exposure of an example, its total over all columns / `reference` (the
    library size of a cell in scVI, 1709.02082): it is given, and p(x | z) is conditional on it.
    The encoder sees log(1 + x) and log e. What is generated without it has exposure one.

    Args:
      reference: the total at which exp(f) is the mean.
    """

    def read(batch: Batch) -> jax.Array:
        total = event(batch).sum(axis=1, keepdims=True)
        return jnp.log(jnp.maximum(total, 1.0) / reference)

    def start(x: jax.Array, condition: jax.Array | None) -> Start:
        assert condition is not None
        rate = (x.sum(axis=0) + 0.5) / jnp.exp(condition).sum()
        return Start(jnp.log(rate), jnp.ones_like(rate), jnp.zeros_like(rate))

    exposure = Condition(read, lambda n: jnp.zeros((n, 1)))
    return Columns(negative_binomial(), jnp.log1p, start, exposure)


COLUMNS: dict[str, Callable[..., Columns]] = {"normal": real_columns, "counts": count_columns}


def columns_of(setting: str | Mapping[str, Any] | Columns) -> Columns:
    """A kind of columns from its name, from `{"kind": name, **arguments}`, or given as it is.

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
    **options: Any,
) -> Model:
    """Sparse decoding (2110.10804): groups of `autoencoder`, and `selector` and `columns`.

    The columns' locations, units and scales start at those of the first batch.

    Args:
      encoder: what is seen of events `[B, D]` (and the condition) -> features.
      bottleneck: features -> `Latent`.
      decoder: as from `networks.columns`.
      columns: what the table holds.
      shape: (D,).
      **options: of `autoencoder`.
    """
    seeing = Network(
        lambda key, x, *c: encoder.init(key, columns.seen(x), *c),
        lambda params, x, *c: encoder.apply(params, columns.seen(x), *c),
    )
    whole = autoencoder(
        seeing, bottleneck, decoder, columns.likelihood, shape,
        condition=columns.condition, **options,
    )  # fmt: skip
    model = split(whole, "decoder", PARTS)

    def init(key: jax.Array, batch: Batch) -> Params:
        params = model.init(key, batch)
        condition = columns.condition.read(batch) if columns.condition else None
        start = columns.start(event(batch), condition)
        body = {**params["decoder"]["body"], "bias": start.location, "unit": start.unit}
        return {**params, "decoder": {"body": body}, "columns": start.second[None]}

    return model._replace(init=init)
