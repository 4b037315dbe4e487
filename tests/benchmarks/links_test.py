"""Times of collectives on the links of a machine against sums by hand."""

import pytest

from benchmarks.collectives import Collective
from benchmarks.links import MACHINES, Machine, communication_seconds, efficiency

# 4 accelerators in a group, links of 100 bytes per second, a network of 10.
SMALL = Machine(flops=1000.0, link=100.0, group=4, network=10.0)


@pytest.mark.parametrize(
    ("kind", "size", "group", "seconds"),
    [
        ("all-reduce", 800, 4, 2 * 800 * 3 / 4 / 100),
        ("all-gather", 800, 2, 800 / 2 / 100),
        # Within the group an all-reduce of all; among 2 groups of its quarter.
        ("all-reduce", 800, 8, 2 * 800 * 3 / 4 / 100 + 2 * 200 / 2 / 10),
        ("all-gather", 800, 8, 800 * 3 / 4 / 100 + 200 / 2 / 10),
        # The result is an eighth: 800 are summed within the group to parts of 200, those to 100.
        ("reduce-scatter", 100, 8, 800 * 3 / 4 / 100 + 100 / 10),
        ("all-to-all", 800, 8, 800 * 7 / 8 / 10),
        ("collective-permute", 800, 8, 800 / 10),
        ("all-reduce", 800, 1, 0.0),
    ],
)
def test_seconds_of_a_collective_of_eight_devices(kind, size, group, seconds):
    found = communication_seconds([Collective(kind, size, group, 3)], SMALL, 8)
    assert found == pytest.approx(3 * seconds)


def test_a_collective_of_some_devices_of_many_groups_is_over_the_network():
    found = communication_seconds([Collective("all-reduce", 800, 8, 1)], SMALL, 32)
    assert found == pytest.approx(2 * 800 * 7 / 8 / 10)


def test_efficiency_without_and_with_overlap():
    assert efficiency(3000.0, 1.0, SMALL) == (0.75, 1.0)
    assert efficiency(500.0, 2.0, SMALL) == (0.2, 0.25)


def test_published_bandwidths_per_direction():
    v5e, h200 = MACHINES["TPU v5e"], MACHINES["H200"]
    assert v5e.network == 3.125e9  # 25 Gbit/s
    assert h200.network == 50e9
    assert h200.link == 450e9
