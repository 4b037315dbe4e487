"""Reconstructions of several runs side by side, and their metrics.

python -m benchmarks.compare_reconstructions --runs runs/plain runs/vqgan --output=figure.png
"""

import argparse
from pathlib import Path

import numpy as np

import vaejax
from vaejax.core.files import read_json
from vaejax.visualization.plots.image_grids import save_grid

__all__ = ["main"]

_METRICS = ("psnr", "ssim", "sharpness/reconstructions", "frechet/reconstructions", "perplexity")


def main() -> None:
    """Writes the figure and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, help="working directories")
    parser.add_argument("--names", nargs="*", default=[], help="of the rows")
    parser.add_argument("--output", type=Path, required=True, help="a .png file")
    parser.add_argument("--count", type=int, default=12, help="images")
    arguments = parser.parse_args()
    names = arguments.names or [Path(run).name for run in arguments.runs]
    runs = [vaejax.load_run(run) for run in arguments.runs]
    data = runs[0].config["data"]
    source = vaejax.load_data(data["source"], "eval")
    images = np.asarray(source.decode(source.take(np.arange(arguments.count)))["image"])
    rows = [images, *(np.asarray(run.reconstruct(images)) for run in runs)]
    grid = np.clip(np.concatenate(rows), 0, 1)
    save_grid(arguments.output, grid, arguments.count, row_labels=["data", *names])
    print("| run | " + " | ".join(_METRICS) + " |")
    for name, run in zip(names, arguments.runs, strict=True):
        values = read_json(Path(run) / "evaluation.json")
        print(f"| {name} | " + " | ".join(f"{values.get(m, np.nan):.3f}" for m in _METRICS) + " |")


if __name__ == "__main__":
    main()
