"""The check of a whole config, before any data is loaded."""

from collections.abc import Mapping, Sequence

from vaejax.core.fields import ANY, check_value
from vaejax.core.plugins import import_plugins
from vaejax.core.types import Setting
from vaejax.experiment.check_options import check_model
from vaejax.experiment.config_sections import check_sections
from vaejax.experiment.workdir import flatten
from vaejax.optimizers.check_players import check_players
from vaejax.sweeps.grid import grid_of, is_sweep, substitute
from vaejax.training.renamed_fields import check_names

__all__ = ["check_config", "import_and_check"]


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
    missing = [
        name for name in ("family", "data", "model", "players", "train") if name not in config
    ]
    if missing:
        raise ValueError(
            f"the config has no {missing[0]}; start from vaejax.experiment.config_defaults.defaults"
        )
    models = [config]
    if is_sweep(config):
        models += [substitute(config, values) for values, _ in grid_of(config).points()]
    for model in models:
        check_model(model)
        check_players(model["players"])
