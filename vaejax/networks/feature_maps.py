"""Feature maps of networks that are not trained: VGG-16 with LPIPS's heads, random convolutions."""

import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.networks.ops import conv2d

__all__ = ["lpips_features", "random_features"]

_FeatureMaps = Callable[[jax.Array], tuple[jax.Array, ...]]

# VGG-16 (1409.1556, configuration D): the numbers of torchvision's layers that are convolutions,
# by stages between which the maximum over 2 × 2 pixels is taken.
_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_CHANNELS = (64, 128, 256, 512, 512)
# LPIPS's normalisation of RGB values in [−1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def _kernel(array: np.ndarray) -> jax.Array:
    """`[O, I, 3, 3]` -> `[3, 3, I, O]`."""
    return jnp.asarray(np.transpose(array, (2, 3, 1, 0)), jnp.float32)


def _vgg_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layer number and kind, as in `"28.weight"` -> array, from the names of either package."""
    found = {}
    for name, array in weights.items():
        if match := re.fullmatch(r"(?:.*\.)?(?:features|slice\d)\.(\d+)\.(weight|bias)", name):
            found[f"{match[1]}.{match[2]}"] = array
    numbers = [n for stage in _STAGES for n in stage]
    if missing := [f"{n}.{k}" for n in numbers for k in ("weight", "bias")
                   if f"{n}.{k}" not in found]:  # fmt: skip
        raise ValueError(
            f"the weights of VGG-16 lack the layers features.{missing[0]} and {len(missing) - 1} "
            "more; expected the names of torchvision's vgg16 or of the package lpips"
        )
    return found


def _heads(weights: Mapping[str, np.ndarray]) -> list[jax.Array]:
    heads = []
    for i, channels in enumerate(_CHANNELS):
        pattern = rf"(?:.*\.)?lins?\.?{i}\.model\.1\.weight"
        names = [name for name in weights if re.fullmatch(pattern, name)]
        if not names:
            raise ValueError(f"the weights of LPIPS lack lin{i}.model.1.weight")
        head = np.asarray(weights[names[0]], np.float32).reshape(-1)
        if head.shape != (channels,):
            raise ValueError(f"{names[0]} should have {channels} weights, found {head.shape}")
        heads.append(jnp.asarray(head))
    return heads


def lpips_features(weights: Mapping[str, np.ndarray]) -> tuple[_FeatureMaps, list[jax.Array]]:
    """The feature maps and heads of LPIPS with VGG-16 (1801.03924, section 3).

    The maps are the last activations before each maximum, of images in [0, 1] of 1 or 3 channels.

    Args:
      weights: arrays by name, in PyTorch's layout: `features.0.weight` (torchvision) or
        `net.slice1.0.weight` (package lpips), and so on; and `lin0.model.1.weight` to `lin4`.

    Raises:
      ValueError: arrays are missing or have another shape.
    """
    vgg, heads = _vgg_weights(weights), _heads(weights)
    kernels = {n: _kernel(vgg[f"{n}.weight"]) for stage in _STAGES for n in stage}
    biases = {n: jnp.asarray(vgg[f"{n}.bias"], jnp.float32) for n in kernels}

    def features(images: jax.Array) -> tuple[jax.Array, ...]:
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise ValueError(
                f"LPIPS takes images [B, H, W, 1 or 3], found events of shape {images.shape[1:]}"
            )
        shift, scale = (jnp.asarray(v).reshape(1, 1, 1, 3) for v in (_SHIFT, _SCALE))
        x = (2.0 * jnp.broadcast_to(images, (*images.shape[:3], 3)) - 1.0 - shift) / scale
        maps: list[jax.Array] = []
        for stage in _STAGES:
            if maps:
                x = jax.lax.reduce_window(
                    x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
                )
            for n in stage:
                x = jax.nn.relu(conv2d.conv(x, kernels[n]) + biases[n].reshape(1, 1, 1, -1))
            maps.append(x)
        return tuple(maps)

    return features, heads


def random_features(channels: int = 32, layers: int = 3, seed: int = 0) -> _FeatureMaps:
    """Feature maps of convolutions with random kernels, which need no file.

    Untrained features follow human judgements less than trained ones, but more than pixels do
    (1801.03924, table 5). Each layer has a 3×3 convolution of stride 2, initialised by He's rule,
    and a ReLU.

    Args:
      channels: of the first layer; doubled in each of the next.
      layers: number of layers.
      seed: of the kernels.
    """

    def features(images: jax.Array) -> tuple[jax.Array, ...]:
        random = np.random.RandomState(seed)
        x = 2.0 * images - 1.0
        maps: list[jax.Array] = []
        for i in range(layers):
            shape = (3, 3, x.shape[-1], channels * 2**i)
            kernel = random.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:3]))
            x = jax.nn.relu(conv2d.conv(x, jnp.asarray(kernel, x.dtype), 2))
            maps.append(x)
        return tuple(maps)

    return features
