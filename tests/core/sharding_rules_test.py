"""Which dimension is split over the axis `tensor`, and the rules of `mesh.rules`."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vaejax.core.sharding import batch_sharding, check_batch, make_mesh, mesh_of, spec_of
from vaejax.core.sharding import tree_sharding as shardings_of
from vaejax.core.sharding_rules import parse_rules


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("params/codebook", (512, 64), P("tensor", None)),
        ("params/codebook_1", (512, 64), P("tensor", None)),
        ("params/codebook/codes", (512, 64), P("tensor", None)),
        ("params/codebook/basis", (64, 64), P()),
        ("opt_state/inner/count/codebook", (8192,), P("tensor")),
        ("opt_state/inner/mu/codebook", (2, 512, 64), P(None, "tensor", None)),
        ("params/codebook", (510, 64), P()),  # not divisible
        ("params/codebook", (16, 64), P()),  # small
        ("params/prior/layers/qkv", (2, 64, 192), P(None, None, "tensor")),
        ("params/prior/layers/down", (2, 256, 64), P(None, "tensor", None)),
        ("params/prior/logits", (1, 512, 64), P(None, "tensor", None)),
        ("params/discriminator/Dense_0/kernel", (64, 64), P(None, "tensor")),
        ("params/discriminator/Dense_1/kernel", (64, 64), P("tensor", None)),
        ("params/discriminator/Conv_2/kernel", (4, 4, 64, 64), P(None, None, None, "tensor")),
        ("params/discriminator/Dense_1/bias", (4096,), P()),
        ("params/encoder/Dense_0/kernel", (64, 64), P()),
    ],
)
def test_what_gets_large_is_split(path, shape, spec):
    assert spec_of(path, shape, 1, {}, 4) == spec


def test_another_dimension_is_split_over_fsdp():
    assert spec_of("params/codebook", (512, 64), 2, {}, 4) == P("tensor", "fsdp")
    assert spec_of("params/prior/layers/qkv", (2, 64, 192), 2, {}, 4) == P(None, "fsdp", "tensor")
    assert spec_of("params/codebook", (512, 64), 2, {}) == P("fsdp", None)


def test_a_rule_is_for_arrays_of_enough_dimensions():
    rules = parse_rules("codebook=-,tensor; encoder/.*kernel = fsdp")
    assert rules == {"codebook": (None, "tensor"), "encoder/.*kernel": ("fsdp",)}
    assert spec_of("params/codebook", (512, 64), 1, rules, 4) == P(None, "tensor")
    assert spec_of("opt_state/count/codebook", (8192,), 1, rules, 4) == P("tensor")
    assert spec_of("params/encoder/Dense_0/kernel", (63, 64), 1, rules, 4) == P("fsdp")
    assert parse_rules("") == {}


@pytest.mark.parametrize(
    "text", ["codebook", "codebook=rows", "=tensor", "a=tensor,tensor", "a=-,", "(=tensor"]
)
def test_a_wrong_rule_is_one_line(text):
    with pytest.raises(ValueError, match=r"^mesh\.rules: ") as caught:
        mesh_of({"data": 1, "fsdp": 1, "tensor": 2, "rules": text})
    assert "\n" not in str(caught.value)


def test_a_rule_that_does_not_fit_an_array_is_one_line():
    rules = parse_rules("codebook=tensor")
    with pytest.raises(ValueError, match=r"the array codebook of shape \[6, 2\] cannot be split"):
        shardings_of(make_mesh(2, 1, 4), {"codebook": np.zeros((6, 2))}, rules)


def test_devices_of_the_tensor_axis_have_the_same_rows():
    mesh = mesh_of({"data": -1, "fsdp": 1, "tensor": 4, "rules": ""})
    assert tuple(mesh.shape.values()) == (2, 1, 4)
    check_batch(mesh, 6)
    with pytest.raises(ValueError, match=r"batch_size=7 is not divisible by 2"):
        check_batch(mesh, 7)
    rows = jax.device_put(np.arange(4), batch_sharding(mesh))
    assert {shard.data.shape for shard in rows.addressable_shards} == {(2,)}
    with pytest.raises(ValueError, match="data=1 × fsdp=3 × tensor=4 needs 12 devices"):
        make_mesh(1, 3, 4)
