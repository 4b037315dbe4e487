"""A discriminator of patches of images (PatchGAN), for the adversarial loss of autoencoders."""

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import Conv, Norm, activation, compute_dtype, concat_condition
from vaejax.networks.network import Network, from_linen

__all__ = ["patch_discriminator"]

_MAX_FACTOR = 8  # of the channels of the first layer


class PatchDiscriminator(linen.Module):
    """Convolutions alone: `[B, H, W, C] -> ([B, h, w], the features of each layer)`."""

    channels: int
    layers: int
    kernel: int
    groups: int
    spectral_norm: bool
    activation: str
    dtype: str
    implementation: str | None

    @linen.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)

        def conv(channels: int, stride: int) -> Conv:
            return Conv(
                channels, self.kernel, stride=stride, dtype=dtype,
                implementation=self.implementation, spectral_norm=self.spectral_norm,
            )  # fmt: skip

        x = concat_condition((2.0 * x - 1.0).astype(dtype), condition)  # [0, 1] -> [-1, 1]
        maps = []
        for i in range(self.layers + 1):  # the last has stride 1
            channels = self.channels * min(2**i, _MAX_FACTOR)
            x = conv(channels, 2 if i < self.layers else 1)(x)
            x = act(Norm(self.groups if i else 0)(x))
            maps.append(x)
        logits = conv(1, 1)(x).astype(jnp.float32)
        return logits[..., 0], tuple(maps)


def patch_discriminator(
    *,
    channels: int = 64,
    layers: int = 3,
    kernel: int = 4,
    groups: int = 0,
    spectral_norm: bool = False,
    activation: str = "leaky_relu",
    dtype: str = "float32",
    implementation: str | None = None,
) -> Network:
    """PatchGAN (1611.07004, section 3.2): a logit for each patch of images in [0, 1].

    `[B, H, W, C] -> (logits [B, h, w], features)`, h being H after `layers` strides of 2; VQGAN
    (2012.09841) uses it with three. A logit depends on a patch of 70 × 70 pixels with the
    defaults. The features are the activations of all layers but the last. Group norm or none
    replaces batch norm, with which a logit would depend on the other images of the batch.

    Args:
      channels: of the first layer; doubled in each of the next, up to eight times as many.
      layers: number of convolutions of stride 2; two of stride 1 follow.
      kernel: kernel size.
      groups: of group norm, after all convolutions but the first and the last; 0 for none.
      spectral_norm: whether each kernel is divided by its largest singular value (1802.05957).
      activation: between layers.
      dtype: of the computation.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.
    """
    return from_linen(
        PatchDiscriminator(
            channels, layers, kernel, groups, spectral_norm, activation, dtype, implementation
        )
    )
