"""Inception v3 (1512.00567) up to its pooled features, with weights from a file of the user.

The names of weights are those of torchvision's `inception_v3` and of the file for the FID known as
`pt_inception-2015-12-05`: `Mixed_5b.branch1x1.conv.weight` `[O, I, kh, kw]`, `....bn.weight`,
`.bias`, `.running_mean`, `.running_var`, and so on. The two networks differ in their pooling: the
FID's, which has 1,008 classes, excludes the padding from its averages and takes a maximum in the
last block. The shape of `fc.weight` distinguishes them; without it, the FID's network is assumed.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vaejax.core.registry import near_names
from vaejax.export.safetensors import need

__all__ = ["inception_features", "is_for_fid", "read_weights", "weight_shapes"]

Weights = Mapping[str, np.ndarray]
_EPSILON, _SIZE, _FID_CLASSES = 1e-3, 299, 1008
_PARTS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def _block_a(name: str, inputs: int, pool: int) -> dict[str, tuple[int, int, int, int]]:
    return {
        f"{name}.branch1x1": (inputs, 64, 1, 1),
        f"{name}.branch5x5_1": (inputs, 48, 1, 1),
        f"{name}.branch5x5_2": (48, 64, 5, 5),
        f"{name}.branch3x3dbl_1": (inputs, 64, 1, 1),
        f"{name}.branch3x3dbl_2": (64, 96, 3, 3),
        f"{name}.branch3x3dbl_3": (96, 96, 3, 3),
        f"{name}.branch_pool": (inputs, pool, 1, 1),
    }


def _block_c(name: str, c: int) -> dict[str, tuple[int, int, int, int]]:
    return {
        f"{name}.branch1x1": (768, 192, 1, 1),
        f"{name}.branch7x7_1": (768, c, 1, 1),
        f"{name}.branch7x7_2": (c, c, 1, 7),
        f"{name}.branch7x7_3": (c, 192, 7, 1),
        f"{name}.branch7x7dbl_1": (768, c, 1, 1),
        f"{name}.branch7x7dbl_2": (c, c, 7, 1),
        f"{name}.branch7x7dbl_3": (c, c, 1, 7),
        f"{name}.branch7x7dbl_4": (c, c, 7, 1),
        f"{name}.branch7x7dbl_5": (c, 192, 1, 7),
        f"{name}.branch_pool": (768, 192, 1, 1),
    }


def _block_e(name: str, inputs: int) -> dict[str, tuple[int, int, int, int]]:
    return {
        f"{name}.branch1x1": (inputs, 320, 1, 1),
        f"{name}.branch3x3_1": (inputs, 384, 1, 1),
        f"{name}.branch3x3_2a": (384, 384, 1, 3),
        f"{name}.branch3x3_2b": (384, 384, 3, 1),
        f"{name}.branch3x3dbl_1": (inputs, 448, 1, 1),
        f"{name}.branch3x3dbl_2": (448, 384, 3, 3),
        f"{name}.branch3x3dbl_3a": (384, 384, 1, 3),
        f"{name}.branch3x3dbl_3b": (384, 384, 3, 1),
        f"{name}.branch_pool": (inputs, 192, 1, 1),
    }


# Each convolution: channels in and out, height and width of the kernel.
_CONVOLUTIONS: dict[str, tuple[int, int, int, int]] = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_3b_1x1": (64, 80, 1, 1),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
    **_block_a("Mixed_5b", 192, 32),
    **_block_a("Mixed_5c", 256, 64),
    **_block_a("Mixed_5d", 288, 64),
    "Mixed_6a.branch3x3": (288, 384, 3, 3),
    "Mixed_6a.branch3x3dbl_1": (288, 64, 1, 1),
    "Mixed_6a.branch3x3dbl_2": (64, 96, 3, 3),
    "Mixed_6a.branch3x3dbl_3": (96, 96, 3, 3),
    **_block_c("Mixed_6b", 128),
    **_block_c("Mixed_6c", 160),
    **_block_c("Mixed_6d", 160),
    **_block_c("Mixed_6e", 192),
    "Mixed_7a.branch3x3_1": (768, 192, 1, 1),
    "Mixed_7a.branch3x3_2": (192, 320, 3, 3),
    "Mixed_7a.branch7x7x3_1": (768, 192, 1, 1),
    "Mixed_7a.branch7x7x3_2": (192, 192, 1, 7),
    "Mixed_7a.branch7x7x3_3": (192, 192, 7, 1),
    "Mixed_7a.branch7x7x3_4": (192, 192, 3, 3),
    **_block_e("Mixed_7b", 1280),
    **_block_e("Mixed_7c", 2048),
}


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every weight that the features depend on, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs, height, width) in _CONVOLUTIONS.items():
        shapes[f"{name}.{_PARTS[0]}"] = (outputs, inputs, height, width)
        shapes |= {f"{name}.{part}": (outputs,) for part in _PARTS[1:]}
    return shapes


def read_weights(path: Path) -> Weights:
    """Reads the weights of a `.npz` or `.safetensors` file, and checks their names and shapes.

    Raises:
      ValueError: weights are missing, or have other shapes.
      ImportError: safetensors is not installed.
    """
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
    else:
        weights = need("safetensors.numpy").load_file(str(path))
    shapes = weight_shapes()
    missing = [name for name in shapes if name not in weights]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the {len(shapes)} weights of Inception v3, for "
            f"example {near_names(missing[0], list(weights)[:20])}; names are torchvision's"
        )
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ValueError(f"{path}: {name} should be {shape}, found {weights[name].shape}")
    return weights


def is_for_fid(weights: Weights) -> bool:
    """Whether the weights are of the network that defines the FID."""
    return "fc.weight" not in weights or weights["fc.weight"].shape[0] == _FID_CLASSES


def _folded(weights: Weights) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernel `[kh, kw, I, O]` and bias of each convolution with its batch norm folded in."""
    folded = {}
    for name in _CONVOLUTIONS:
        kernel, gain, bias, mean, variance = (
            np.asarray(weights[f"{name}.{part}"], np.float64) for part in _PARTS
        )
        scale = gain / np.sqrt(variance + _EPSILON)
        kernel = np.transpose(kernel * scale[:, None, None, None], (2, 3, 1, 0))
        folded[name] = kernel.astype(np.float32), (bias - mean * scale).astype(np.float32)
    return folded


