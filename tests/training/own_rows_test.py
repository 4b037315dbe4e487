"""Each of several processes takes only its own rows: global batch / processes."""

import collections
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.processes import job, run_jobs
from vaejax.data.batches import batch_indices, eval_batches

COUNT, BATCH, STEPS, TRAIN, HELD_OUT = 2, 8, 4, 24, 16
SOURCES = Path(__file__).parent / "counted_source.py"


def own(indices, process):
    """The part of a batch that a process has."""
    return indices[..., process * BATCH // COUNT : (process + 1) * BATCH // COUNT].tolist()


def takes(folder):
    """For each process and split the calls of `take` that not all processes made alike.

    Those made alike, and those of one row, look at the form and the range of the data.
    """
    calls = [
        [json.loads(line) for line in (folder / f"process-{i}.txt").read_text().splitlines()]
        for i in range(COUNT)
    ]
    counts = [collections.Counter(map(json.dumps, of_process)) for of_process in calls]
    alike = counts[0] & counts[1]
    result = []
    for of_process in calls:
        rest, left = collections.defaultdict(list), alike.copy()
        for split, indices in of_process:
            key = json.dumps([split, indices])
            if left[key]:
                left[key] -= 1
            elif len(indices) > 1:
                rest[split].append(indices)
        result.append(rest)
    return result


def config(folder, kind, **changes):
    return job(
        "beta_vae",
        folder / f"{kind}-{len(changes)}",
        **{
            "data.source": f"{kind}:{folder / 'tiny.npz'}",
            "data.holdout": HELD_OUT / (TRAIN + HELD_OUT),
            "data.workers": 0,
            "imports": (str(SOURCES),),
            "model.network": {"kind": "mlp", "hidden": (8,)},
            "model.latent_dim": 3,
            "train.batch_size": BATCH,
            "train.steps": STEPS,
            "train.steps_per_dispatch": 2,
            "train.log_every": 4,
            "train.checkpoint_every": 4,
            "evaluate.figures": False,
        },
        **changes,
    )


@pytest.fixture
def folder(tmp_path):
    random = np.random.RandomState(0)
    np.savez(tmp_path / "tiny.npz", image=random.rand(TRAIN + HELD_OUT, 8, 8, 1) < 0.5)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("sweep", [False, True])
def test_rows_that_each_process_takes(folder, sweep):
    changes = {"sweep.grid": "players.vae.minimizes.kl=1,4"} if sweep else {}
    run_jobs(COUNT, [config(folder, "counted", **changes)], folder, COUNTED=str(folder))
    batches = [batch_indices(0, step, TRAIN, BATCH) for step in range(STEPS)]
    held_out = [indices for indices, _ in eval_batches(HELD_OUT, BATCH)]
    for process, calls in enumerate(takes(folder)):
        # The first batch once more, from which the parameters are initialised.
        expected = [own(batch, process) for batch in (batches[0], *batches)]
        assert np.concatenate(calls["train"]).tolist() == np.concatenate(expected).tolist()
        once = [own(batch, process) for batch in held_out]
        times, rest = divmod(len(calls["eval"]), len(once))
        assert (times >= 2, rest) == (True, 0)  # at the checkpoint, and after the training
        assert calls["eval"] == once * times


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_rows_that_are_read_ahead_and_other_layouts(folder):
    layouts = {"call": "tests.training.own_rows_test:check_layouts"}
    jobs = [config(folder, "counted_ahead"), layouts]
    run_jobs(COUNT, jobs, folder, devices=2, COUNTED=str(folder))
    for process, calls in enumerate(takes(folder)):
        ahead = [own(batch_indices(0, step, TRAIN, BATCH), process) for step in range(400)]
        read = {json.dumps(indices) for indices in calls["train"]}
        assert read >= {json.dumps(indices) for indices in ahead[:STEPS]}
        assert read <= {json.dumps(indices) for indices in ahead}


def check_layouts():
    """In each process: global arrays are complete whatever the order of the mesh's devices.

    Of a source that is larger than a process's share each takes a part, and the batches are the
    same.
    """
    import jax

    from vaejax.core.sharding import batch_sharding, make_mesh, own_positions, put_own, replicated
    from vaejax.data.readers.npz import from_arrays
    from vaejax.training import batch_loader

    devices = np.array(jax.devices())
    mixed = jax.sharding.Mesh(devices[[2, 0, 3, 1]].reshape(2, 2), ("data", "fsdp"))
    expected = np.arange(3 * 8 * 2).reshape(3, 8, 2)
    for mesh in (make_mesh(), make_mesh(2, 2), mixed):
        sharding = batch_sharding(mesh, leading=1)
        positions = own_positions(sharding, 8, 1)
        assert len(positions) == 4
        array = put_own(sharding, {"x": expected[:, positions]}, 8, 1)["x"]
        complete = jax.jit(lambda a: a, out_shardings=replicated(mesh))(array)
        np.testing.assert_array_equal(complete, expected)
    source = from_arrays(np.random.RandomState(0).rand(40, 8, 8, 1) < 0.5, holdout=0)
    taken = []

    def take(indices):
        taken.extend(indices.tolist())
        return source.take(indices)

    counted = dataclasses.replace(source, take=take)
    for share, words in ((2**30, False), (40, True)):
        batch_loader.DEFAULT_RESIDENT_BYTES = share
        loader = batch_loader.BatchLoader(counted, 0, 8, 2, mixed)
        assert ("words" in loader.data) == words
        ((_, batches),) = loader.batches([(0, 2)])
        rows = jax.jit(loader.rows, out_shardings=replicated(mixed))
        images = np.asarray(rows(loader.data, batches, np.int32(1))["image"])
        np.testing.assert_array_equal(images, source.take(batch_indices(0, 1, 40, 8))["image"])
    # One row for its form, and then those of the own devices: two of four.
    assert sorted(taken[1:]) == own_positions(batch_sharding(mixed), 40).tolist()
    assert len(taken[1:]) == 20
