"""Sharding: the default rule of `spec_of`, and training on eight devices against one."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vaejax.core.sharding import (
    batch_sharding,
    check_batch,
    make_mesh,
    mesh_of,
    own_positions,
    put,
    put_own,
    replicated,
    spec_of,
    tree_sharding,
)
from vaejax.training import Settings, Trainer

MESHES = [(8, 1), (1, 8), (2, 4), (4, 2)]


@pytest.mark.parametrize(
    ("shape", "fsdp", "spec"),
    [
        ((64, 128), 8, P(None, "fsdp")),  # the largest dimension
        ((128, 64), 8, P("fsdp", None)),
        ((128, 65), 8, P("fsdp", None)),
        ((130, 64), 8, P(None, "fsdp")),  # the largest that is divisible
        ((4, 4, 64, 32), 4, P(None, None, "fsdp", None)),
        ((64, 64), 8, P("fsdp", None)),  # the first of equal ones; 4,096 elements are not small
        ((63, 65), 8, P()),  # none is divisible
        ((32, 64), 8, P()),  # small
        ((4096,), 8, P("fsdp")),
        ((4088,), 8, P()),
        ((), 8, P()),
        ((64, 128), 1, P()),
    ],
)
def test_the_largest_divisible_dimension_is_split(shape, fsdp, spec):
    assert spec_of("params/encoder/kernel", shape, fsdp, {}) == spec


def test_a_rule_overrides_the_default():
    rules = {"codebook": (None, "fsdp"), "params/.*/kernel": (), "kernel": ("data", None)}
    assert spec_of("params/codebook", (512, 64), 8, rules) == P(None, "fsdp")
    assert spec_of("params/encoder/kernel", (512, 64), 8, rules) == P()  # the first that matches
    assert spec_of("opt_state/mu/kernel", (512, 64), 8, rules) == P("data", None)
    assert spec_of("params/encoder/bias", (8192,), 8, rules) == P("fsdp")


def test_tree_sharding_matches_rules_with_paths():
    tree = {"params": {"a": {"kernel": np.zeros((64, 64))}, "b": [np.zeros((64, 64))]}}
    rules = {"^params/b/0$": (None, "fsdp")}
    shardings = tree_sharding(make_mesh(2, 4), tree, rules)
    assert shardings["params"]["a"]["kernel"].spec == P("fsdp", None)
    assert shardings["params"]["b"][0].spec == P(None, "fsdp")


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({}, (8, 1, 1)),
        ({"fsdp": 4}, (2, 4, 1)),
        ({"data": 2}, (2, 1, 1)),
        ({"data": 1, "fsdp": 8}, (1, 8, 1)),
        ({"tensor": 4}, (2, 1, 4)),
    ],
)
def test_make_mesh(sizes, shape):
    mesh = make_mesh(**sizes)
    assert tuple(mesh.shape.values()) == shape
    assert mesh.axis_names == ("data", "fsdp", "tensor")


@pytest.mark.parametrize("sizes", [(9, 1), (3, 4), (0, 1), (2, 0), (-1, 16), (-2, 1), (-1, 0)])
def test_an_impossible_mesh_is_rejected(sizes):
    with pytest.raises(ValueError, match=r"found 8; on CPU, JAX_NUM_CPU_DEVICES"):
        make_mesh(*sizes)


def test_a_mesh_without_devices_of_a_process_is_rejected(monkeypatch):
    assert mesh_of({"data": 2}).size == 2
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="2 of 8 devices leaves 1 of 2 processes without any"):
        mesh_of({"data": 2})


def test_an_indivisible_batch_size_is_rejected():
    check_batch(make_mesh(2, 4), 16, grad_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"batch_size=100 .* by 16 .* the nearest multiple is 96"):
        check_batch(make_mesh(2, 4), 100, grad_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"batch_size=3 .* the nearest multiple is 8"):
        check_batch(make_mesh(8, 1), 3)
    with pytest.raises(ValueError, match=r"batch_size=15 .* the nearest multiple is 16"):
        check_batch(make_mesh(8, 1), 15)


def test_put_shards_rows():
    mesh = make_mesh(8)
    rows = {"image": np.arange(16, dtype=np.uint8)}
    np.testing.assert_array_equal(put(replicated(mesh), rows)["image"], rows["image"])
    sharded = put(batch_sharding(mesh), rows)["image"]
    shards = [list(shard.data) for shard in sharded.addressable_shards]
    assert shards == [[i, i + 1] for i in range(0, 16, 2)]


def trainer_of(family, source, shape, rules=None):
    settings = Settings(steps=20, batch_size=16, steps_per_dispatch=20)
    return Trainer(family, source, settings, seed=1, mesh=make_mesh(*shape), rules=rules)


def after_20_steps(family, source, shape, initial):
    """State and metrics after one dispatch, from `initial` or, if None, the trainer's own."""
    trainer = trainer_of(family, source, shape)
    (span, batches), *_ = trainer.loader.batches([(0, 20)])
    if initial is None:
        state = trainer.init()
    else:
        state = jax.device_put(initial, jax.tree.map(lambda s: s.sharding, trainer.state_shape))
    return trainer.dispatch(state, span, batches)


