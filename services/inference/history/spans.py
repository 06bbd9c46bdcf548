"""Offsets of a topic that are still to be read: per partition, disjoint half-open ranges. Not thread-safe."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Spans:
    """A set of offsets.

    >>> missing = Spans()
    >>> missing.add(0, 10, 20)
    >>> missing.remove(0, 12, 15)
    >>> list(missing), len(missing)
    ([(0, 10, 12), (0, 15, 20)], 7)
    """

    _ranges: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, partition: int, first: int, end: int) -> None:
        """Add the offsets of ``[first, end)``."""
        if first < end:
            self.remove(partition, first, end)
            self._ranges[partition] = sorted([*self._ranges.get(partition, []), (first, end)])

    def remove(self, partition: int, first: int, end: int) -> None:
        """Remove the offsets of ``[first, end)`` that are in the set."""
        if first >= end:
            return
        left = []
        for a, b in self._ranges.pop(partition, []):
            left += [part for part in ((a, min(b, first)), (max(a, end), b)) if part[0] < part[1]]
        if left:
            self._ranges[partition] = left

    def within(self, partition: int, first: int, end: int) -> "Spans":
        """Return the part of ``partition`` that lies in ``[first, end)``."""
        found = Spans()
        for a, b in self._ranges.get(partition, []):
            found.add(partition, max(a, first), min(b, end))
        return found

    def copy(self) -> "Spans":
        """Return an independent copy."""
        return Spans({partition: list(ranges) for partition, ranges in self._ranges.items()})

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield ``(partition, first, end)``, ascending."""
        for partition in sorted(self._ranges):
            for first, end in sorted(self._ranges[partition]):
                yield partition, first, end

    def __len__(self) -> int:
        """Return the number of offsets."""
        return sum(end - first for _, first, end in self)
