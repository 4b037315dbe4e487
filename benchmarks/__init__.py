"""Measurements of speed; each module runs with `python -m` and writes JSON into `results/`."""
