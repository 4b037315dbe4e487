"""An autoregressive model of tokens, p(tokens | class), without latents."""

import dataclasses
from collections.abc import Callable

import chex
import jax

from vaejax.core.conditions import Condition
from vaejax.core.events import event, event_mask
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Categorical, Delta
from vaejax.models.shared import condition_reader, explained, generate_with, make_trace
from vaejax.networks import Autoregressive
from vaejax.second_stage.sampling import sample_sequences

__all__ = ["CodePrior", "code_prior"]


@dataclasses.dataclass(frozen=True)
class CodePrior:
    """The functions of the model that `code_prior` returns.

    Attributes:
      network: predicts the logits.
      length: T of the tokens.
      read_condition: see `condition_reader`.
      group: name of the parameter group.
    """

    network: Autoregressive
    length: int
    read_condition: Callable[[Batch | None, int], tuple[jax.Array, ...]]
    group: str

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """The network's parameters."""
        x = event(batch)
        chex.assert_shape(x, (None, self.length))
        return {self.group: self.network.init(key, x, *self.read_condition(batch, len(x)))}

    def decode(self, params: Params, zs: tuple[()], batch: Batch | None = None) -> Categorical:
        """p of each token given those before it."""
        if zs or batch is None:
            raise ValueError(
                "a prior over codes has no latents: it decodes a batch of tokens, "
                "(params, (), batch) -> p of each given those before it"
            )
        x = event(batch)
        chex.assert_shape(x, (None, self.length))
        c, mask = self.read_condition(batch, len(x)), event_mask(batch)
        if mask is None or self.network.masked is None:
            logits = self.network.apply(params[self.group], x, *c)
        else:
            logits = self.network.masked(params[self.group], mask, x, *c)
        return Categorical(logits)

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace, without latents."""
        del key
        x, p = event(batch), explained(self.decode(params, (), batch), batch)
        return make_trace(x, p, (), step, self.read_condition(batch, len(x)))

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """No latents."""
        del params, batch, key
        return ()

    def sample_tokens(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        batch: Batch | None,
        temperature: float | jax.Array,
        *,
        top_k: int | jax.Array = 0,
        top_p: float | jax.Array = 1.0,
    ) -> jax.Array:
        """Tokens `[n, T]`, one after the other."""
        c = self.read_condition(batch, n)
        return sample_sequences(
            self.network, params[self.group], key, n, self.length, *c,
            temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip


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
    model = CodePrior(network, length, condition_reader(condition), group)
    generate = generate_with(model.sample_tokens, lambda params, tokens, condition: Delta(tokens))
    functions = (model.init, model.forward, model.encode, model.decode, generate)
    return Model(*functions, honours_mask=network.masked is not None)
