"""The decoder of sparse decoding: each column of a table depends on its own subset of latents."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.distributions.spike_and_slab_lasso import INCLUSION, WEIGHTS
from vaejax.networks.layers import activation as activation_of
from vaejax.networks.layers import compute_dtype
from vaejax.networks.network import Network

__all__ = ["SparseDecoder", "sparse_decoder"]


@dataclasses.dataclass(frozen=True)
class SparseDecoder:
    """The functions of the network that `sparse_decoder` returns; attributes are its arguments."""

    columns: int
    hidden: tuple[int, ...]
    activation: str
    dtype: str
    parameters: int

    def init(self, key: jax.Array, z: jax.Array, condition: jax.Array | None = None) -> Params:
        """The parameter groups `body`, `selector` and `columns`."""
        hidden, columns = self.hidden, self.columns
        del condition
        k = z.shape[-1]
        normal = jax.nn.initializers.he_normal()
        select_key, out_key, *keys = jax.random.split(key, 2 + len(hidden))
        widths = [k, *hidden]
        layers = [
            {"kernel": normal(key, (a, b)), "bias": jnp.zeros(b)}
            for key, a, b in zip(keys, widths[:-1], widths[1:], strict=True)
        ]
        del layers[0]["bias"]
        out = jax.nn.initializers.lecun_normal()(out_key, (hidden[-1], columns))
        return {
            "body": {
                "layers": layers,
                "kernel": out,
                "bias": jnp.zeros(columns),
                "unit": jnp.ones(columns),
            },
            "selector": {
                # Near one: training starts close to an ordinary decoder and then deselects.
                WEIGHTS: 1.0 + 0.1 * jax.random.normal(select_key, (columns, k)),
                INCLUSION: jnp.full(k, 0.5),
            },
            "columns": jnp.zeros((self.parameters, columns)),
        }

    def apply(self, params: Params, z: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Outputs `[B, D · (1 + parameters)]` of z `[B, K]`."""
        act, compute = activation_of(self.activation), compute_dtype(self.dtype)
        body = jax.tree.map(lambda a: a.astype(compute), params["body"])
        z, weights = z.astype(compute), params["selector"][WEIGHTS].astype(compute)
        first, *rest = body["layers"]
        h = act(jnp.einsum("bk,jk,kh->bjh", z, weights, first["kernel"]))
        for layer in rest:
            h = act(h @ layer["kernel"] + layer["bias"][None, None, :])
        location = jnp.einsum("bjh,hj->bj", h, body["kernel"]).astype(jnp.float32)
        unit = jax.lax.stop_gradient(params["body"]["unit"])
        location = params["body"]["bias"][None, :] + unit[None, :] * location
        if condition is not None:
            location = location + condition
        further = [jnp.broadcast_to(p[None, :], location.shape) for p in params["columns"]]
        return jnp.concatenate([location, *further], axis=-1)


def sparse_decoder(
    columns: int,
    *,
    hidden: Sequence[int] = (50, 50),
    activation: str = "relu",
    dtype: str = "float32",
    parameters: int = 1,
) -> Network:
    """f(w_j ⊙ z)_j for each of D columns: `[B, K] -> [B, D · (1 + parameters)]`.

    As in the code of 2110.10804: the hidden layers of f are shared by the columns, the first one
    has no bias (so that a latent that no column selects has no effect), and each column has its own
    output unit. The first layer is one contraction over z, W and its kernel. Memory and compute are
    dominated by the other layers: activations `[B, D, H]` and 2·B·D·H² FLOPs for each further
    layer, D times those of an ordinary decoder; so keep `hidden` narrow, or use one layer, if D is
    large.

    Parameter groups: `selector`, W `[D, K]` and θ `[K]`; `columns`, per-column parameters of the
    likelihood besides the location (log σ_j, say), `[D]` each, which are the last
    `parameters` · D outputs; `body`, all others, including `unit` `[D]`, the scale of each column's
    output, which is not trained. A condition `[B, 1]` is added to all locations of an example: the
    log of its exposure.

    Args:
      columns: D.
      hidden: widths of f's hidden layers.
      activation: after each of them.
      dtype: of the computation.
      parameters: number of per-column parameters besides the location.
    """
    network = SparseDecoder(columns, tuple(hidden), activation, dtype, parameters)
    return Network(network.init, network.apply)