@pytest.fixture
def family(request, beta_vae, vqvae):
    return beta_vae if request.param == "beta_vae" else vqvae(request.param)


@pytest.mark.parametrize(
    "family",
    [
        "beta_vae",
        pytest.param("ema_codebook", marks=pytest.mark.slow),
        pytest.param("sgd", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_training_agrees_on_all_meshes(family, source):
    initial = jax.device_get(trainer_of(family, source(), (1, 1)).init())
    state, metrics = after_20_steps(family, source(), (1, 1), initial)
    changes = jax.tree.map(lambda a, b: np.abs(a - b).max(), initial.params, state.params)
    assert all(change > 1e-3 for change in jax.tree.leaves(changes))
    for shape in MESHES:
        # The initialisation is tested on one mesh only, to save time.
        start = None if shape == (2, 4) else initial
        other, other_metrics = after_20_steps(family, source(), shape, start)
        agree = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        jax.tree.map(agree, other, state)
        jax.tree.map(agree, other_metrics, metrics)

        large = [a for a in jax.tree.leaves((other.params, other.opt_state)) if a.size >= 4096]
        assert len(large) >= 6  # kernels and codebooks, and their moments
        for array in large:
            shards = array.addressable_shards
            assert len(shards) == 8
            assert {s.data.size for s in shards} == {array.size // shape[1]}


def test_the_trainer_uses_the_rules(beta_vae, source):
    rules = {"params/encoder/Dense_0/kernel": (None, "fsdp")}
    state = trainer_of(beta_vae, source(), (1, 8), rules).state_shape
    assert state.params["encoder"]["Dense_0"]["kernel"].sharding.spec == P(None, "fsdp")
    assert state.params["decoder"]["Dense_1"]["kernel"].sharding.spec == P("fsdp", None)


def layouts():
    """Meshes of eight devices, among them one whose order is not that of the processes."""
    devices = np.array(jax.devices()).reshape(4, 2)
    mixed = jax.sharding.Mesh(devices[[2, 0, 3, 1]].T, ("data", "fsdp"))
    return {"data": make_mesh(8), "fsdp": make_mesh(1, 8), "both": make_mesh(2, 4), "mixed": mixed}


@pytest.mark.parametrize("layout", ["data", "fsdp", "both", "mixed"])
@pytest.mark.parametrize("processes", [2, 4])
def test_every_row_of_a_batch_belongs_to_one_process(layout, processes):
    """Each has as many, and those that lie on its devices."""
    mesh, groups = layouts()[layout], np.array_split(np.array(jax.devices()), processes)
    sharding = batch_sharding(mesh, leading=1)
    own = [own_positions(sharding, 24, 1, list(devices)) for devices in groups]
    assert [len(rows) for rows in own] == [24 // processes] * processes
    np.testing.assert_array_equal(np.sort(np.concatenate(own)), np.arange(24))
    batch = jax.device_put(np.arange(24)[None], sharding)
    for rows, devices in zip(own, groups, strict=True):
        shards = [s.data for s in batch.addressable_shards if s.device in devices]
        np.testing.assert_array_equal(np.sort(np.concatenate(shards, axis=1)[0]), rows)


def test_one_process_has_all_rows():
    sharding = batch_sharding(make_mesh(8))
    np.testing.assert_array_equal(own_positions(sharding, 16), np.arange(16))
    np.testing.assert_array_equal(own_positions(replicated(make_mesh(8)), 3, 2), np.arange(3))
    rows = {"x": np.arange(32.0).reshape(2, 16)}
    array = put_own(batch_sharding(make_mesh(8), 1), rows, 16, 1)["x"]
    np.testing.assert_array_equal(array, rows["x"])
