"""Accelerators and their links, and how long communication takes on them.

Peaks and bandwidths are those that the makers publish; what a program reaches is less.

TPU v5e: cloud.google.com/tpu/docs/v5e (197 TFLOP/s in bfloat16, 400 GB/s in both directions per
chip, pods of 256 chips, 6.4 Tbit/s of the network per pod). H200: NVIDIA's data sheets of H200 and
DGX H200 (989 TFLOP/s in bfloat16 without sparsity, NVLink of 900 GB/s in both directions, 8 GPUs
per machine with 400 Gbit/s of the network each).
"""

from typing import NamedTuple

from .collectives import Collective, bytes_per_device

__all__ = ["MACHINES", "Machine", "communication_seconds", "efficiency"]


class Machine(NamedTuple):
    """An accelerator in a cluster; bandwidths are in bytes per second and direction.

    Attributes:
      flops: floating-point operations per second in bfloat16.
      link: bandwidth of an accelerator to those of its group.
      group: accelerators that are joined by these links.
      network: bandwidth of an accelerator to other groups.
    """

    flops: float
    link: float
    group: int
    network: float


MACHINES = {
    "TPU v5e": Machine(197e12, 200e9, 256, 6.4e12 / 8 / 256),
    "H200": Machine(989e12, 450e9, 8, 400e9 / 8),
}


def communication_seconds(collectives: list[Collective], machine: Machine, devices: int) -> float:
    """Time that a program's collectives take, one after the other, without latencies.

    A collective of all devices is done within the groups by the links, and among the groups by the
    network, where each device moves its share. One of fewer devices than a group has is within it;
    any other is over the network alone.

    Args:
      collectives: of one device's program.
      machine: the accelerator.
      devices: of the program.
    """
    seconds = 0.0
    for one in collectives:
        if one.group <= min(machine.group, devices):
            seconds += bytes_per_device([one]) / machine.link
        elif one.group < devices or one.kind in ("all-to-all", "collective-permute"):
            seconds += bytes_per_device([one]) / machine.network
        else:
            local, groups = machine.group, one.group // machine.group
            # The part of the array that a device has after the step within the group.
            share = one.size if one.kind == "reduce-scatter" else one.size // local
            within = one._replace(group=local)
            if one.kind == "reduce-scatter":
                within = within._replace(size=one.size * groups)
            seconds += bytes_per_device([within]) / machine.link
            seconds += bytes_per_device([one._replace(group=groups, size=share)]) / machine.network
    return seconds


def efficiency(flops: float, communication: float, machine: Machine) -> tuple[float, float]:
    """The share of the time in which a device computes: without, and with ideal overlap.

    Args:
      flops: of one device in a step.
      communication: seconds in a step.
      machine: the accelerator, which computes at its peak.
    """
    compute = flops / machine.flops
    return compute / (compute + communication), min(1.0, compute / max(communication, 1e-30))
