"""An autoregressive model of tokens, p(tokens | class), without latents."""

import chex
import jax

from vaejax.core.conditions import Condition
from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Categorical, Delta
from vaejax.models.shared import condition_reader, generate_with, make_trace
from vaejax.networks import Autoregressive
from vaejax.second_stage.sampling import sample_sequences

__all__ = ["code_prior"]


def code_prior(
    network: Autoregressive,
    length: int,
    *,
    condition: Condition | None = None,
    group: str = "prior",
) -> Model:
    """A prior over codes with parameter group `prior`; its ELBO is log p(tokens).

    `decode` takes the batch of tokens in place of a condition, and returns p of each token given
    those before it. `generate` returns the sampled tokens as `distributions.Delta`, and has the
    options `top_k` and `top_p` besides the temperature.

    Args:
      network: predicts the logits.
      length: T of the tokens `[B, T]`.
      condition: None for an unconditional prior.
      group: name of the parameter group.
    """
    read_condition = condition_reader(condition)

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        chex.assert_shape(x, (None, length))
        return {group: network.init(key, x, *read_condition(batch, len(x)))}

    def decode(params: Params, zs: tuple[()], batch: Batch | None = None) -> Categorical:
        if zs or batch is None:
            raise ValueError(
                "a prior over codes has no latents: it decodes a batch of tokens, "
                "(params, (), batch) -> p of each given those before it"
            )
        x = event(batch)
        chex.assert_shape(x, (None, length))
        return Categorical(network.apply(params[group], x, *read_condition(batch, len(x))))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        del key
        x = event(batch)
        return make_trace(x, decode(params, (), batch), (), step, read_condition(batch, len(x)))

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        del params, batch, key
        return ()

    def sample_tokens(
        params: Params,
        key: jax.Array,
        n: int,
        batch: Batch | None,
        temperature: float | jax.Array,
        *,
        top_k: int | jax.Array = 0,
        top_p: float | jax.Array = 1.0,
    ) -> jax.Array:
        c = read_condition(batch, n)
        return sample_sequences(
            network, params[group], key, n, length, *c,
            temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip

    generate = generate_with(sample_tokens, lambda params, tokens, condition: Delta(tokens))
    return Model(init, forward, encode, decode, generate)
