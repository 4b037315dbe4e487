"""Reading ahead in threads and in worker processes: rows, order, errors, and the end."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from vaejax import data
from vaejax.core.sharding import make_mesh
from vaejax.data.batches import batch_indices
from vaejax.data.labels import with_labels
from vaejax.data.read_ahead import WorkerError, read_ahead
from vaejax.data.source import subset
from vaejax.training.batch_loader import BatchLoader

pytest.importorskip("grain")

ROOT = Path(data.__file__).parents[2]
SPANS = [(2, 6), (6, 7), (7, 11)]


def load(step):
    return {"number": np.full(2, step)}


def load_until(step, last, how):
    if step >= last:
        if how == "exit":
            os._exit(9)
        raise OSError("the disk is gone")
    return {"number": np.full(2, step)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))
    pixels = np.random.RandomState(0).randint(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    for number, image in enumerate(pixels):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    return f"folder:{tmp_path / 'images'}"


def numbers(workers):
    return [int(rows["number"][0]) for rows in read_ahead(load, range(3, 17), workers)]


def test_threads_keep_the_order_of_steps():
    assert numbers(0) == list(range(3, 17))


def test_errors_of_threads_are_raised_at_their_step():
    ahead = read_ahead(functools.partial(load_until, last=5, how="raise"), range(9), 0)
    assert [int(next(ahead)["number"][0]) for _ in range(5)] == list(range(5))
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def check_batches(folder, workers):
    options = {"max_resident_bytes": 1, "holdout": 0.0}
    streamed = data.load(folder, workers=workers, **options)
    assert streamed.arrays is None
    assert streamed.workers == workers
    resident = data.load(folder, holdout=0.0)
    loader = BatchLoader(streamed, 3, 8, 4, make_mesh(1))
    for (start, stop), batches in loader.batches(SPANS):
        for step in range(start, stop):
            expected = resident.take(batch_indices(3, step, 20, 8))
            for name, value in expected.items():
                np.testing.assert_array_equal(batches[name][step - start], value)


def test_batches_of_threads_are_those_of_the_resident_source(folder):
    check_batches(folder, 0)


def test_parts_of_a_split_and_hidden_labels_are_what_workers_read(folder):
    source = data.load(folder, workers=0, max_resident_bytes=1, holdout=0.0)
    part = with_labels(subset(source, np.arange(4, 14), "train"), 4, seed=1)
    picks = np.array([9, 0, 3, 5])
    for name, value in part.take(picks).items():
        np.testing.assert_array_equal(part.read(picks)[name], value)
    labels = part.decode(part.read(np.arange(10)))["label"]
    assert set(np.asarray(labels).tolist()) == {-1, 0, 1}
    np.testing.assert_array_equal(part.read(picks)["image"], source.take(picks + 4)["image"])


@pytest.mark.slow
def test_batches_of_workers_are_those_of_the_resident_source(folder):
    check_batches(folder, 2)


@pytest.mark.slow
def test_workers_keep_the_order_and_end():
    for workers in (1, 3):
        assert numbers(workers) == list(range(3, 17))
    ahead = read_ahead(load, range(100), 2)
    next(ahead)
    assert children()
    ahead.close()
    assert not children()


@pytest.mark.slow
def test_an_error_in_a_worker_is_raised_with_its_type():
    ahead = read_ahead(functools.partial(load_until, last=3, how="raise"), range(9), 2)
    with pytest.raises(OSError, match="the disk is gone"):
        list(ahead)
    assert not children()


@pytest.mark.slow
def test_a_worker_that_the_system_ends_is_one_line():
    ahead = read_ahead(functools.partial(load_until, last=3, how="exit"), range(9), 2)
    with pytest.raises(WorkerError, match=r"exit code 9.*data\.workers=0"):
        list(ahead)
    assert not children()


def children(of=None):
    """Process ids of the worker processes of a process."""
    of = os.getpid() if of is None else of
    task = Path(f"/proc/{of}/task")
    pids = [int(p) for t in task.iterdir() for p in (t / "children").read_text().split()]
    return [p for p in pids if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


SCRIPT = """
import sys
import numpy as np
import vaejax
from vaejax.training import Settings, Trainer, fit

source = vaejax.load_data(sys.argv[1], holdout=0.0, max_resident_bytes=1, workers=2)
table = vaejax.players({"vae": {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": 1e-3}})
likelihood = {"kind": "normal", "scale": 0.1}
family = vaejax.families.beta_vae(
    (8, 8, 3), table, latent_dim=2, network={"kind": "mlp", "hidden": (8,)}, likelihood=likelihood
)
steps = int(sys.argv[2])
settings = Settings(steps=steps, batch_size=8, steps_per_dispatch=1, log_every=steps)
trainer = Trainer(family, source, settings, mesh=vaejax.make_mesh(1))
print("trains", flush=True)
outcome = fit(trainer, settings)
print("done", outcome.interrupted, flush=True)
"""


def script(tmp_path, folder, steps):
    """A script without `if __name__ == "__main__"`, in a process group of its own."""
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(path), folder, str(steps)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def gone(pids):
    return not any(Path(f"/proc/{p}").exists() for p in pids)


@pytest.mark.slow
def test_a_script_trains_with_workers_and_is_not_imported_by_them(tmp_path, folder):
    process = script(tmp_path, folder, 30)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines() == ["trains", "done False"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_training(tmp_path, folder, number):
    """Signals go to all processes of the group, as from a terminal; SIGKILL to the training."""
    process = script(tmp_path, folder, 10**6)
    pids = wait_for(lambda: len(children(process.pid)) >= 2 and children(process.pid))
    time.sleep(10)  # until training
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    out, err = process.communicate(timeout=120)
    wait_for(lambda: gone(pids), 60)
    assert err == ""
    if number != signal.SIGKILL:
        assert (process.returncode, out.splitlines()[-1]) == (0, "done True")
