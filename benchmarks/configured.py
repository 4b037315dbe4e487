"""A config file made into what a benchmark trains."""

import importlib
from typing import Any, NamedTuple

from vaejax.core.game import Family
from vaejax.data import Source
from vaejax.data.preprocess import event_shape, facts
from vaejax.experiment.run import build, load_split
from vaejax.training import Settings

FAMILIES = ("beta_vae", "cvae", "factor_vae", "hierarchical", "info_vae", "sparse_vae", "td_vae",
            "vae_gan", "vqvae")  # fmt: skip


class Configured(NamedTuple):
    """Attributes are what they are called; `plan` are the arguments of `settings`."""

    family: Family
    source: Source
    settings: Settings
    plan: dict[str, Any]
    binarize: str


def load(name: str, dtype: str = "float32") -> Configured | None:
    """FILE or FILE:SETTING on the data it names; None if its networks cannot compute in `dtype`."""
    file, _, setting = name.partition(":")
    module = importlib.import_module(f"configs.{file}")
    config = (module.get_config(setting) if setting else module.get_config()).to_dict()
    if dtype != "float32":
        network = config["model"].get("network")
        if not isinstance(network, dict):
            return None
        network["dtype"] = dtype
    source = load_split(config, "train")
    family = build(config, event_shape(source), facts(source))
    plan = dict(config["train"])
    plan.pop("eval_examples")
    return Configured(family, source, Settings(**plan), plan, config["data"]["binarize"])
