"""A classifier: p(label | x), with no latents. What it sees judges what others generate."""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Categorical
from vaejax.networks import Network


def classifier(encoder: Network, head: Network, shape: Sequence[int]) -> Model:
    """Parameter groups `encoder` and `head`. Its ELBO is log p(label | x).

    What its trace explains is the label. `features` are what the last layer sees, after ReLU.

    Args:
      encoder: events `[B, *shape]` -> features `[B, F]`.
      head: features -> logits `[B, K]`.
      shape: of one event.
    """

    def features(params: Params, x: jax.Array) -> jax.Array:
        chex.assert_shape(x, (None, *shape))
        return jax.nn.relu(encoder.apply(params["encoder"], x))

    def label(batch: Batch) -> jax.Array:
        if "label" not in batch:
            raise ValueError(f"a classifier learns from labels; the data have {sorted(batch)}")
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
        return Trace(label(batch), decode(params, (), batch), (), None, 0 if step is None else step)

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        del params, batch, key
        return ()

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        raise ValueError("a classifier generates nothing: it is there for its features")

    return Model(init, forward, encode, decode, generate, features=features)
