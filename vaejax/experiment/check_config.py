"""The check of a whole config, before any data is loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from vaejax.core.fields import ANY, check_value
from vaejax.core.plugins import import_plugins
from vaejax.core.types import Setting
from vaejax.data.validation import check_validation
from vaejax.experiment.check_options import check_model
from vaejax.experiment.declared_fields import check_sections
from vaejax.experiment.workdir import flatten
from vaejax.optimizers.check_players import check_players
from vaejax.sweeps.grid import grid_of, is_sweep, substitute
from vaejax.training.renamed_fields import check_names

__all__ = ["check_config", "import_and_check"]

# Sections, and fields that are read where they are used and have no other default.
_REQUIRED = (
    *("family", "seed", "data", "model", "players", "train", "mesh", "evaluate", "sample"),
    *("data.source", "data.image_size", "data.channels", "data.holdout", "data.binarize"),
    *("data.observed_quadrants", "data.condition_dropout", "train.eval_examples"),
    *("evaluate.feature_extractor", "evaluate.figures", "sample.count", "sample.temperature"),
)

_OF_SWEEPS = ("sweep.grid", "sweep.seeds", "sweep.chunk", "sweep.index", "sweep.metrics")


def import_and_check(config: Mapping[str, Setting]) -> None:
    """Imports what a config lists in `imports`, and checks the config.

    Args:
      config: as nested plain mappings.

    Raises:
      ValueError: as from `check_config`.
      FileNotFoundError, ImportError: as from `import_plugins`.
    """
    check_names(flatten(config))
    imports = config.get("imports", ())
    check_value("imports", imports, Sequence[str], ANY)
    import_plugins(imports)
    check_config(config)


def check_config(config: Mapping[str, Setting]) -> None:
    """Checks every field of a config, and of every model of a sweep; loads and builds nothing.

    Args:
      config: as nested plain mappings. What it lists in `imports` has been imported.

    Raises:
      ValueError: a field is unknown, missing, of another type or out of its range.
    """
    check_sections(config)
    check_validation(config["data"].get("validation", "none"))
    fields = flatten(config)
    of_sweeps = _OF_SWEEPS if "sweep" in config else ()
    for path in (*_REQUIRED, *of_sweeps):
        if path not in config and path not in fields:
            raise ValueError(
                f"the config lacks {path}; vaejax.experiment.config_defaults.defaults has every "
                "field"
            )
    models = [config]
    if is_sweep(config):
        models += [substitute(config, values) for values, _ in grid_of(config).points()]
    for model in models:
        check_model(model)
        check_players(model["players"])
    _check_second_stage(config)


def _check_second_stage(config: Mapping[str, Any]) -> None:
    """Checks the model and the players of the section `second_stage`, if it names a family."""
    section = config.get("second_stage", {})
    if not section.get("family"):
        return
    if config.get("first_stage"):
        raise ValueError(
            "second_stage.family is set, but this config is a second stage itself (first_stage="
            f"{config['first_stage']}): leave one of the two empty"
        )
    try:
        check_model({"model": {}, **section})
        check_players(section.get("players", {}))
    except ValueError as error:
        raise ValueError(f"second_stage: {error}") from error
