"""Counts of values by upper edge: what a Prometheus histogram is made of, kept where the values arise."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Buckets:
    """How many values were at most so large.

    Parameters
    ----------
    edges : sequence of float
        Upper edges, each belonging to its bucket, ascending; beyond the last there is one more bucket.

    Attributes
    ----------
    total : float
        Sum of the values.

    Examples
    --------
    >>> counts = Buckets((1, 10))
    >>> for value in (0.5, 1, 7, 300):
    ...     counts.add(value)
    >>> counts.cumulative()
    [('1.0', 2), ('10.0', 3), ('+Inf', 4)]
    """

    __slots__ = ("_counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(float(edge) for edge in edges)
        self.total = 0.0
        self._counts = [0] * (len(self.edges) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def add_beyond(self, value: float) -> None:
        """Count a value of which is only known that it is larger: it lies beyond the last edge."""
        self._counts[-1] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, int]]:
        """Return for each edge, as Prometheus writes it, how many values were at most that; the last has all."""
        names = [*(str(edge) for edge in self.edges), "+Inf"]
        running, found = 0, []
        for name, count in zip(names, self._counts, strict=True):
            running += count
            found.append((name, running))
        return found
