"""Counting the collectives of a program's text, and what they move."""

import pytest

from benchmarks.collectives import Collective, bytes_per_device, collectives_of, counts_of

TEXT = """HloModule jit_run, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %gathered = f32[64,8]{1,0} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %t = (s32[], f32[8]) tuple(%i, %x)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%unused (p: f32[8]) -> f32[8] {
  ROOT %z = f32[8]{0} all-reduce(%p), replica_groups={{0,1}}, to_apply=%add
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %r = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce(%p, %q), replica_groups={{0,1},{2,3}}, to_apply=%add
  %w = (s32[], f32[8]) while(%t), body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %s = (f32[4]{0}, f32[16]{0}) all-gather-start(%a), replica_groups=[1,4]<=[4], dimensions={0}
  %d = f32[16]{0} all-gather-done(%s)
  %m = s8[10]{0} all-reduce(%b), replica_groups=mesh['a'=4,'b'=2], device_ids=([8]) {'a'}
  %one = f32[7]{0} all-reduce(%c), replica_groups={{0},{1}}, to_apply=%add
  ROOT %c = f32[8]{0} collective-permute(%p), source_target_pairs={{0,1}}
}
"""


def test_collectives_are_found_with_sizes_groups_and_repetitions():
    assert sorted(collectives_of(TEXT, 8)) == sorted(
        [
            Collective("all-reduce", 8 * 4 + 6 * 2, 2, 1),
            Collective("all-gather", 64 * 8 * 4, 4, 5),
            Collective("all-gather", 16 * 4, 4, 1),
            Collective("all-reduce", 10, 4, 1),
            Collective("all-reduce", 7 * 4, 1, 1),
            Collective("collective-permute", 32, 2, 1),
        ]
    )
    counts = {"all-gather": 6, "all-reduce": 2, "collective-permute": 1}
    assert counts_of(collectives_of(TEXT, 8)) == counts


@pytest.mark.parametrize(
    ("kind", "size", "sent"),
    [
        ("all-reduce", 800, 2 * 800 * 3 / 4),
        ("all-gather", 800, 800 * 3 / 4),
        ("reduce-scatter", 200, 200 * 3),
        ("all-to-all", 800, 800 * 3 / 4),
        ("collective-permute", 800, 800),
    ],
)
def test_bytes_of_ring_algorithms(kind, size, sent):
    assert bytes_per_device([Collective(kind, size, 4, 3)]) == 3 * sent
    assert bytes_per_device([Collective(kind, size, 1, 3)]) == 0
