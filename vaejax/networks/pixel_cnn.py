"""The gated PixelCNN over a map of codes: masked convolutions in two stacks, no blind spot."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax.typing import DTypeLike

from vaejax.core.game import Params
from vaejax.core.token_layout import Layout
from vaejax.core.types import PyTree
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.layers import Conv, compute_dtype
from vaejax.networks.network import from_linen
from vaejax.networks.ops import conv2d

__all__ = ["pixel_cnn"]


class MaskedConv(linen.Module):
    """A convolution whose kernel is multiplied by `mask` `[kh, kw]`, of zeros and ones."""

    features: int
    mask: tuple[tuple[int, ...], ...]
    dtype: DTypeLike = jnp.float32
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        mask = np.asarray(self.mask, np.float32)
        taps = (*mask.shape, x.shape[-1])
        std = 1.0 / np.sqrt(max(mask.sum(), 1.0) * x.shape[-1])
        init = linen.initializers.normal(std)
        kernel = self.param("kernel", lambda key: init(key, (np.prod(taps), self.features)))
        bias = self.param("bias", linen.initializers.zeros_init(), (self.features,))
        kernel = kernel.reshape(*taps, self.features) * mask[:, :, None, None]
        y = conv2d.conv(
            x.astype(self.dtype), kernel.astype(self.dtype), implementation=self.implementation
        )
        return y + bias.astype(self.dtype)[None, None, None]


def _rows_above(size: int, *, centre: bool) -> tuple[tuple[int, ...], ...]:
    """Mask of the rows above the centre of a size × size kernel; with `centre` its row too."""
    rows = np.arange(size) < size // 2 + centre
    return tuple(map(tuple, np.repeat(rows[:, None], size, axis=1).astype(int).tolist()))


def _columns_left(size: int, *, centre: bool) -> tuple[tuple[int, ...], ...]:
    """Mask of the columns left of the centre of a 1 × size kernel; with `centre` the centre too."""
    return (tuple((np.arange(size) < size // 2 + centre).astype(int).tolist()),)


def _gated_activation(x: jax.Array) -> jax.Array:
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


class GatedPixelCNN(linen.Module):
    """Gated PixelCNN (1606.05328, fig. 2): codes `[B, h, w]` -> logits `[B, h, w, K]`.

    The receptive field of the vertical stack is the rows above; that of the horizontal stack also
    includes the positions to the left. The condition is optional.
    """

    vocabulary: int
    layers: int
    width: int
    kernel: int
    dtype: str
    implementation: str | None

    @linen.compact
    def __call__(self, codes: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        dtype = compute_dtype(self.dtype)
        width, implementation = self.width, self.implementation
        x = linen.Embed(self.vocabulary, width, embedding_init=linen.initializers.normal(1.0))(
            codes
        )
        vertical = horizontal = x.astype(dtype)
        for i in range(self.layers):
            centre = i > 0  # the first layer must exclude the position that is predicted

            def add_condition(x: jax.Array) -> jax.Array:  # W c of eq. 4
                if condition is None:
                    return x
                c = linen.Dense(2 * width, use_bias=False, dtype=dtype)(condition.astype(dtype))
                return x + c[:, None, None]

            above = MaskedConv(
                2 * width, _rows_above(self.kernel, centre=centre), dtype, implementation
            )(vertical)
            left = MaskedConv(
                2 * width, _columns_left(self.kernel, centre=centre), dtype, implementation
            )(horizontal)
            left = left + Conv(2 * width, 1, dtype=dtype, implementation=implementation)(above)
            if i + 1 < self.layers:
                vertical = _gated_activation(add_condition(above))
            update = Conv(width, 1, dtype=dtype, implementation=implementation)(
                _gated_activation(add_condition(left))
            )
            horizontal = horizontal + update if centre else update
        x = jax.nn.relu(
            Conv(2 * width, 1, dtype=dtype, implementation=implementation)(jax.nn.relu(horizontal))
        )
        return Conv(self.vocabulary, 1, dtype=dtype, implementation=implementation)(x)


def pixel_cnn(
    layout: Layout,
    *,
    layers: int = 6,
    width: int = 64,
    kernel: int = 5,
    dtype: str = "float32",
    implementation: str | None = None,
) -> Autoregressive:
    """A gated PixelCNN (1606.05328) over one map of codes.

    Its cache holds the tokens only: each sampled token evaluates the whole network again.

    Args:
      layout: of the tokens.
      layers: number of gated layers.
      width: channels of each of the two stacks.
      kernel: size of the masked kernels, odd.
      dtype: of the computation.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.

    Raises:
      ValueError: an even kernel, or a layout that is not one map `[h, w]`.
    """
    if kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"a PixelCNN needs an odd kernel of at least 3, found kernel={kernel}")
    shapes = [(*node.places, *node.trailing) for node in layout.nodes]
    if len(shapes) != 1 or len(layout.nodes[0].places) != 2 or layout.nodes[0].trailing:
        raise ValueError(
            f"a PixelCNN needs one map of codes (h, w), found nodes of shapes {shapes}; "
            "use model.network.kind='transformer', which supports any layout"
        )
    (map_shape,) = shapes
    module = GatedPixelCNN(layout.vocabulary, layers, width, kernel, dtype, implementation)
    network = from_linen(module)

    def init(key: jax.Array, tokens: jax.Array, *condition: jax.Array) -> Params:
        return network.init(key, tokens.reshape(-1, *map_shape), *condition)

    def apply(params: Params, tokens: jax.Array, *condition: jax.Array) -> jax.Array:
        logits = network.apply(params, tokens.reshape(-1, *map_shape), *condition)
        return logits.reshape(*tokens.shape, layout.vocabulary)

    def init_cache(params: Params, n: int, *condition: jax.Array) -> PyTree:
        del params
        return jnp.zeros((n, layout.length), jnp.int32), condition

    def step(
        params: Params, cache: PyTree, token: jax.Array, t: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        tokens, condition = cache
        with_token = tokens.at[:, jnp.maximum(t - 1, 0)].set(token)
        tokens = jnp.where(t > 0, with_token, tokens)
        logits = apply(params, tokens, *condition)
        return jax.lax.dynamic_index_in_dim(logits, t, axis=1, keepdims=False), (tokens, condition)

    return Autoregressive(init, apply, init_cache, step)
