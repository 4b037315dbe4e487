"""The cases in vaejax, through its `Trainer`, as in `python -m vaejax.main`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaejax import families
from vaejax.core.game import Family, Latent, Trace
from vaejax.data import from_arrays
from vaejax.optimizers.ema_codebook import ema_codebook
from vaejax.quantizers import bottleneck, vector
from vaejax.quantizers.nearest_neighbors import nearest
from vaejax.training import Settings, Trainer

from ..flops import products
from .cases import CASES, UNIT, data

__all__ = ["family", "product_flops", "quantize", "search", "search_memory", "train"]

TakeSteps = Callable[[int], None]


def family(name: str) -> Family:
    """The family of a case."""
    case, adam = CASES[name], optax.adam(1e-3)
    vae: Any = {"vae": ({"nll": 1.0, "kl": 1.0}, adam)}
    if name in ("conv", "factor"):
        network = {"kind": "conv", "channels": case.hidden, "kernels": (4, 4, 4, 4)}
        common = {"latent_dim": case.latent, "network": network, "likelihood": "bernoulli"}
        if name == "conv":
            return families.beta_vae(case.shape, vae, **common)
        players = {
            "vae": ({"nll": 1.0, "kl": 1.0, "tc": 35.0}, adam),
            "discriminator": ({"discriminator_loss": 1.0}, optax.adam(1e-4, b1=0.5, b2=0.9)),
        }
        return families.factor_vae(
            case.shape, players, discriminator={"hidden": (1000,) * 6}, **common
        )
    if name == "vqvae":
        players = {
            "vae": ({"nll": 1.0, "vq": 0.25}, adam),
            "codebook": ({"vq": 1.0}, ema_codebook(0.99)),
        }
        width, block_width = case.hidden
        return families.vqvae(
            case.shape, players,
            quantizer={"kind": "vector", "codes": case.codes, "dim": case.latent},
            network={"kind": "residual", "hidden": width, "block_hidden": block_width},
            likelihood={"kind": "normal", "scale": 0.1},
        )  # fmt: skip
    if name == "kl":
        network = {"kind": "latent_diffusion", "channels": case.hidden, "blocks": 1}
        return families.beta_vae(
            case.shape, vae, latent_dim=case.latent, network=network,
            likelihood={"kind": "normal", "scale": 0.1},
        )  # fmt: skip
    if name == "td_vae":
        return families.td_vae(
            case.shape, vae, latent_dims=(16, 16), belief={"kind": "lstm", "size": 128},
            features=128, network={"kind": "mlp", "hidden": case.hidden}, hidden=(128,),
            num_pairs=4,
        )  # fmt: skip
    if name == "lvae":
        return families.hierarchical(
            case.shape, vae, network={"kind": "dense", "hidden": case.hidden[::-1]}
        )
    likelihood = {"kind": "normal", "scale": 0.1} if name == "tiny" else "bernoulli"
    return families.beta_vae(
        case.shape, vae, latent_dim=case.latent, likelihood=likelihood,
        network={"kind": "mlp", "hidden": case.hidden},
    )  # fmt: skip


def _trainer(name: str) -> Trainer:
    """The trainer of a case, in dispatches of `UNIT` steps, the default of a run."""
    case, x = CASES[name], data(name)
    if len(case.shape) == 1:
        rows = {"vector": x}
    else:
        field = "sequence" if len(case.shape) == 4 else "image"
        rows = {field: (x * 255).astype(np.uint8)}
    source = from_arrays(rows, "train", name="noise", holdout=0.0)
    settings = Settings(steps=10**9, batch_size=case.batch, steps_per_dispatch=UNIT)
    return Trainer(family(name), source, settings)


def train(name: str) -> tuple[TakeSteps, int]:
    """Training steps, and the number of parameters."""
    trainer = _trainer(name)
    state, done = trainer.init(), 0

    def take_steps(steps: int) -> None:
        nonlocal state, done
        spans = [(s, s + UNIT) for s in range(done, done + steps, UNIT)]
        for span, batches in trainer.loader.batches(spans):
            state, _ = trainer.dispatch(state, span, batches)
        jax.block_until_ready(state)
        done += steps

    return take_steps, sum(leaf.size for leaf in jax.tree.leaves(state.params))


def quantize(name: str) -> tuple[TakeSteps, int]:
    """Quantisation with an EMA update of the codebook, `UNIT` times per call."""
    case, x = CASES[name], jnp.asarray(data(name))[None]
    layer, tx = bottleneck(vector(case.codes, case.latent)), ema_codebook(0.99)
    params = jax.random.normal(jax.random.key(0), (case.codes, case.latent))

    def step(_: Any, carry: Any) -> Any:
        params, state, total = carry
        key = jax.random.key(0)
        node: Latent = layer.apply({"codebook": params}, x, key)
        trace = Trace(x, None, (node,))
        update, state = tx.update(params, state, params, trace=trace, key=key)
        return params + update, state, total + node.z

    @jax.jit
    def dispatch(carry: Any) -> Any:
        return jax.lax.fori_loop(0, UNIT, step, carry)

    carry = (params, tx.init(params), jnp.zeros_like(x))

    def take_steps(steps: int) -> None:
        nonlocal carry
        for _ in range(steps // UNIT):
            carry = dispatch(carry)
        jax.block_until_ready(carry)

    return take_steps, params.size


def search(name: str) -> tuple[TakeSteps, int]:
    """A search of nearest codes, once per call."""
    case, x = CASES[name], jnp.asarray(data(name))
    codes = jax.random.normal(jax.random.key(0), (case.codes, case.latent))
    call = jax.jit(nearest)

    def take_steps(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(call(x, codes))

    return take_steps, codes.size


def search_memory(name: str) -> int:
    """Bytes beyond the inputs of a search, as reported by the compiler."""
    case, x = CASES[name], data(name)
    codes = jax.ShapeDtypeStruct((case.codes, case.latent), jnp.float32)
    tokens = jax.ShapeDtypeStruct(x.shape, jnp.float32)
    analysis = jax.jit(nearest).lower(tokens, codes).compile().memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def product_flops(name: str) -> float:
    """Floating-point operations of the matrix products and convolutions of one step."""
    case = CASES[name]
    if name in ("quantizer", "search"):
        return 2.0 * case.batch * case.latent * case.codes  # the distances of all pairs
    trainer = _trainer(name)
    (_, batches), *_ = trainer.loader.batches([(0, UNIT)])
    arguments = trainer.state_shape, trainer.loader.data, batches, np.int32(UNIT)
    traced = trainer.run.trace(*arguments)
    return products(traced.jaxpr.jaxpr)  # the loop over steps has an unknown length: counted once
