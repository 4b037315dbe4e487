"""Which networks can predict each token of a sequence from those before it."""

from collections.abc import Callable, Mapping
from typing import Any

from vaejax.core.registry import make
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.pixel_cnn import pixel_cnn
from vaejax.networks.transformer import transformer
from vaejax.quantizers.token_layout import Layout

AUTOREGRESSIVE: dict[str, Callable[..., Autoregressive]] = {
    "pixel_cnn": pixel_cnn,
    "transformer": transformer,
}


def build_autoregressive(
    setting: str | Mapping[str, Any] | Autoregressive, layout: Layout
) -> Autoregressive:
    """One by its name, by `{"kind": name, **arguments}`, or as it is given.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or it does not take such codes.
    """
    if isinstance(setting, Autoregressive):
        return setting
    return make(AUTOREGRESSIVE, setting, "network of a prior over codes", layout)
