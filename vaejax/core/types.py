"""The types of the game: traces, loss transforms, players, models and families."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import optax

from vaejax.core.distribution import Distribution

__all__ = [
    "Batch",
    "Family",
    "Json",
    "Latent",
    "LossTransform",
    "Losses",
    "Metrics",
    "Model",
    "Options",
    "Params",
    "Player",
    "PyTree",
    "Setting",
    "Step",
    "Trace",
    "Untyped",
    "UserArray",
    "Weight",
]

# A tree of arrays of a structure that the function does not depend on. No type can express it: JAX
# maps over nested tuples, dicts and registered classes alike.
PyTree: TypeAlias = Any
Params = dict[str, PyTree]  # group name -> tree of arrays
# A setting of a config: a number, a string, a sequence or further options, which the function that
# receives it checks.
Setting: TypeAlias = Any
Options: TypeAlias = Mapping[str, Setting]  # settings by name
Json: TypeAlias = Any  # what a JSON file holds
Untyped: TypeAlias = Any  # an object of a package without types: pyarrow, h5py, datasets, ...
UserArray: TypeAlias = Any  # what `numpy.asarray` takes, or a list or tuple of such
Losses = dict[str, jax.Array]  # loss name -> [] (of the batch), [B] or [B, L]
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]  # metric name -> [] (of the batch) or [B]
Step = int | jax.Array
Weight = float | jax.Array | Callable[[Step], float | jax.Array]  # a number, [L], a schedule


class Latent(NamedTuple):
    """One stochastic node: q(z | ...), p(z | ...), and the sample z that the decoder received."""

    posterior: Distribution
    prior: Distribution
    z: jax.Array  # [B, ...]


class Trace(NamedTuple):
    """The result of a forward pass, from which every loss and metric is computed.

    Attributes:
      x: the event, `[B, ...]`.
      likelihood: p(x | z), a distribution.
      latents: the stochastic nodes, top-down.
      generated: p(x | z) at z ~ prior, only in models built to compute it.
      step: the training step, for losses that anneal something other than their weight.
      condition: of a conditional model, `[B, ...]`; None for any other.
    """

    x: jax.Array
    likelihood: Distribution
    latents: tuple[Latent, ...]
    generated: Distribution | None = None
    step: Step = 0
    condition: jax.Array | None = None


class LossTransform(NamedTuple):
    """A pair of pure functions that adds named losses to a dict of them.

    Attributes:
      init: `(key, trace) -> {group: params}`, the parameters of its own networks; `{}` if none.
      apply: `(losses, params, trace, key) -> losses`. It receives the losses of the transforms
        before it, all parameter groups of the family, the trace and a random key, and returns these
        losses with its own added; it may not overwrite or drop any.
      batch_statistics: names of the losses whose value for an example, or for the batch, depends on
        the other examples of the batch. An evaluation, which averages them over batches, reports
        them as `batch/NAME`.
    """

    init: Callable[[jax.Array, Trace], Params]
    apply: Callable[[Losses, Params, Trace, jax.Array], Losses]
    batch_statistics: tuple[str, ...] = ()


class Player(NamedTuple):
    """One row of the table: its parameter groups, its objective and its optimizer.

    Attributes:
      owns: names of parameter groups; every group of a family has exactly one owner.
      minimizes: loss name -> weight. A weight is a number (traced or not), an array `[L]` for a
        loss `[B, L]`, or a schedule of the step.
      tx: the optimizer of these groups. Its update also receives `trace`, `losses` and `key` as
        extra arguments, so that closed-form updates (an EMA codebook) and updates that depend on
        losses (a discriminator that is frozen while it is ahead) are ordinary optimizers.
    """

    owns: tuple[str, ...]
    minimizes: Mapping[str, Weight]
    tx: optax.GradientTransformation


class Model(NamedTuple):
    """Pure functions over a dict of parameter groups.

    Attributes:
      init: `(key, batch) -> {group: params}`, possibly depending on the batch (data-dependent
        initialisation).
      forward: `(params, batch, key, step) -> Trace`; outside of training the step is None, and
        nothing is dropped out or relaxed.
      encode: `(params, batch, key) -> tuple[Latent, ...]`; with the key None, z are means or the
        most likely codes.
      decode: `(params, zs, condition) -> likelihood`.
      generate: `(params, key, n, condition, temperature) -> likelihood` at z ~ prior.
      embed: `(params, indices of each node) -> zs`, for models whose nodes hold codes; else None.
      sequences: a `sequences.SequenceModel`, for models that predict future frames; else None.
      features: `(params, events) -> [B, F]`, the inputs of a classifier's last layer; else None.
      feature_maps: `(params, events) -> ([B, h, w, F], ...)`, the activations of a classifier's
        convolutions; else None.
      classify: `(params, batch) -> [B, K]`, the logits of q(class | x), of models with such a
        density; else None.
      last_layer: path of the weights of the decoder's last layer in the parameters, names joined by
        `/`, as its network declares it; None if it declares none.
      honours_mask: whether missing parts of events (the field `mask` of a batch) have no effect on
        losses, gradients and updates; batches with a mask are refused otherwise.
    """

    init: Callable[..., Params]
    forward: Callable[..., Trace]
    encode: Callable[..., tuple[Latent, ...]]
    decode: Callable[..., Distribution]
    generate: Callable[..., Distribution]
    embed: Callable[..., tuple[jax.Array, ...]] | None = None
    sequences: PyTree = None
    features: Callable[..., jax.Array] | None = None
    classify: Callable[..., jax.Array] | None = None
    honours_mask: bool = False
    last_layer: str | None = None
    feature_maps: Callable[..., tuple[jax.Array, ...]] | None = None


class Family(NamedTuple):
    """A model, its chain of losses and its table of players: what the trainer trains."""

    model: Model
    losses: LossTransform
    players: Mapping[str, Player]
