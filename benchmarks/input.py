"""What it costs to read batches of JPEG files, against the decoder alone.

The decoder alone is Pillow, which opens each file and decodes it to an array: in one thread, two
threads or two processes. Against it stands `training.batch_loader.BatchLoader` with threads and
with worker processes, from one batch on the device to a later one, after the workers have started
and before they end.

  python -m benchmarks.input [--images=2000] [--rounds=5] [--sides 32 128 256] [--out=FILE]

Rounds alternate between the decoder and the loader. Of each the medians count, by the clock and in
processor time of all processes together, as what two cores would give that have nothing else to do.
`ratio` is that of the loader over that of the decoder in the same round: median, least and largest.
(Two threads of the decoder differ by a third from round to round, so the fastest round says
little.) `chosen` is what `data.workers=-1` takes.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import machine
from vaejax import data
from vaejax.core.sharding import make_mesh
from vaejax.data.read_ahead import chosen_workers
from vaejax.training.batch_loader import BatchLoader

_BATCH = 128
_CORES = 2
_AHEAD = 16  # batches before and after those that are timed: more than are read ahead


def write_images(folder: Path, side: int, count: int) -> list[Path]:
    """JPEG files of smooth pictures with some noise, of the size of photographs' files."""
    from PIL import Image

    random, files = np.random.RandomState(0), []
    for number in range(count):
        coarse = Image.fromarray(random.randint(0, 256, (8, 8, 3)).astype(np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
        noisy = np.clip(smooth + random.randint(-12, 13, smooth.shape), 0, 255)
        files.append(folder / f"{number:05}.jpg")
        Image.fromarray(noisy.astype(np.uint8)).save(files[-1], quality=90)
    return files


def decode(files: list[Path]) -> int:
    """Decodes files one after the other with Pillow; returns their number."""
    from PIL import Image

    for file in files:
        with Image.open(file) as image:
            np.asarray(image)
    return len(files)


class Cost(NamedTuple):
    """Seconds for an image, by the clock and of the processors."""

    clock: float
    processor: float


class Timer:
    """Measures from its creation on."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), processor_seconds()

    def cost(self, images: int) -> Cost:
        """Of this many images since then."""
        clock, processor = time.perf_counter() - self._clock, processor_seconds() - self._processor
        return Cost(clock / images, processor / images)


def processor_seconds() -> float:
    """Of this process and its children, all of which must be running."""
    pids = [os.getpid()]
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended
            pids += [int(pid) for pid in (task / "children").read_text().split()]
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def decoder_cost(files: list[Path], pool: Executor | None) -> Cost:
    """Of the decoder alone, in the workers of a pool or in this thread."""
    timer = Timer()
    if pool is None:
        decode(files)
    else:
        list(pool.map(decode, [files[i::_CORES] for i in range(_CORES)]))
    return timer.cost(len(files))


def loader_cost(folder: Path, images: int, workers: int) -> Cost:
    """Of the batches on the device, while the workers go on reading."""
    source = data.load(f"folder:{folder}", holdout=0, max_resident_bytes=1, workers=workers)
    steps = images // _BATCH
    spans = [(i, i + 1) for i in range(steps + 2 * _AHEAD)]
    batches = BatchLoader(source, 0, _BATCH, 1, make_mesh(1)).batches(spans)
    timer, cost = Timer(), Cost(0.0, 0.0)
    for number, (_, arrays) in enumerate(batches):
        arrays["image"].block_until_ready()
        if number == _AHEAD - 1:
            timer = Timer()
        if number == _AHEAD - 1 + steps:
            cost = timer.cost(steps * _BATCH)
    return cost


def measure(folder: Path, side: int, images: int, rounds: int) -> dict[str, object]:
    """Images per second of every way, by the clock and as two idle cores would give."""
    files = write_images(folder, side, images)
    spawn = multiprocessing.get_context("spawn")
    costs: dict[str, list[Cost]] = {}
    pools = {
        "two threads": (0, lambda: ThreadPoolExecutor(_CORES)),
        "two processes": (_CORES, lambda: ProcessPoolExecutor(_CORES, spawn)),
    }
    for way, (workers, make_pool) in pools.items():
        with make_pool() as pool:
            decoder_cost(files, pool)
            for _ in range(rounds):
                costs.setdefault("decoder, one thread", []).append(decoder_cost(files, None))
                costs.setdefault(f"decoder, {way}", []).append(decoder_cost(files, pool))
                cost = loader_cost(folder, images, workers)
                costs.setdefault(f"loader, {way}", []).append(cost)
    typical = {
        name: Cost(*(statistics.median(part) for part in zip(*rows, strict=True)))
        for name, rows in costs.items()
    }
    return {
        "by the clock": {name: round(1 / cost.clock) for name, cost in typical.items()},
        "two cores": {name: round(_CORES / cost.processor) for name, cost in typical.items()},
        "ratio by the clock": _ratios(costs, "clock"),
        "ratio of processor time": _ratios(costs, "processor"),
        "chosen": "two processes" if chosen_workers(-1, 3 * side * side) else "two threads",
    }


def _ratios(costs: dict[str, list[Cost]], part: str) -> dict[str, list[float]]:
    """Way -> median, least and largest of the rounds' ratios."""
    result = {}
    for way in ("two threads", "two processes"):
        pairs = zip(costs[f"decoder, {way}"], costs[f"loader, {way}"], strict=True)
        ratios = [getattr(decoder, part) / getattr(loader, part) for decoder, loader in pairs]
        result[way] = [round(f(ratios), 3) for f in (statistics.median, min, max)]
    return result


def main() -> None:
    """Prints and writes the numbers of each size of image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 128, 256])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, object] = {"machine": machine()}
    for side in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            results[f"{side} × {side}"] = measure(
                Path(folder), side, options.images, options.rounds
            )
        print(side, results[f"{side} × {side}"], flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
