"""Benchmarks of speed, memory and model quality.

Each module runs with `python -m benchmarks.NAME` in a checkout, and with
`python -m vaejax.benchmarks.NAME` if vaejax is installed, and writes JSON into `results/`.
"""