def _window(x: jax.Array, start: float, operation: Any, stride: int, padding: str) -> jax.Array:
    init = jnp.asarray(start, x.dtype)
    return lax.reduce_window(x, init, operation, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def _max_pool(x: jax.Array, stride: int, padding: str = "VALID") -> jax.Array:
    return _window(x, -np.inf, lax.max, stride, padding)


def _mean_pool(x: jax.Array, count_padding: bool) -> jax.Array:
    total = _window(x, 0.0, lax.add, 1, "SAME")
    if count_padding:
        return total / 9.0
    return total / _window(jnp.ones_like(x[:1, :, :, :1]), 0.0, lax.add, 1, "SAME")


@dataclasses.dataclass(frozen=True)
class _Inception:
    """The blocks of the network, over kernels with folded batch normalisation."""

    layers: dict[str, tuple[np.ndarray, np.ndarray]]
    for_fid: bool  # the variant of pooling in the weights of FID

    def convolve(
        self, x: jax.Array, name: str, stride: int = 1, padding: str = "SAME"
    ) -> jax.Array:
        kernel, bias = self.layers[name]
        dims = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(
            x, jnp.asarray(kernel), (stride, stride), padding, dimension_numbers=dims
        )
        return jax.nn.relu(y + jnp.asarray(bias)[None, None, None])

    def sequence(self, x: jax.Array, block: str, *names: str, last_stride: int = 1) -> jax.Array:
        for i, name in enumerate(names):
            stride = last_stride if i == len(names) - 1 else 1
            x = self.convolve(x, f"{block}.{name}", stride, "VALID" if stride > 1 else "SAME")
        return x

    def pool_branch(self, x: jax.Array, block: str) -> jax.Array:
        if self.for_fid and block == "Mixed_7c":
            return self.sequence(_max_pool(x, 1, "SAME"), block, "branch_pool")
        return self.sequence(_mean_pool(x, count_padding=not self.for_fid), block, "branch_pool")

    def mixed(self, x: jax.Array, block: str) -> jax.Array:
        def branch(*names: str, last_stride: int = 1) -> jax.Array:
            return self.sequence(x, block, *names, last_stride=last_stride)

        if re.match("Mixed_5", block):
            parts = [branch("branch1x1"), branch("branch5x5_1", "branch5x5_2")]
            parts += [branch(*_numbered("branch3x3dbl", 3)), self.pool_branch(x, block)]
        elif block == "Mixed_6a":
            parts = [branch("branch3x3", last_stride=2)]
            parts += [branch(*_numbered("branch3x3dbl", 3), last_stride=2), _max_pool(x, 2)]
        elif re.match("Mixed_6", block):
            parts = [branch("branch1x1"), branch(*_numbered("branch7x7", 3))]
            parts += [branch(*_numbered("branch7x7dbl", 5)), self.pool_branch(x, block)]
        elif block == "Mixed_7a":
            parts = [branch(*_numbered("branch3x3", 2), last_stride=2)]
            parts += [branch(*_numbered("branch7x7x3", 4), last_stride=2), _max_pool(x, 2)]
        else:
            single, double = branch("branch3x3_1"), branch("branch3x3dbl_1", "branch3x3dbl_2")
            parts = [branch("branch1x1")]
            parts += [self.sequence(single, block, f"branch3x3_{n}") for n in ("2a", "2b")]
            parts += [self.sequence(double, block, f"branch3x3dbl_{n}") for n in ("3a", "3b")]
            parts += [self.pool_branch(x, block)]
        return jnp.concatenate(parts, axis=-1)


def _numbered(stem: str, count: int) -> list[str]:
    return [f"{stem}_{i}" for i in range(1, count + 1)]


def inception_features(weights: Weights) -> Callable[[jax.Array], jax.Array]:
    """Images `[B, H, W, 1 or 3]` in [0, 1] -> the 2,048 pooled features of each.

    Images are resized to 299×299 bilinearly, without antialiasing, and scaled to [−1, 1]; grey ones
    are repeated to three channels.

    Args:
      weights: as from `read_weights`.
    """
    network = _Inception(_folded(weights), is_for_fid(weights))

    def features(images: jax.Array) -> jax.Array:
        n, _, _, channels = images.shape
        if channels not in (1, 3):
            raise ValueError(f"Inception takes images of 1 or 3 channels, found {channels}")
        x = jax.image.resize(images, (n, _SIZE, _SIZE, channels), "bilinear", antialias=False)
        x = 2.0 * jnp.broadcast_to(x, (n, _SIZE, _SIZE, 3)) - 1.0
        x = network.convolve(x, "Conv2d_1a_3x3", 2, "VALID")
        x = network.convolve(x, "Conv2d_2a_3x3", 1, "VALID")
        x = _max_pool(network.convolve(x, "Conv2d_2b_3x3"), 2)
        x = network.convolve(x, "Conv2d_3b_1x1", 1, "VALID")
        x = _max_pool(network.convolve(x, "Conv2d_4a_3x3", 1, "VALID"), 2)
        for block in dict.fromkeys(n.partition(".")[0] for n in _CONVOLUTIONS if "." in n):
            x = network.mixed(x, block)
        return x.mean(axis=(1, 2))

    return features
