"""Data that record which rows every process takes: `counted:PATH`, or `counted_ahead:PATH`.

The indices of each call are a line of `$COUNTED/process-N.txt`. The second is read ahead by threads
of Grain.
"""

import dataclasses
import json
import os
from pathlib import Path

import jax

import vaejax


def _counted(path, options, *, ahead):
    source = vaejax.load_data(f"npz:{path}", options.split, holdout=options.holdout)
    file = Path(os.environ["COUNTED"]) / f"process-{jax.process_index()}.txt"

    def take(indices):
        line = json.dumps([options.split, indices.tolist()]) + "\n"
        with file.open("a") as lines:
            lines.write(line)
        return source.take(indices)

    return dataclasses.replace(source, take=take, arrays=None, read=take if ahead else None)


@vaejax.register("data", "counted")
def counted(path, options):
    return _counted(path, options, ahead=False)


@vaejax.register("data", "counted_ahead")
def counted_ahead(path, options):
    return _counted(path, options, ahead=True)
