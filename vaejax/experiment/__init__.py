"""From a config to a working directory: defaults, runs, sweep runs."""
