"""Networks behind one seam, `Network(init, apply)`: the only room that knows Flax."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vaejax.networks import conv, mlp, residual
from vaejax.networks.network import Network, from_linen, from_nnx
from vaejax.settings import make

Pair = tuple[Network, Network]

ARCHITECTURES: dict[str, Callable[..., Pair]] = {
    "mlp": mlp.mlp,
    "conv": conv.conv,
    "residual": residual.residual,
}


def build(
    setting: str | Mapping[str, Any] | Pair, shape: Sequence[int], width: int, out: int
) -> Pair:
    """An encoder and a decoder.

    Args:
      setting: an architecture's name, `{"kind": name, **arguments}`, or a pair of networks given
        as it is.
      shape: of one event, channels last.
      width: features that the encoder shall give.
      out: channels that the decoder shall give.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or it does not take such events.
    """
    if isinstance(setting, tuple):
        return setting
    kind = setting if isinstance(setting, str) else setting.get("kind")
    if kind in ("conv", "residual") and len(shape) != 3:
        raise ValueError(
            f"the architecture {kind!r} takes images of shape (H, W, C), found events of shape "
            f"{tuple(shape)}; 'mlp' takes any shape"
        )
    return make(ARCHITECTURES, setting, "architecture", shape, width, out)


__all__ = ["ARCHITECTURES", "Network", "Pair", "build", "from_linen", "from_nnx"]
