"""The family, data and training settings of a config file, for benchmarks."""

from typing import NamedTuple

from vaejax.core.game import Family
from vaejax.data import Source
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.experiment.build import build, load_split, training_settings
from vaejax.training import Settings

from .paths import config_of

__all__ = ["FAMILIES", "Configured", "load"]

FAMILIES = ("beta_vae", "cvae", "factor_vae", "hierarchical", "info_vae", "sparse_vae", "td_vae",
            "vae_gan", "vqvae")  # fmt: skip


class Configured(NamedTuple):
    """The training that a config describes."""

    family: Family
    source: Source
    settings: Settings
    binarize: str


def load(name: str, dtype: str = "float32") -> Configured | None:
    """The training of a config; None if its networks have no setting for `dtype`.

    Args:
      name: FILE or FILE:SETTING.
      dtype: that the networks compute in.
    """
    config = config_of(name)
    if dtype != "float32":
        network = config["model"].get("network")
        if not isinstance(network, dict):
            return None
        network["dtype"] = dtype
    source = load_split(config, "train")
    family = build(config, event_shape(source), dataset_info(source))
    settings, _ = training_settings(config)
    return Configured(family, source, settings, config["data"]["binarize"])
