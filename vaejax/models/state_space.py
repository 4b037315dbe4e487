"""A state-space model: one step after the other, and the ELBO of a whole sequence."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Normal
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.sequence_model import Draws, SequenceModel
from vaejax.models.stacked_latents import Cascade, cascade, init_cascade, rollout_by
from vaejax.networks import Network, Recurrent, with_constants


class StepParts(NamedTuple):
    """The networks of a state-space model; layers of z are top-down.

    Attributes:
      look: frames `[N, ...]` -> features `[N, F]`.
      remember: features of a sequence -> b_t `[B, T, D]`.
      infer: (b_t, z_(t−1), z_t of the layers above) -> features of q(z_t | z_(t−1), x up to t).
      jump: (z_(t−1), z_t of the layers above) -> of p(z_t | z_(t−1)).
      paint: z_t -> features for p(x_t | z_t).
    """

    look: Network
    remember: Recurrent
    infer: Cascade
    jump: Cascade
    paint: Network


def state_space(
    parts: StepParts, likelihood: Likelihood, shape: Sequence[int], *, latent_dims: Sequence[int]
) -> Model:
    """Parameter groups `belief` (look, remember, infer), `transition`, `decoder`.

    p(x, z) = Π p(z_t | z_(t−1)) p(x_t | z_t) with z_0 from N(0, I) in place of a transition, and
    q(z) = Π q(z_t | z_(t−1), x up to t) (deep Kalman filters, 1511.05121, with an inference network
    that filters). A node for each layer, with the times of a sequence as an axis: z `[B, T, D]`, so
    the loss is a bound of log p(x) of the whole sequence.

    Asked as a `SequenceModel`, a belief is b_t beside the mean of z_(t−1), and a jump is as many
    steps as it is long. It is what TD-VAE is to be compared with.

    Args:
      parts: the networks.
      likelihood: p(x_t | z_t).
      shape: of one sequence, (T, ...).
      latent_dims: of each layer of z, the top first.
    """
    length, frame, total = shape[0], tuple(shape[1:]), sum(latent_dims)
    if likelihood.constants:
        parts = parts._replace(paint=with_constants(parts.paint, likelihood.constants))

    def look(params: Params, x: jax.Array) -> jax.Array:
        chex.assert_shape(x, (None, None, *frame))
        flat = parts.look.apply(params["belief"]["look"], x.reshape(-1, *frame))
        return flat.reshape(*x.shape[:2], -1)

    def infer(params: Params, inputs: jax.Array, key: Any, temperature: Any = 1.0) -> Draws:
        own = params["belief"]["infer"]
        return cascade(parts.infer, own, inputs, key, temperature=temperature)

    def one(
        params: Params, z: jax.Array, key: Any, temperature: Any = 1.0, given: Any = None
    ) -> Draws:
        own = params["transition"]
        return cascade(parts.jump, own, z, key, given=given, temperature=temperature)

    def filtered(params: Params, b: jax.Array, key: jax.Array | None) -> tuple[Draws, Draws]:
        """q and p of every time, `[T, B, D]` each, from b `[B, T, D]`."""

        def body(z: jax.Array, inputs: Any) -> tuple[jax.Array, Any]:
            now, t = inputs
            own = None if key is None else jax.random.fold_in(key, t)
            q = infer(params, jnp.concatenate([now, z], axis=1), own)
            p = one(params, z, None, given=q.zs)
            first = tuple(
                Normal(jnp.zeros_like(d.loc), jnp.ones_like(d.scale)) for d in p.densities
            )
            p = p._replace(
                densities=jax.tree.map(lambda a, b: jnp.where(t, b, a), first, p.densities)
            )
            return jnp.concatenate(q.zs, axis=1), (q, p)

        start = jnp.zeros((b.shape[0], total))
        times = jnp.arange(b.shape[1])
        return jax.lax.scan(body, start, (jnp.swapaxes(b, 0, 1), times))[1]

    def nodes(params: Params, x: jax.Array, key: jax.Array) -> tuple[Latent, ...]:
        b = parts.remember.apply(params["belief"]["remember"], look(params, x))
        q, p = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), filtered(params, b, key))
        return tuple(map(Latent, q.densities, p.densities, q.zs))

    def decode(params: Params, zs: Sequence[jax.Array], condition: Any = None) -> Any:
        del condition
        if len(zs) != len(latent_dims):
            raise ValueError(f"z has {len(latent_dims)} layers, the top first, found {len(zs)}")
        z = jnp.concatenate(tuple(zs), axis=-1)
        out = parts.paint.apply(params["decoder"], z.reshape(-1, total))
        return likelihood.apply(out.reshape(*z.shape[:-1], *out.shape[1:]))

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        keys, z = jax.random.split(key, 5), jnp.zeros((len(x), total))
        look_params = parts.look.init(keys[0], x[:, 0])
        features = parts.look.apply(look_params, x[:, 0])[:, None]
        memory = parts.remember.init(keys[1], features)
        b = parts.remember.apply(memory, features)[:, 0]
        infer = init_cascade(keys[2], parts.infer, jnp.concatenate([b, z], axis=1), latent_dims)
        return {
            "belief": {"look": look_params, "remember": memory, "infer": infer},
            "transition": init_cascade(keys[3], parts.jump, z, latent_dims),
            "decoder": parts.paint.init(keys[4], z),
        }

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        latents = nodes(params, x, key)
        p = decode(params, tuple(node.z for node in latents))
        return Trace(x, p, latents, step=0 if step is None else step)

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        return nodes(params, event(batch), key)

    def beliefs(params: Params, x: jax.Array) -> jax.Array:
        b = parts.remember.apply(params["belief"]["remember"], look(params, x))
        q, _ = filtered(params, b, None)
        z = jnp.swapaxes(jnp.concatenate(q.zs, axis=2), 0, 1)
        before = jnp.pad(z, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return jnp.concatenate([b, before], axis=2)

    def start(params: Params, n: int) -> Any:
        memory = parts.remember.start(params["belief"]["remember"], n)
        return memory, jnp.zeros((n, total))

    def observe(params: Params, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        memory, z = state
        features = look(params, x[:, None])[:, 0]
        b, memory = parts.remember.step(params["belief"]["remember"], memory, features)
        belief = jnp.concatenate([b, z], axis=1)
        return belief, (memory, jnp.concatenate(infer(params, belief, None).zs, axis=1))

    def jump(
        params: Params,
        zs: Sequence[jax.Array],
        delta: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> Draws:
        def body(i: jax.Array, draws: Draws) -> Draws:
            own = None if key is None else jax.random.fold_in(key, i)
            after = one(params, jnp.concatenate(draws.zs, axis=1), own, temperature)
            goes = (i < delta)[:, None]
            return jax.tree.map(lambda a, b: jnp.where(goes, a, b), after, draws)

        known = Draws(tuple(Normal(z, jnp.ones_like(z)) for z in zs), tuple(zs))
        return jax.lax.fori_loop(0, delta.max(), body, known)

    rollout = rollout_by(jump)

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        """From N(0, I), or going on from the sequences in `condition`."""
        first_key, key = jax.random.split(key)
        if condition is None:
            keys = [jax.random.fold_in(first_key, i) for i in range(len(latent_dims))]
            sizes = zip(keys, latent_dims, strict=True)
            zs = tuple(temperature * jax.random.normal(k, (n, dim)) for k, dim in sizes)
            run = rollout(params, zs, jnp.ones(length - 1, jnp.int32), key, temperature)
            run = tuple(jnp.concatenate([z[None], r]) for z, r in zip(zs, run, strict=True))
        else:
            b = beliefs(params, event(condition)[:n])[:, -1]
            zs = infer(params, b, first_key, temperature).zs
            run = rollout(params, zs, jnp.ones(length, jnp.int32), key, temperature)
        return decode(params, tuple(jnp.swapaxes(z, 0, 1) for z in run))

    sequences = SequenceModel(beliefs, start, observe, infer, jump, rollout, None, 1)
    return Model(init, forward, encode, decode, generate, sequences=sequences)
