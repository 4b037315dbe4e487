"""A convolutional critic: tells images apart, and shows what it saw on the way."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.core.registry import call
from vaejax.networks.layers import Conv, Norm, activation, attach, compute_dtype
from vaejax.networks.network import Network, from_linen


class ImageCritic(linen.Module):
    """Strided convolutions, then dense layers: `[B, H, W, C] -> ([B], [B, h, w, F])`.

    A condition `[B, E]` or `[B, H', W', E]` stands beside the image.
    """

    channels: Sequence[int]
    kernel: int
    hidden: int
    feature_layer: int
    activation: str
    groups: int
    dtype: str
    form: str | None

    @linen.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = attach((2.0 * x - 1.0).astype(dtype), condition)  # [0, 1] -> [-1, 1]
        maps = []
        for channels in self.channels:
            x = Conv(channels, self.kernel, stride=2, dtype=dtype, form=self.form)(x)
            maps.append(x)
            x = act(Norm(self.groups)(x))
        x = x.reshape(x.shape[0], -1)
        x = act(linen.Dense(self.hidden, dtype=dtype)(x))
        logits = linen.Dense(1, dtype=dtype)(x).astype(jnp.float32)
        return logits[:, 0], maps[self.feature_layer]


def image_critic(
    *,
    channels: Sequence[int] = (32, 64, 128),
    kernel: int = 4,
    hidden: int = 256,
    feature_layer: int = -1,
    activation: str = "leaky_relu",
    groups: int = 0,
    dtype: str = "float32",
    form: str | None = None,
) -> Network:
    """A critic of images in [0, 1] of any size: `[B, H, W, C] -> (logits [B], features)`.

    The features are what a convolution gives before its norm and activation, as in the code of
    VAE-GAN's authors (1512.09300), who take the last layer's. Group norm replaces their batch norm,
    under which the verdict on an image would depend on its neighbours.

    Args:
      channels: of the convolutions, each of stride 2.
      kernel: their size: 4 is fast on CPU, 5 is the authors'.
      hidden: width of the dense layer.
      feature_layer: which convolution shows its output; negative numbers count from the last.
      activation: between layers.
      groups: of group norm after each convolution; 0 for none.
      dtype: in which to compute.
      form: of the convolutions; None chooses by backend.

    Raises:
      ValueError: there is no such layer.
    """
    if not -len(channels) <= feature_layer < len(channels):
        raise ValueError(
            f"the critic has {len(channels)} convolutions, so no feature_layer {feature_layer}"
        )
    critic = ImageCritic(
        tuple(channels), kernel, hidden, feature_layer, activation, groups, dtype, form
    )
    return from_linen(critic)


def build_critic(setting: Mapping[str, Any] | Network, shape: Sequence[int]) -> Network:
    """The `image_critic` of these arguments, or a network given as it is.

    Args:
      setting: arguments by name, or the network.
      shape: of one event.

    Raises:
      ValueError: an unknown argument, or events that are no images.
    """
    if isinstance(setting, Network):
        return setting
    if len(shape) != 3:
        raise ValueError(
            f"the image critic takes images of shape (H, W, C), found events of shape "
            f"{tuple(shape)}; for others give a Network `x -> (logits, features)`"
        )
    return call(image_critic, "critic", **setting)
