"""A model of data in their own units, from a model of standardised data."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import EVENTS, event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.rng import key_shape
from vaejax.core.types import PyTree
from vaejax.distributions import in_units, support_of

__all__ = ["standardized"]

Units = tuple[np.ndarray, np.ndarray]  # shift and scale, of the last axes of a field


def standardized(
    model: Model, units: Mapping[str, Units], batch: Mapping[str, jax.ShapeDtypeStruct]
) -> Model:
    """The model behind a change of units: its networks read (x − shift) / scale.

    Everything outside is in the units of the data: events and conditions that it is given, p(x | z)
    and its samples, hence nll, ELBO, figures, exports. log p(x | z) is that of the standardised
    event minus Σ log scale, so an affine change x -> a x + b of a column changes the ELBO by
    −log |a| and nothing else.

    Only a likelihood of real numbers can be transformed; of other models only the fields that are
    not explained (conditions, and the inputs of a classifier) are standardised.

    Args:
      model: a model.
      units: field of a batch -> shift and scale.
      batch: shapes of a batch.
    """
    explained = _explained_field(model, batch)
    if explained in units and not _explains_real_numbers(model, batch):
        units = {name: value for name, value in units.items() if name != explained}
    if not units:
        return model
    output = units.get(explained or "")

    def read(batch: Batch | None) -> Batch | None:
        return batch and {
            name: _standardize(value, units.get(name)) for name, value in batch.items()
        }

    def write(p: PyTree) -> PyTree:
        return p if output is None or p is None else in_units(p, *map(jnp.asarray, output))

    def init(key: jax.Array, batch: Batch) -> Params:
        return model.init(key, read(batch))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        trace = model.forward(params, read(batch), key, step)
        if output is None:
            return trace
        assert explained is not None
        return trace._replace(
            x=_in_data_units(trace.x, event(batch), output),
            likelihood=write(trace.likelihood),
            generated=write(trace.generated),
        )

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        return model.encode(params, read(batch), key)

    def decode(params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None) -> PyTree:
        return write(model.decode(params, zs, read(condition)))

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None = None,
        temperature: float | jax.Array = 1.0,
        **options: PyTree,
    ) -> PyTree:
        return write(model.generate(params, key, n, read(condition), temperature, **options))

    changed = model._replace(
        init=init, forward=forward, encode=encode, decode=decode, generate=generate
    )
    if model.features is not None:
        name = next(name for name in EVENTS if name in batch)
        features = model.features
        changed = changed._replace(
            features=lambda params, x: features(params, _standardize(x, units.get(name)))
        )
    if model.sequences is not None and output is not None:
        changed = changed._replace(sequences=_sequences(model.sequences, output))
    return changed


def _standardize(x: jax.Array, units: Units | None) -> jax.Array:
    """(x − shift) / scale; x itself without units."""
    if units is None:
        return x
    shift, scale = (jnp.broadcast_to(value, x.shape) for value in units)
    return (x - shift) / scale


def _in_data_units(u: jax.Array, event: jax.Array, units: Units) -> jax.Array:
    """The explained event: that of the batch, or frames of it, in the units of the data."""
    if u.shape[1:] == event.shape[1:]:  # several samples of an example are adjacent rows
        return jnp.repeat(event, u.shape[0] // event.shape[0], axis=0)
    shift, scale = (jnp.broadcast_to(value, u.shape) for value in units)
    return shift + scale * u


def _sequences(sequences: PyTree, units: Units) -> PyTree:
    """The functions of a sequence model that read frames, in the units of the data."""
    return sequences._replace(
        belief_states=lambda params, x: sequences.belief_states(params, _standardize(x, units)),
        update_state=lambda params, state, frame: sequences.update_state(
            params, state, _standardize(frame, units)
        ),
    )


def _explained_field(model: Model, batch: Mapping[str, PyTree]) -> str | None:
    """The field that p(x | z) explains: the event, except of a classifier."""
    return None if model.features is not None else next((n for n in EVENTS if n in batch), None)


def _explains_real_numbers(model: Model, batch: Mapping[str, PyTree]) -> bool:
    """Whether the support of the likelihood is the real line; computes nothing."""

    def likelihood(key: jax.Array, batch: Batch) -> PyTree:
        return model.forward(model.init(key, batch), batch, key, None).likelihood

    support = support_of(jax.eval_shape(likelihood, key_shape(), batch))
    return support is not None and support.real
