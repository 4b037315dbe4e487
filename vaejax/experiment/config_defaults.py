"""Configs with the defaults of `config_sections`; `configs/` fills in the rest."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from vaejax.core.registry import near_names
from vaejax.experiment.declared_fields import default_values, second_stage_defaults

__all__ = ["Setting", "choose", "config_function", "defaults", "second_stage_defaults"]

Setting = Callable[[ConfigDict], None]


def defaults(family: str) -> ConfigDict:
    """A config of a family before its networks, losses and data are chosen."""
    return ConfigDict(default_values(family))


def choose(settings: Mapping[str, Setting], name: str, file: str) -> Setting:
    """The setting of a config file with a name.

    Args:
      settings: of the file, by name.
      name: the part of `--config=FILE.py:NAME` behind the colon.
      file: for the error.

    Raises:
      ValueError: there is no such setting.
    """
    if name not in settings:
        raise ValueError(f"{file} has no setting {near_names(name, settings)}")
    return settings[name]


def config_function(
    file: str, settings: Mapping[str, Setting], family: str = ""
) -> Callable[..., ConfigDict]:
    """The function `get_config` of a config file.

    Args:
      file: its name without `.py`.
      settings: name -> a function that changes the default config in place; the first is the
        default setting.
      family: of the default config; by default the name of the file.

    Returns:
      `setting -> config`. It raises ValueError for an unknown setting.
    """
    default = next(iter(settings))

    def get_config(setting: str = default) -> ConfigDict:
        """The config of a setting."""
        config = defaults(family or file)
        choose(settings, setting, f"configs/{file}.py")(config)
        return config

    return get_config
