"""Config fields that had another name before version 0.2, so that errors can give the new one."""

from collections.abc import Iterable

__all__ = ["RENAMED", "check_names", "new_name"]

# The section (its last part; `players.*` for any player) and old name -> the new name.
RENAMED: dict[tuple[str, str], str] = {
    ("", "prior_of"): "first_stage",
    ("", "prior_step"): "first_stage_step",
    ("data", "quadrants"): "observed_quadrants",
    ("discriminator", "out"): "num_logits",
    ("evaluate", "features"): "feature_extractor",
    ("evaluate", "generated"): "num_generated",
    ("evaluate", "information"): "mutual_information_samples",
    ("evaluate", "samples"): "importance_samples",
    ("minimizes", "critic"): "discriminator_loss",
    ("minimizes", "guess"): "baseline_nll",
    ("minimizes", "spike"): "sparsity_kl",
    ("minimizes", "ssl"): "spike_and_slab_lasso",
    ("model", "critic"): "discriminator",
    ("model", "guess"): "baseline",
    ("model", "know_steps"): "condition_on_delta",
    ("model", "lowest_scale"): "min_scale",
    ("model", "pairs"): "num_pairs",
    ("network", "form"): "implementation",
    ("network", "halvings_before"): "num_downsamples",
    ("network", "lowest_scale"): "min_scale",
    ("network", "middle"): "bottleneck_channels",
    ("players", "critic"): "discriminator",
    ("players", "guess"): "baseline",
    ("players.*", "level"): "node",
    ("sweep", "figures"): "metrics",
    ("sweep", "model"): "index",
    ("sweep", "over"): "grid",
    ("train", "accumulate"): "grad_accumulation_steps",
    ("train", "max_skipped"): "max_consecutive_nonfinite",
}


def new_name(section: str, name: str) -> str | None:
    """The present name of a field that was renamed, with its section; None for any other.

    Args:
      section: dotted path of the mapping that holds the field, `''` for the config itself.
      name: of the field.
    """
    parent, _, last = section.rpartition(".")
    new = RENAMED.get((last, name)) or RENAMED.get((f"{parent}.*", name))
    return new and (f"{section}.{new}" if section else new)


def check_names(fields: Iterable[str]) -> None:
    """Raises ValueError if one of the dotted names is a former one."""
    for field in fields:
        parts = field.split(".")
        for i, name in enumerate(parts):
            section = ".".join(parts[:i])
            if new := new_name(section, name):
                old = f"{section}.{name}" if section else name
                raise ValueError(f"config.{old} is called config.{new} now")
