"""Discriminators of events by name: `x -> (logits, features)`."""

from collections.abc import Callable, Mapping, Sequence

from vaejax.core.registry import call, near_names
from vaejax.core.types import Options
from vaejax.networks.image_discriminator import image_discriminator
from vaejax.networks.network import Network
from vaejax.networks.patch_discriminator import patch_discriminator
from vaejax.networks.sound_discriminators import stft_discriminator, waveform_discriminator

__all__ = ["DISCRIMINATORS", "build_discriminator"]

DISCRIMINATORS: Mapping[str, Callable[..., Network]] = {
    "image": image_discriminator,
    "patch": patch_discriminator,
    "stft": stft_discriminator,
    "waveform": waveform_discriminator,
}
_RANKS = {"image": 3, "patch": 3, "stft": 2, "waveform": 2}  # of an event


def build_discriminator(
    setting: str | Options | Network, shape: Sequence[int], default: str = "image"
) -> Network:
    """The discriminator of a setting.

    Args:
      setting: a name of `DISCRIMINATORS`, `{"kind": name, **arguments}`, or a network, which is
        returned unchanged.
      shape: of one event.
      default: the kind of a setting without one.

    Raises:
      ValueError: an unknown kind or argument, or events of another kind.
    """
    if isinstance(setting, Network):
        return setting
    arguments = {"kind": setting} if isinstance(setting, str) else dict(setting)
    kind = arguments.pop("kind", default)
    if kind not in DISCRIMINATORS:
        raise ValueError(f"unknown discriminator {near_names(str(kind), DISCRIMINATORS)}")
    if len(shape) != _RANKS[kind]:
        form = "images of shape (H, W, C)" if _RANKS[kind] == 3 else "signals of shape (T, C)"
        raise ValueError(
            f"the discriminator {kind!r} takes {form}, found events of shape {tuple(shape)}; for "
            "others pass a Network `x -> (logits, features)`"
        )
    network: Network = call(DISCRIMINATORS[kind], f"discriminator {kind!r}", **arguments)
    return network
