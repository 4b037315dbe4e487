"""Configs, one file a family; `--config=configs/FILE.py:SETTING`."""
