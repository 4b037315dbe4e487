"""A classifier p(label | x), without latents; its features evaluate the samples of other models."""

from collections.abc import Sequence

import jax

from vaejax.core.events import check_event, event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Categorical, with_missing
from vaejax.models.shared import generate_with, make_trace
from vaejax.networks import Network

__all__ = ["classifier"]


def classifier(encoder: Network, head: Network, shape: Sequence[int]) -> Model:
    """A classifier with parameter groups `encoder` and `head`; its ELBO is log p(label | x).

    The event of its trace is the label; examples with the label −1 have no loss. `Model.features`
    returns the inputs of the head: the encoder's features after a ReLU; `Model.feature_maps` the
    outputs of its convolutions after a ReLU.

    Args:
      encoder: events `[B, *shape]` -> features `[B, F]`.
      head: features -> logits `[B, K]`.
      shape: of one event.
    """

    def features(params: Params, x: jax.Array) -> jax.Array:
        check_event(x, shape)
        return jax.nn.relu(encoder.apply(params["encoder"], x))

    def feature_maps(params: Params, x: jax.Array) -> tuple[jax.Array, ...]:
        assert encoder.maps is not None
        return tuple(jax.nn.relu(m) for m in encoder.maps(params["encoder"], x))

    def label(batch: Batch) -> jax.Array:
        if "label" not in batch:
            raise ValueError(f"a classifier needs labels, the batch has {sorted(batch)}")
        return batch["label"]

    def init(key: jax.Array, batch: Batch) -> Params:
        encoder_key, head_key = jax.random.split(key)
        x = event(batch)
        params: Params = {"encoder": encoder.init(encoder_key, x)}
        return {**params, "head": head.init(head_key, features(params, x))}

    def decode(params: Params, zs: tuple[()], batch: Batch | None = None) -> Categorical:
        if zs or batch is None:
            raise ValueError("a classifier has no latents: it decodes a batch, (params, (), batch)")
        return Categorical(head.apply(params["head"], features(params, event(batch))))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        del key
        labels, p = label(batch), decode(params, (), batch)
        return make_trace(labels, with_missing(p, labels, labels >= 0), (), step)

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        del params, batch, key
        return ()

    def sample_prior(*args: object) -> tuple[()]:
        raise ValueError("a classifier generates nothing: it has no prior")

    generate = generate_with(sample_prior, decode)
    return Model(
        init, forward, encode, decode, generate, features=features, honours_mask=True,
        classify=lambda params, batch: decode(params, (), batch).logits,
        feature_maps=feature_maps if encoder.maps else None,
    )  # fmt: skip
