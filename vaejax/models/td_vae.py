"""TD-VAE (1806.03107): beliefs about a sequence's state, and jumps from one time to another."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Sampled
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.sequence_model import Draws, SequenceModel
from vaejax.models.stacked_latents import Cascade, cascade, init_cascade, rollout_by
from vaejax.models.time_pairs import Steps, draw_pairs
from vaejax.networks import Network, Recurrent, step_features, with_constants


class Parts(NamedTuple):
    """The networks of TD-VAE. Layers of z are top-down; each is given those above it.

    Attributes:
      look: frames `[N, ...]` -> features `[N, F]`.
      remember: features of a sequence -> beliefs b_t `[B, T, D]`.
      believe: (b_t, z_t of the layers above) -> features of p_B(z_t | b_t).
      smooth: (z_t2, b_t1, b_t2, δ, z_t1 of the layers above) -> of q_S(z_t1 | ...).
      jump: (z_t1, δ, z_t2 of the layers above) -> of p_T(z_t2 | z_t1, δ).
      paint: z_t -> features for p_D(x_t | z_t).
    """

    look: Network
    remember: Recurrent
    believe: Cascade
    smooth: Cascade
    jump: Cascade
    paint: Network


def td_vae(
    parts: Parts,
    likelihood: Likelihood,
    shape: Sequence[int],
    *,
    latent_dims: Sequence[int],
    steps: Steps,
    pairs: int = 1,
    know_steps: bool = True,
) -> Model:
    """Parameter groups `belief` (look, remember, believe), `smoothing`, `transition`, `decoder`.

    `forward` draws pairs of times t1 < t2 of each sequence, and its trace has a row for each pair,
    those of a sequence side by side: x is the frame at t2, explained from z_t2 ~ p_B(· | b_t2). The
    nodes of z_t2 come first, layer by layer, p_B against p_T(· | z_t1), a one-sample estimate since
    z_t1 was drawn given z_t2; then those of z_t1, q_S against p_B(· | b_t1). Their sum is the
    loss of the paper (eq. 8). Whatever the jump it is at least −log p(x_t2 | b_t1): with exact
    densities equal to it for t2 = t1 + 1, and above for longer jumps, since b_t2 has also seen the
    frames between. It says nothing of log p of a whole sequence.

    `encode` gives what is believed at the end of a sequence, against what one step earlier would
    have been expected; `generate` goes on from the end of the sequences in `condition`, step by
    step for as long as they are. `model.sequences` is what else can be asked.

    Args:
      parts: the networks.
      likelihood: p(x_t | z_t).
      shape: of one sequence, (T, ...).
      latent_dims: of each layer of z, the top first.
      steps: how far t2 lies from t1.
      pairs: of times in each sequence.
      know_steps: whether smoothing and transition are told δ; an ablation.
    """
    length, frame = shape[0], tuple(shape[1:])
    if likelihood.constants:
        parts = parts._replace(paint=with_constants(parts.paint, likelihood.constants))

    def apart(delta: jax.Array) -> jax.Array:  # [B, S]
        features = step_features(delta, steps.longest)
        return features if know_steps else jnp.zeros_like(features)

    def look(params: Params, x: jax.Array) -> jax.Array:  # [B, T, ...] -> [B, T, F]
        chex.assert_shape(x, (None, None, *frame))
        flat = parts.look.apply(params["belief"]["look"], x.reshape(-1, *frame))
        return flat.reshape(*x.shape[:2], -1)

    def beliefs(params: Params, x: jax.Array) -> jax.Array:
        return parts.remember.apply(params["belief"]["remember"], look(params, x))

    def observe(params: Params, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        features = look(params, x[:, None])[:, 0]
        return parts.remember.step(params["belief"]["remember"], state, features)

    def believe(
        params: Params, b: jax.Array, key: jax.Array | None, temperature: float | jax.Array = 1.0
    ) -> Draws:
        own = params["belief"]["believe"]
        return cascade(parts.believe, own, b, key, temperature=temperature)

    def smooth(
        params: Params,
        later: Sequence[jax.Array],
        b1: jax.Array,
        b2: jax.Array,
        delta: jax.Array,
        key: jax.Array | None,
    ) -> Draws:
        inputs = jnp.concatenate([*later, b1, b2, apart(delta)], axis=1)
        return cascade(parts.smooth, params["smoothing"], inputs, key)

    def jump(
        params: Params,
        zs: Sequence[jax.Array],
        delta: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        given: Sequence[jax.Array] | None = None,
    ) -> Draws:
        inputs = jnp.concatenate([*zs, apart(delta)], axis=1)
        own = params["transition"]
        return cascade(parts.jump, own, inputs, key, given=given, temperature=temperature)

    def decode(params: Params, zs: Sequence[jax.Array], condition: Any = None) -> Any:
        del condition
        if len(zs) != len(latent_dims):
            raise ValueError(
                f"z of one time has {len(latent_dims)} layers, the top first, found {len(zs)}"
            )
        z = jnp.concatenate(tuple(zs), axis=1)
        return likelihood.apply(parts.paint.apply(params["decoder"], z))

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        keys = jax.random.split(key, 6)
        frames = x[:, 0]
        look_params = parts.look.init(keys[0], frames)
        features = parts.look.apply(look_params, frames)[:, None]
        memory = parts.remember.init(keys[1], features)
        b = parts.remember.apply(memory, features)[:, 0]
        z = jnp.zeros((len(x), sum(latent_dims)))
        delta = apart(jnp.ones(len(x), jnp.int32))

        def layers(key: jax.Array, nets: Cascade, *inputs: jax.Array) -> Params:
            return init_cascade(key, nets, jnp.concatenate(inputs, axis=1), latent_dims)

        belief = {"look": look_params, "remember": memory}
        return {
            "belief": {**belief, "believe": layers(keys[2], parts.believe, b)},
            "smoothing": layers(keys[3], parts.smooth, z, b, b, delta),
            "transition": layers(keys[4], parts.jump, z, delta),
            "decoder": parts.paint.init(keys[5], z),
        }

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        pair_key, later_key, key = jax.random.split(key, 3)
        first, second = draw_pairs(pair_key, (len(x), pairs), steps, length)  # [B, P]

        def at(values: jax.Array, times: jax.Array) -> jax.Array:  # [B, T, ...] -> [B·P, ...]
            picked = jax.vmap(lambda v, t: v[t])(values, times)
            return picked.reshape(-1, *values.shape[2:])

        b = beliefs(params, x)
        b1, b2, delta = at(b, first), at(b, second), (second - first).reshape(-1)
        later = believe(params, b2, later_key)
        earlier = smooth(params, later.zs, b1, b2, delta, key)
        believed = cascade(
            parts.believe, params["belief"]["believe"], b1, None, given=earlier.zs
        ).densities  # fmt: skip
        expected = jump(params, earlier.zs, delta, None, given=later.zs).densities
        nodes = [
            *zip(later.densities, map(Sampled, expected), later.zs, strict=True),
            *zip(earlier.densities, believed, earlier.zs, strict=True),
        ]
        p = decode(params, later.zs)
        return Trace(
            at(x, second),
            p,
            tuple(Latent(*node) for node in nodes),
            step=0 if step is None else step,
        )

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        b = beliefs(params, event(batch))
        before_key, key = jax.random.split(key)
        now, before = believe(params, b[:, -1], key), believe(params, b[:, -2], before_key)
        one = jnp.ones(b.shape[0], jnp.int32)
        expected = jump(params, before.zs, one, None, given=now.zs).densities
        return tuple(map(Latent, now.densities, map(Sampled, expected), now.zs))

    rollout = rollout_by(jump)

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        if condition is None:
            raise ValueError(
                "a model of sequences goes on from given ones: give their beginning as condition"
            )
        now_key, key = jax.random.split(key)
        b = beliefs(params, event(condition)[:n])[:, -1]
        zs = believe(params, b, now_key, temperature).zs
        run = rollout(params, zs, jnp.ones(length, jnp.int32), key, temperature)
        flat = tuple(jnp.swapaxes(z, 0, 1).reshape(-1, z.shape[-1]) for z in run)
        return jax.tree.map(
            lambda a: a.reshape(-1, length, *a.shape[1:]) if a.ndim else a, decode(params, flat)
        )

    def start(params: Params, n: int) -> Any:
        return parts.remember.start(params["belief"]["remember"], n)

    sequences = SequenceModel(
        beliefs, start, observe, believe, jump, rollout, smooth, steps.longest
    )
    return Model(init, forward, encode, decode, generate, sequences=sequences)
