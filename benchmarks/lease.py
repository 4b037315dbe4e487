"""The parts of `benchmarks.accelerator`, in order of value, and those that are left to do."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

__all__ = ["PARTS", "Part", "remaining"]


class Part(NamedTuple):
    """A command of the list.

    Attributes:
      module: that Python runs.
      arguments: of the module; `{workdir}` stands for the folder of the trainings.
      minutes: below which it is not worth a start.
      needs: a package without which it is left out.
    """

    module: str
    arguments: tuple[str, ...] = ()
    minutes: float = 1.0
    needs: str | None = None


_TOGETHER = ("--together", "--seconds=0.3")
_LARGE = ("--families=beta_vae,vqvae", "--batch_size=2048", *_TOGETHER)
_FACTOR = ("--config=configs/factor_vae.py:sprites_full", "--workdir={workdir}/factor_vae",
           "--config.evaluate.disentanglement=True")  # fmt: skip
_DEEP = ("--blocks=40", "--remat=recomputed", "--dtype=bfloat16", "--batch=64", "--kernels")
PARTS: dict[str, Part] = {
    "throughput": Part("benchmarks.throughput", _TOGETHER, 1.5),
    "throughput in bfloat16": Part(
        "benchmarks.throughput", ("--dtype=bfloat16", *_TOGETHER), 1.5
    ),
    "large batches": Part("benchmarks.throughput", _LARGE, 1.0),
    "large batches in bfloat16": Part(
        "benchmarks.throughput", ("--dtype=bfloat16", *_LARGE), 1.0
    ),
    "deep ladder": Part("benchmarks.depth", _DEEP, 2.0),
    "300 models": Part("benchmarks.many_models", ("--models=300", "--dtype=bfloat16"), 2.0),
    "FactorVAE to the end": Part("vaejax.main", _FACTOR, 1.0),
    "tests": Part("pytest", ("-q", "-n", "4", "-m", "fast"), 2.0, "xdist"),
    "peers": Part("benchmarks.peers", ("--cases=conv,vqvae", "--rounds=3"), 2.0, "torch"),
}  # fmt: skip


def remaining(parts: Mapping[str, Part], record: Mapping[str, Any], commit: str) -> dict[str, Part]:
    """The parts without a finished run at this commit whose packages are there, in order."""
    done = {
        name
        for name, row in record.items()
        if row["state"] == "finished" and row["commit"] == commit
    }
    there = {p.needs for p in parts.values() if p.needs and find_spec(p.needs) is not None}
    return {
        name: part
        for name, part in parts.items()
        if name not in done and (part.needs is None or part.needs in there)
    }
