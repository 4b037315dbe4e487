"""Convolutions of signals `[B, T, C]` that also run chunk by chunk, with explicit state.

A layer is a pair of functions, `init(key) -> params` and `apply(params, x, state) -> (y, state)`.
With the state None, x begins a signal. The state that a causal layer returns continues it: with the
next chunk it gives the next part of what the layer makes of the whole signal.
"""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.core.types import PyTree
from vaejax.networks.layers import compute_dtype
from vaejax.networks.ops.conv2d import default_implementation

__all__ = ["Conv", "Layer", "TransposedConv", "pad"]

_Out = tuple[jax.Array, PyTree]


class Layer(Protocol):
    """What all layers have, see the module."""

    def init(self, key: jax.Array) -> PyTree: ...

    def apply(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Out: ...


def pad(x: jax.Array, before: int, after: int, mode: str) -> jax.Array:
    """x `[B, T, C]` with `before` and `after` more samples: zeros (`'constant'`) or `'reflect'`.

    A signal that is too short to be reflected is first extended by zeros, which are then removed.
    """
    widths = ((0, 0), (before, after), (0, 0))
    if mode == "constant":
        return jnp.pad(x, widths)
    missing = max(0, max(before, after) + 1 - x.shape[1])
    padded = jnp.pad(jnp.pad(x, ((0, 0), (0, missing), (0, 0))), widths, mode="reflect")
    return padded[:, : padded.shape[1] - missing]


def _kernel(key: jax.Array, taps: int, channels: int, out: int) -> jax.Array:
    """LeCun-normal `[taps, channels, out]`."""
    scale = 1.0 / math.sqrt(taps * channels)
    return scale * jax.random.normal(key, (taps * channels, out)).reshape(taps, channels, out)


def _correlate(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    """Without padding. On CPU as one matrix product, whose derivatives are products too."""
    taps, channels, out = kernel.shape
    length = (x.shape[1] - (taps - 1) * dilation - 1) // stride + 1
    if default_implementation() not in ("product", "patches"):
        return lax.conv_general_dilated(
            x, kernel, (stride,), "VALID", rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip
    if dilation == 1 and taps % stride == 0:  # a window is a number of whole blocks
        span = taps // stride
        blocks = x[:, : (length + span - 1) * stride]
        blocks = blocks.reshape(x.shape[0], length + span - 1, stride * channels)
        parts = [blocks[:, d : d + length] for d in range(span)]
    else:
        last = (length - 1) * stride + 1
        parts = [x[:, i * dilation : i * dilation + last : stride] for i in range(taps)]
    windows = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
    return windows @ kernel.reshape(taps * channels, out)


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution, `[B, T, channels] -> [B, ⌈T / stride⌉, out]`.

    Attributes:
      channels: of the input.
      out: channels of the output.
      taps: size of the kernel.
      stride: step of the window; a shorter last step is filled up as by `padding`.
      dilation: distance between taps.
      causal: whether an output depends on no later sample than those of its own step.
      padding: `'constant'` (zeros) or `'reflect'`.
      norm: `'none'`, or `'time_group_norm'`: over time and channels, after the convolution.
      dtype: of the computation.
    """

    channels: int
    out: int
    taps: int
    stride: int = 1
    dilation: int = 1
    causal: bool = False
    padding: str = "constant"
    norm: str = "none"
    dtype: str = "float32"

    @property
    def context(self) -> int:
        """Number of samples beyond its own step that an output depends on."""
        return (self.taps - 1) * self.dilation + 1 - self.stride

    def init(self, key: jax.Array) -> PyTree:
        kernel = _kernel(key, self.taps, self.channels, self.out)
        return {"kernel": kernel, "bias": jnp.zeros(self.out)} | _norm_params(self.norm, self.out)

    def apply(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Out:
        dtype = compute_dtype(self.dtype)
        x, fill = x.astype(dtype), -x.shape[1] % self.stride
        if state is not None:
            _check_streams(self.causal, self.norm, fill)
            x = jnp.concatenate([state.astype(dtype), x], axis=1)
        elif self.causal:
            x = pad(x, self.context, fill, self.padding)
        else:
            after = self.context // 2
            x = pad(x, self.context - after, after + fill, self.padding)
        y = _correlate(x, params["kernel"].astype(dtype), self.stride, self.dilation)
        y = y + params["bias"].astype(dtype)[None, None]
        rest = x[:, x.shape[1] - self.context :].astype(jnp.float32)
        return _normalized(params, y, self.norm), rest


@dataclasses.dataclass(frozen=True)
class TransposedConv:
    """A transposed convolution of 2 · stride taps, `[B, t, channels] -> [B, stride · t, out]`.

    Attributes:
      channels: of the input.
      out: channels of the output.
      stride: factor by which the signal becomes longer.
      causal: whether all of the surplus is cut at the end; else half of it at either side.
      symmetric: not causal, odd strides: whether as much is cut at the end as at the beginning, so
        that the output is one sample shorter.
      norm, dtype: as of `Conv`.
    """

    channels: int
    out: int
    stride: int
    causal: bool = False
    symmetric: bool = False
    norm: str = "none"
    dtype: str = "float32"

    def init(self, key: jax.Array) -> PyTree:
        # Every output sample receives two taps.
        kernel = _kernel(key, 2 * self.stride, self.channels, self.out) * math.sqrt(self.stride)
        return {"kernel": kernel, "bias": jnp.zeros(self.out)} | _norm_params(self.norm, self.out)

    def apply(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Out:
        dtype, s = compute_dtype(self.dtype), self.stride
        x = x.astype(dtype)
        if state is not None:
            _check_streams(self.causal, self.norm)
        before = jnp.zeros_like(x[:, :1]) if state is None else state.astype(dtype)
        x = jnp.concatenate([before, x], axis=1)  # [B, 1 + t, channels]
        if self.norm != "none" or not self.causal:
            x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
        # Samples of step j come from inputs j (first half of the taps) and j − 1 (second half).
        pairs = jnp.concatenate([x[:, 1:], x[:, :-1]], axis=-1)
        kernel = params["kernel"].astype(dtype).reshape(2, s, self.channels, self.out)
        kernel = kernel.transpose(0, 2, 1, 3).reshape(2 * self.channels, s * self.out)
        y = (pairs @ kernel).reshape(x.shape[0], -1, self.out) + params["bias"].astype(dtype)[
            None, None
        ]
        y = _normalized(params, y, self.norm)
        if self.causal:
            y = y[:, : y.shape[1] - s] if self.norm != "none" else y
        else:
            after = -(-s // 2) if self.symmetric else s // 2
            y = y[:, -(-s // 2) : y.shape[1] - after]
        return y, x[:, -1:].astype(jnp.float32)


def _norm_params(norm: str, channels: int) -> PyTree:
    return {} if norm == "none" else {"scale": jnp.ones(channels), "shift": jnp.zeros(channels)}


def _normalized(params: PyTree, y: jax.Array, norm: str) -> jax.Array:
    """Group norm of one group, over time and channels, in float32."""
    if norm == "none":
        return y
    wide = y.astype(jnp.float32)
    wide = wide - jnp.mean(wide, axis=(1, 2), keepdims=True)
    wide = wide * lax.rsqrt(jnp.mean(jnp.square(wide), axis=(1, 2), keepdims=True) + 1e-5)
    return (wide * params["scale"][None, None] + params["shift"][None, None]).astype(y.dtype)


def _check_streams(causal: bool, norm: str, fill: int = 0) -> None:
    """Raises ValueError if a layer cannot continue a signal."""
    if not causal or norm != "none":
        raise ValueError(
            "only causal networks without norms over time run on one chunk after another: set "
            "causal=True and norm='none'"
        )
    if fill:
        raise ValueError("a chunk of a signal must be a multiple of the network's hop in length")
