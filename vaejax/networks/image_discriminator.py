"""A convolutional discriminator of images, which also returns the features of a hidden layer."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import Conv, Norm, activation, compute_dtype, concat_condition
from vaejax.networks.network import Network, from_linen

__all__ = ["image_discriminator"]


class ImageDiscriminator(linen.Module):
    """Strided convolutions, then dense layers: `[B, H, W, C] -> ([B], [B, h, w, F])`.

    A condition `[B, E]` or `[B, H', W', E]` is concatenated to the image.
    """

    channels: Sequence[int]
    kernel: int
    hidden: int
    feature_layer: int
    activation: str
    groups: int
    dtype: str
    implementation: str | None

    @linen.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = concat_condition((2.0 * x - 1.0).astype(dtype), condition)  # [0, 1] -> [-1, 1]
        maps = []
        for channels in self.channels:
            x = Conv(
                channels, self.kernel, stride=2, dtype=dtype, implementation=self.implementation
            )(x)
            maps.append(x)
            x = act(Norm(self.groups)(x))
        x = x.reshape(x.shape[0], -1)
        x = act(linen.Dense(self.hidden, dtype=dtype)(x))
        logits = linen.Dense(1, dtype=dtype)(x).astype(jnp.float32)
        return logits[:, 0], maps[self.feature_layer]


def image_discriminator(
    *,
    channels: Sequence[int] = (32, 64, 128),
    kernel: int = 4,
    hidden: int = 256,
    feature_layer: int = -1,
    activation: str = "leaky_relu",
    groups: int = 0,
    dtype: str = "float32",
    implementation: str | None = None,
) -> Network:
    """A discriminator of images in [0, 1] of any size: `[B, H, W, C] -> (logits [B], features)`.

    The features are the output of a convolution before its norm and activation, as in the code of
    VAE-GAN's authors (1512.09300), which uses the last layer. Group norm replaces their batch norm,
    with which the logit of an image would depend on the other images of the batch.

    Args:
      channels: of the convolutions, each of stride 2.
      kernel: kernel size: 4 is fast on CPU, the authors use 5.
      hidden: width of the dense layer.
      feature_layer: index of the convolution whose output is returned; negative numbers count from
        the last.
      activation: between layers.
      groups: of group norm after each convolution; 0 for none.
      dtype: of the computation.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.

    Raises:
      ValueError: there is no such layer.
    """
    if not -len(channels) <= feature_layer < len(channels):
        raise ValueError(
            f"the discriminator has {len(channels)} convolutions, so no feature_layer "
            f"{feature_layer}"
        )
    discriminator = ImageDiscriminator(
        tuple(channels), kernel, hidden, feature_layer, activation, groups, dtype, implementation
    )
    return from_linen(discriminator)
