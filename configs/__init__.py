"""Configs, one file for each family: `--config=configs/FILE.py:SETTING`.

A setting is a function that fills in the default config. `get_config(setting)` returns the config.
"""
