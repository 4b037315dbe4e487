"""The gated PixelCNN over a map of codes: masked convolutions in two stacks, no blind spot."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from vaejax.core.game import Params
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.layers import Conv, compute_dtype
from vaejax.networks.network import from_linen
from vaejax.networks.ops import conv2d
from vaejax.quantizers.token_layout import Layout


class MaskedConv(linen.Module):
    """A convolution whose kernel `mask` `[kh, kw]` lets through what is already known."""

    features: int
    mask: tuple[tuple[int, ...], ...]
    dtype: Any = jnp.float32
    form: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        mask = np.asarray(self.mask, np.float32)
        taps = (*mask.shape, x.shape[-1])
        std = 1.0 / np.sqrt(max(mask.sum(), 1.0) * x.shape[-1])
        init = linen.initializers.normal(std)
        kernel = self.param("kernel", lambda key: init(key, (np.prod(taps), self.features)))
        bias = self.param("bias", linen.initializers.zeros_init(), (self.features,))
        kernel = kernel.reshape(*taps, self.features) * mask[:, :, None, None]
        y = conv2d.conv(x.astype(self.dtype), kernel.astype(self.dtype), form=self.form)
        return y + bias.astype(self.dtype)[None, None, None]


def _above(size: int, *, here: bool) -> tuple[tuple[int, ...], ...]:
    """The rows above the centre of a size × size kernel, and with `here` its own."""
    rows = np.arange(size) < size // 2 + here
    return tuple(map(tuple, np.repeat(rows[:, None], size, axis=1).astype(int).tolist()))


def _left(size: int, *, here: bool) -> tuple[tuple[int, ...], ...]:
    """The columns to the left of the centre of a 1 × size kernel, and with `here` its own."""
    return (tuple((np.arange(size) < size // 2 + here).astype(int).tolist()),)


def _gate(x: jax.Array) -> jax.Array:
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


class GatedPixelCNN(linen.Module):
    """Gated PixelCNN (1606.05328, fig. 2): codes `[B, h, w]` (and a condition) -> `[B, h, w, K]`.

    The vertical stack sees the rows above, the horizontal one what stands to the left as well.
    """

    vocabulary: int
    layers: int
    width: int
    kernel: int
    dtype: str
    form: str | None

    @linen.compact
    def __call__(self, codes: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        dtype = compute_dtype(self.dtype)
        width, form = self.width, self.form
        x = linen.Embed(self.vocabulary, width, embedding_init=linen.initializers.normal(1.0))(
            codes
        )
        vertical = horizontal = x.astype(dtype)
        for i in range(self.layers):
            inner = i > 0  # the first layer must not see the place itself

            def given(x: jax.Array) -> jax.Array:  # W c of eq. 4
                if condition is None:
                    return x
                c = linen.Dense(2 * width, use_bias=False, dtype=dtype)(condition.astype(dtype))
                return x + c[:, None, None]

            above = MaskedConv(2 * width, _above(self.kernel, here=inner), dtype, form)(vertical)
            left = MaskedConv(2 * width, _left(self.kernel, here=inner), dtype, form)(horizontal)
            left = left + Conv(2 * width, 1, dtype=dtype, form=form)(above)
            if i + 1 < self.layers:
                vertical = _gate(given(above))
            new = Conv(width, 1, dtype=dtype, form=form)(_gate(given(left)))
            horizontal = horizontal + new if inner else new
        x = jax.nn.relu(Conv(2 * width, 1, dtype=dtype, form=form)(jax.nn.relu(horizontal)))
        return Conv(self.vocabulary, 1, dtype=dtype, form=form)(x)


def pixel_cnn(
    layout: Layout,
    *,
    layers: int = 6,
    width: int = 64,
    kernel: int = 5,
    dtype: str = "float32",
    form: str | None = None,
) -> Autoregressive:
    """A gated PixelCNN (1606.05328) over one map of codes. It draws by evaluating itself anew.

    Args:
      layout: of the tokens.
      layers: gated layers.
      width: channels of each of the two stacks.
      kernel: size of the masked kernels, odd.
      dtype: in which to compute.
      form: of the convolutions; None chooses by backend.

    Raises:
      ValueError: an even kernel, or codes that are not one map `[h, w]`.
    """
    if kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"a PixelCNN needs an odd kernel of at least 3, found kernel={kernel}")
    shapes = [(*node.places, *node.trailing) for node in layout.nodes]
    if len(shapes) != 1 or len(layout.nodes[0].places) != 2 or layout.nodes[0].trailing:
        raise ValueError(
            f"a PixelCNN goes over one map of codes (h, w), found nodes of shapes {shapes}; "
            "take model.network.kind='transformer', which goes over any codes"
        )
    (places,) = shapes
    network = GatedPixelCNN(layout.vocabulary, layers, width, kernel, dtype, form)
    inner = from_linen(network)

    def init(key: jax.Array, tokens: jax.Array, *condition: jax.Array) -> Params:
        return inner.init(key, tokens.reshape(-1, *places), *condition)

    def apply(params: Params, tokens: jax.Array, *condition: jax.Array) -> jax.Array:
        logits = inner.apply(params, tokens.reshape(-1, *places), *condition)
        return logits.reshape(*tokens.shape, layout.vocabulary)

    def start(params: Params, n: int, *condition: jax.Array) -> Any:
        del params
        return jnp.zeros((n, layout.length), jnp.int32), condition

    def step(params: Params, cache: Any, token: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
        tokens, condition = cache
        known = tokens.at[:, jnp.maximum(t - 1, 0)].set(token)
        tokens = jnp.where(t > 0, known, tokens)
        logits = apply(params, tokens, *condition)
        return jax.lax.dynamic_index_in_dim(logits, t, axis=1, keepdims=False), (tokens, condition)

    return Autoregressive(init, apply, start, step)
