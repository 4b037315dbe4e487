"""The autoregressive networks over token sequences, by name."""

from collections.abc import Callable

from vaejax.core.registry import make
from vaejax.core.token_layout import Layout
from vaejax.core.types import Options
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.pixel_cnn import pixel_cnn
from vaejax.networks.transformer import transformer

__all__ = ["AUTOREGRESSIVE", "build_autoregressive"]

AUTOREGRESSIVE: dict[str, Callable[..., Autoregressive]] = {
    "pixel_cnn": pixel_cnn,
    "transformer": transformer,
}


def build_autoregressive(setting: str | Options | Autoregressive, layout: Layout) -> Autoregressive:
    """An autoregressive network.

    Args:
      setting: a name in `AUTOREGRESSIVE`, `{"kind": name, **arguments}`, or the network itself.
      layout: of the tokens.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or it does not support the layout.
    """
    if isinstance(setting, Autoregressive):
        return setting
    return make(AUTOREGRESSIVE, setting, "network of a prior over codes", layout)
