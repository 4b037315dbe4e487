"""A process of `benchmarks.process_memory`; it prints its memory as JSON in the last line.

python -m benchmarks.process_memory_worker FILE COUNT NUMBER PORT

`$MAX_RESIDENT_MIB` sets `data.max_resident_bytes`.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import jax

from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.experiment.build import build, load_split, training_settings
from vaejax.training import Trainer

from .paths import config_of

__all__: list[str] = []

_STEPS = 20  # of a dispatch


def _memory() -> dict[str, float]:
    """Memory of this process in MiB: of its own, and of mapped files, which others may share."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    own, mapped = (int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return {"own": own, "mapped": mapped}


class _Peak:
    """The largest memory of its own that the process had."""

    def __init__(self) -> None:
        self.own = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.own = max(self.own, _memory()["own"])
            time.sleep(0.005)


def _measure(file: str) -> dict[str, object]:
    """Memory before the data are loaded, its peak, and what remains; and the last loss."""
    config = config_of("beta_vae")
    config["data"]["source"] = f"npz:{file}"
    if limit := os.environ.get("MAX_RESIDENT_MIB"):
        config["data"]["max_resident_bytes"] = int(limit) * 2**20
    config["train"] |= {"batch_size": 64, "steps_per_dispatch": _STEPS}
    config["model"] |= {"network": {"kind": "mlp", "hidden": (16,)}, "latent_dim": 2}
    settings, _ = training_settings(config)
    jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))  # allocates what JAX needs
    before, peak = _memory(), _Peak()
    source = load_split(config, "train")
    loaded = _memory()
    family = build(config, event_shape(source), dataset_info(source))
    trainer = Trainer(family, source, settings)
    state, loss = trainer.init(), 0.0
    for span, batches in trainer.loader.batches([(0, _STEPS), (_STEPS, 2 * _STEPS)]):
        state, metrics = trainer.dispatch(state, span, batches)
        loss = float(metrics["nll"])
    after = _memory()
    return {
        "before": before,
        "peak": peak.own - before["own"],
        "loaded": loaded["own"] - before["own"],
        "training": after["own"] - before["own"],
        "mapped": after["mapped"] - before["mapped"],
        "nll": loss,
    }


if __name__ == "__main__":
    path, count, number, port = sys.argv[1], *map(int, sys.argv[2:])
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", count, number)
    print(json.dumps(_measure(path)))
