"""Hierarchical VAEs: features go bottom-up, latents top-down, each given the ones above it.

LVAE (1602.02282), VDVAE (2011.10650) and NVAE (2007.03898) are this topology with other networks
and another `merge` of prior and encoder features: their configs differ, the code does not. Blocks
of one shape form a stage and run as one loop, so that compile time does not grow with depth.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.events import check_event, event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.registry import near_names
from vaejax.distributions import Distribution
from vaejax.distributions.likelihoods import Likelihood
from vaejax.latents.bottlenecks import MIN_SCALE
from vaejax.models.ladder_block import (
    MERGES,
    Block,
    BlockInputs,
    Stage,
    first_values,
    init_stage,
    run_stage,
)
from vaejax.models.shared import (
    explained,
    generate_with,
    make_trace,
    with_encoder_input,
    with_likelihood_constants,
)
from vaejax.networks import Network

__all__ = ["MERGES", "Ladder", "Stage", "ladder"]


@dataclasses.dataclass(frozen=True)
class Ladder:
    """The functions of the model that `ladder` returns; the attributes are its arguments."""

    bottom_up: Network
    stages: tuple[Stage, ...]
    output: Network
    likelihood: Likelihood
    shape: tuple[int, ...]
    latent_dims: tuple[int, ...]
    remat: bool
    min_scale: float

    @property
    def names(self) -> list[str]:
        """Of the stages, in the parameter groups."""
        return [f"stage_{i}" for i in range(len(self.stages))]

    @property
    def num_latents(self) -> int:
        """L, the number of blocks of all stages."""
        return sum(stage.blocks for stage in self.stages)

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Parameters of all networks."""
        x = event(batch)
        up_key, out_key, key = jax.random.split(key, 3)
        encoder: Params = {"bottom_up": self.bottom_up.init(up_key, x)}
        decoder: Params = {}
        activations = self.bottom_up.apply(encoder["bottom_up"], x)
        h = jnp.zeros((x.shape[0], 1))
        for i, (name, stage, dim) in enumerate(self._named_stages()):
            stage_key = jax.random.fold_in(key, i)
            encoder[name], decoder[name], h = init_stage(stage_key, stage, dim, h, activations[i])
        decoder["output"] = self.output.init(out_key, h)
        return {"encoder": encoder, "decoder": decoder}

    def _named_stages(self) -> list[tuple[str, Stage, int]]:
        return list(zip(self.names, self.stages, self.latent_dims, strict=True))

    def top_down(
        self,
        params: Params,
        n: int,
        key: jax.Array | None,
        activations: tuple[jax.Array, ...] | None,
        zs: tuple[jax.Array, ...],
        temperature: float | jax.Array,
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        """All nodes, top-down, and the features for the likelihood.

        Args:
          params: of the model.
          n: number of examples.
          key: for samples; None for means.
          activations: bottom-up; None to sample from the priors.
          zs: given values of the first latents.
          temperature: of samples from the priors, scalar or `[L]`.
        """
        temperature = jnp.asarray(temperature, jnp.float32)
        temperatures = jnp.broadcast_to(temperature, (self.num_latents,))
        latents: list[Latent] = []
        h = jnp.zeros((n, 1))
        for i, (name, stage, dim) in enumerate(self._named_stages()):
            group, first = params["decoder"][name], len(latents)
            h = stage.enter.apply(group["enter"], h)
            activation = activations[i] if activations is not None else None
            block = Block(stage, dim, self.min_scale, key, activation)
            fixed = first_values(zs[first : first + stage.blocks], stage.blocks)
            inputs = BlockInputs(
                group["blocks"],
                params["encoder"][name] if activations is not None else None,
                first + jnp.arange(stage.blocks),
                temperatures[first : first + stage.blocks],
                fixed,
            )
            h, nodes = run_stage(block, h, inputs, remat=self.remat)
            latents += nodes
        return tuple(latents), self.output.apply(params["decoder"]["output"], h)

    def infer(
        self, params: Params, batch: Batch, key: jax.Array | None
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        """The nodes given the events, and the features for the likelihood."""
        x = event(batch)
        check_event(x, self.shape)
        activations = self.bottom_up.apply(params["encoder"]["bottom_up"], x)
        return self.top_down(params, x.shape[0], key, activations, (), 1.0)

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """The nodes given the events."""
        return self.infer(params, batch, key)[0]

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace of the events."""
        latents, features = self.infer(params, batch, key)
        p = explained(self.likelihood.apply(features), batch)
        return make_trace(event(batch), p, latents, step)

    def decode(
        self,
        params: Params,
        zs: tuple[jax.Array, ...],
        condition: Batch | None = None,
        key: jax.Array | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Distribution:
        """p(x | z) given the first of the latents, see `ladder`."""
        total = self.num_latents
        if not 1 <= len(zs) <= total:
            raise ValueError(
                f"this ladder has {total} latents: decode takes the first 1 to {total} of them, "
                f"found {len(zs)}; generate takes none"
            )
        features = self.top_down(params, zs[0].shape[0], key, None, zs, temperature)[1]
        return explained(self.likelihood.apply(features), condition)

    def sample_features(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> jax.Array:
        """The features for the likelihood of samples from the priors."""
        del condition
        return self.top_down(params, n, key, None, (), temperature)[1]


def ladder(
    bottom_up: Network,
    stages: Sequence[Stage],
    output: Network,
    likelihood: Likelihood,
    shape: Sequence[int],
    *,
    latent_dims: Sequence[int],
    remat: bool = True,
    min_scale: float = MIN_SCALE,
) -> Model:
    """A hierarchical VAE with parameter groups `encoder` (bottom-up, posteriors) and `decoder`.

    `decode` takes the z of every block, or only those of the first k, top-down: the others are then
    sampled from their priors with its arguments `key` and `temperature`, or are prior means if the
    key is None. `generate` takes one temperature, or one for each block `[L]`.

    Args:
      bottom_up: event -> activations of each stage, the top first.
      stages: the top first.
      output: h of the last stage -> features for the likelihood.
      likelihood: p(x | z).
      shape: of one event.
      latent_dims: channels of z in each stage.
      remat: whether the backward pass recomputes the activations of blocks in a loop, which saves
        memory.
      min_scale: lower bound of the standard deviations of priors and of the encoder's densities.
        Where a latent is unused both shrink to it, and the KL then penalises noise of the encoder
        by its square.

    Raises:
      ValueError: a merge is unknown, or `min_scale` is not between 0 and 1.
    """
    stages = tuple(stages)
    for stage in stages:
        if stage.merge not in MERGES:
            raise ValueError(f"unknown merge of a ladder {near_names(stage.merge, MERGES)}")
    if not 0 < min_scale < 1:
        raise ValueError(f"min_scale must be between 0 and 1, found {min_scale}")
    model = Ladder(
        with_encoder_input(bottom_up, likelihood), stages,
        with_likelihood_constants(output, likelihood), likelihood, tuple(shape),
        tuple(latent_dims), remat, min_scale,
    )  # fmt: skip
    generate = generate_with(
        model.sample_features, lambda params, features, condition: likelihood.apply(features)
    )
    functions = (model.init, model.forward, model.encode, model.decode, generate)
    return Model(*functions, honours_mask=True)
