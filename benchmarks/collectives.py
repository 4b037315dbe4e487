"""The communication of a compiled program: which collectives it has, and how much they move."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["KINDS", "Collective", "bytes_per_device", "collectives_of", "counts_of"]

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64}
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+|c64)\[([\d,]*)\]")
_INSTRUCTION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|branch_computations)=\{?([%\w.\-, ]+)\}?")


class Collective(NamedTuple):
    """A collective of a program.

    Attributes:
      kind: one of `KINDS`.
      size: of its result on one device, in bytes.
      group: number of devices that take part together.
      times: how often it runs in one execution of the program.
    """

    kind: str
    size: int
    group: int
    times: int


def _size(shapes: str) -> int:
    """Bytes of the arrays in the text of a type, such as `(f32[2,3]{1,0}, s32[])`."""
    total = 0
    for dtype, dimensions in _ARRAY.findall(shapes):
        bits = _BITS.get(dtype) or int(dtype[1:])
        total += bits * math.prod(int(n) for n in dimensions.split(",") if n) // 8
    return total


def _group(line: str, devices: int) -> int:
    """Devices in a group, of any of the forms in which XLA writes groups."""
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(found[1].split(","))
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\].*?\{((?:'\w+',? ?)*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", found[2]))
    return 2 if "collective-permute" in line else devices


def _computations(text: str) -> Iterator[tuple[str, list[str], bool]]:
    """Name, instructions and whether it is the entry, of each computation of a module."""
    name, lines, entry = "", [], False
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" ") and "HloModule" not in line:
            entry = line.startswith("ENTRY")
            name, lines = line.removeprefix("ENTRY ").split(" ")[0].lstrip("%"), []
        elif line.startswith("}"):
            yield name, lines, entry
        else:
            lines.append(line)


def collectives_of(text: str, devices: int) -> list[Collective]:
    """The collectives of a compiled program.

    Those in a loop whose number of iterations the compiler found count that often; in any other
    loop, once.

    Args:
      text: `compiled.as_text()` of a program of JAX.
      devices: that it runs on.
    """
    bodies = {name: lines for name, lines, _ in _computations(text)}
    times: Counter[str] = Counter()

    def visit(name: str, count: int) -> None:
        times[name] += count
        for line in bodies[name]:
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            repeats = count * int(trips[1]) if trips and " while(" in line else count
            for called in _CALLED.findall(line):
                for other in (part.strip().lstrip("%") for part in called.split(",")):
                    if other in bodies:
                        visit(other, repeats)

    for name, _, entry in _computations(text):
        if entry:
            visit(name, 1)
    found = []
    for name, lines in bodies.items():
        for line in lines:
            if times[name] and (match := _INSTRUCTION.search(line)):
                shapes, kind, start = match.groups()
                size = _size(shapes)
                if start and kind in ("all-gather", "collective-permute"):
                    size = _size(shapes.rpartition(", ")[2]) or size  # (operand, result)
                found.append(Collective(kind, size, _group(line, devices), times[name]))
    return found


def counts_of(collectives: list[Collective]) -> dict[str, int]:
    """How often each kind of collective runs; kinds that do not are left out."""
    counts: Counter[str] = Counter()
    for one in collectives:
        if one.group > 1:
            counts[one.kind] += one.times
    return dict(sorted(counts.items()))


def bytes_per_device(collectives: list[Collective]) -> float:
    """Bytes that each device sends, with ring algorithms (Thakur et al., 2005, section 4).

    An all-reduce of s bytes among n devices sends 2 s (n − 1)/n; an all-gather, a reduce-scatter
    and an all-to-all (n − 1)/n of the whole array; a permutation all of it.
    """
    total = 0.0
    for kind, size, n, times in collectives:
        share = (n - 1) / n
        factor = {"all-reduce": 2 * share, "reduce-scatter": n - 1, "collective-permute": 1.0}
        total += size * times * factor.get(kind, share) * (n > 1)
    return total
