"""From a config to a working directory: defaults, runs, sweep runs."""

from vaejax.experiment.config_defaults import choose, config_function, defaults

__all__ = ["choose", "config_function", "defaults"]
