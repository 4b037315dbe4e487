"""Checkpoints: exact round trips, other meshes, which ones are kept."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.random_state import assert_same_bits, random_state, restore, save, shapes_of
from vaejax.core.sharding import make_mesh, tree_sharding
from vaejax.training import checkpoint
from vaejax.training.checkpoint import Checkpoints, CorruptCheckpointError
from vaejax.training.checkpoint_reader import restore_checkpoint
from vaejax.training.restore import restore_state


@pytest.mark.parametrize("ema", [False, True])
def test_round_trip(folder, ema):
    state = random_state(ema=ema)
    assert "MaskedNode" in str(jax.tree.structure(state.opt_state))
    save(folder, state)
    assert_same_bits(restore(folder, shapes_of(state)), state)


def test_special_values_are_restore(folder):
    state = random_state()
    special = jnp.array([jnp.nan, -jnp.inf, -0.0, 1e-45, 3.4e38], jnp.float32)
    state.params["encoder"]["special"] = special
    save(folder, state)
    read = restore(folder, shapes_of(state)).params["encoder"]["special"]
    bits, expected = (np.asarray(a).view(np.uint32) for a in (read, special))
    np.testing.assert_array_equal(bits, expected)


def test_restoring_onto_other_meshes(folder):
    """Eight devices, then two, then one; each saves the state restored from the one before."""
    state = on_mesh = random_state()
    for step, (data, fsdp) in enumerate([(2, 4), (1, 8), (1, 2), (1, 1)]):
        mesh = make_mesh(data, fsdp)
        on_mesh = jax.device_put(on_mesh, tree_sharding(mesh, on_mesh))
        save(folder, on_mesh, step)
        on_mesh = restore(folder, shapes_of(state, mesh))
        assert_same_bits(on_mesh, state)
        kernel = on_mesh.params["encoder"]["Dense_0"]["kernel"]
        assert kernel.addressable_shards[0].data.size == kernel.size // fsdp
        assert len(kernel.sharding.device_set) == data * fsdp


def test_another_layout_is_reported(folder):
    state = random_state()
    first, second = make_mesh(2, 4), make_mesh(1, 2)
    save(folder, jax.device_put(state, tree_sharding(first, state)))
    checkpoints = Checkpoints(folder)
    assert checkpoints.other_layout(shapes_of(state, first)) is None
    line = checkpoints.other_layout(shapes_of(state, second))
    checkpoints.close()
    assert "Step 7 was saved by 1 process (mesh.data=2, mesh.fsdp=4)" in line
    assert "resumed by 1 process (mesh.fsdp=2)" in line


def test_the_last_and_the_best_are_kept(folder):
    state = random_state()
    checkpoints = Checkpoints(folder, keep_last=2, keep_best=1)
    kept = []
    for step, elbo in enumerate([-90.0, -50.0, -70.0, -60.0, -80.0, -40.0, -100.0], start=1):
        checkpoints.save(step, state, {"elbo": elbo})
        checkpoints.wait()
        kept.append((checkpoints.steps(), checkpoints.latest(), checkpoints.best()))
    checkpoints.close()
    assert kept == [
        ([1], 1, 1),
        ([1, 2], 2, 2),
        ([2, 3], 3, 2),
        ([2, 3, 4], 4, 2),
        ([2, 4, 5], 5, 2),
        ([5, 6], 6, 6),
        ([6, 7], 7, 6),
    ]
    again = Checkpoints(folder)
    assert (again.steps(), again.latest(), again.best()) == kept[-1]
    again.close()


def test_without_metrics_there_is_no_best_checkpoint(folder):
    checkpoints = Checkpoints(folder, keep_last=1, keep_best=1)
    assert (checkpoints.latest(), checkpoints.best()) == (None, None)
    checkpoints.save(1, random_state())
    checkpoints.save(2, random_state(), {"elbo": -3.0})
    checkpoints.save(3, random_state(), {"elbo": float("nan")})
    checkpoints.save(4, random_state())
    checkpoints.wait()
    assert (checkpoints.steps(), checkpoints.best()) == ([2, 4], 2)
    checkpoints.close()


def test_restoring_an_earlier_step(folder):
    first, second = random_state(1), random_state(2)
    save(folder, first, 1)
    save(folder, second, 2)
    assert_same_bits(restore(folder, shapes_of(first)), second)
    assert_same_bits(restore(folder, shapes_of(first), 1), first)


def test_the_state_may_be_donated_during_a_write(folder):
    state = random_state()
    expected = jax.tree.map(lambda a: np.array(a, copy=True), state)
    overwrite = jax.jit(lambda s: jax.tree.map(lambda a: a + 1, s), donate_argnums=0)
    checkpoints = Checkpoints(folder)
    checkpoints.save(7, state)
    for _ in range(20):
        state = overwrite(state)
    jax.block_until_ready(state)
    checkpoints.close()
    assert_same_bits(restore(folder, shapes_of(state)), expected)


def test_a_checkpoint_of_an_earlier_version(folder, monkeypatch):
    """Checksums by name alone, and no number of all skipped steps."""
    state = random_state()
    tree = checkpoint.to_dict(state)
    tree.pop("total_skipped")
    sums = {name: a["crc32"] for name, a in checkpoint.record_of(tree)["arrays"].items()}
    monkeypatch.setattr(checkpoint, "to_dict", lambda _: tree)
    monkeypatch.setattr(checkpoint, "record_of", lambda *_: sums)
    save(folder, state)
    restored = restore_checkpoint(folder, shapes_of(state), 7)
    assert int(restored.total_skipped) == 0
    assert_same_bits(restored._replace(total_skipped=state.total_skipped), state)
    sums["params/codebook"] ^= 1
    (folder / "7" / "checksums" / "metadata").write_text(json.dumps(sums))
    with pytest.raises(CorruptCheckpointError, match="params/codebook"):
        restore_checkpoint(folder, shapes_of(state), 7)


def test_a_checkpoint_that_is_deleted_while_it_is_read(folder, monkeypatch):
    """The training keeps the newest two: a reader takes the newest that is left."""
    first, second = random_state(1), random_state(2)
    save(folder, first, 1)
    read = restore_checkpoint

    def restore_and_delete(directory, like, step):
        if step == 1:
            save(folder, second, 2)
            shutil.rmtree(folder / "1")
        return read(directory, like, step)

    monkeypatch.setattr("vaejax.training.restore.restore_checkpoint", restore_and_delete)
    assert_same_bits(restore_state(folder, shapes_of(first)), second)
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint of step 1; its checkpoints are \[2\]"
    ):
        restore_state(folder, shapes_of(first), 1)
