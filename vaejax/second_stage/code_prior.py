"""A model of tokens: p(tokens | class), one after the other, with no latents."""

from collections.abc import Mapping
from typing import Any

import chex
import jax

from vaejax.core.conditions import Condition
from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Categorical, Point
from vaejax.networks import Autoregressive
from vaejax.second_stage.sampling import draw_sequences


def codes(
    network: Autoregressive,
    length: int,
    *,
    condition: Condition | None = None,
    group: str = "prior",
) -> Model:
    """Parameter group `prior`. Its trace has no latents, so its ELBO is log p(tokens).

    What it decodes needs the tokens themselves: p of each place given those before it, in the
    batch that stands where other models have a condition. `generate` gives what it has drawn,
    `distributions.Point`, and takes `top_k` and `top_p` beside the temperature.

    Args:
      network: of logits.
      length: T of the tokens `[B, T]`.
      condition: what is given; None for nothing.
      group: name of the parameter group.
    """

    def given(batch: Batch | None, n: int) -> tuple[jax.Array, ...]:
        if condition is None:
            return ()
        return (condition.absent(n) if batch is None else condition.read(batch),)

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        chex.assert_shape(x, (None, length))
        return {group: network.init(key, x, *given(batch, len(x)))}

    def decode(params: Params, zs: tuple[()], batch: Batch | None = None) -> Categorical:
        if zs or batch is None:
            raise ValueError(
                "a prior over codes has no latents: it decodes a batch of tokens, "
                "(params, (), batch) -> p of each given those before it"
            )
        x = event(batch)
        chex.assert_shape(x, (None, length))
        return Categorical(network.apply(params[group], x, *given(batch, len(x))))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        del key
        x = event(batch)
        c = given(batch, len(x))
        likelihood = decode(params, (), batch)
        return Trace(x, likelihood, (), None, 0 if step is None else step, c[0] if c else None)

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        del params, batch, key
        return ()

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        given_batch: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
        *,
        top_k: int | jax.Array = 0,
        top_p: float | jax.Array = 1.0,
    ) -> Any:
        c = given(given_batch, n)
        sampling: Any = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return Point(draw_sequences(network, params[group], key, n, length, *c, **sampling))

    return Model(init, forward, encode, decode, generate)
