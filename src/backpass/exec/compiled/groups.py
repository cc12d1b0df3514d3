"""The statements of a kernel in groups, one for each value, and how threads share them.

Where a kernel is split, every thread runs all of it. A group whose outermost loop goes over a dimension that
is divided among the threads is done by all of them, each its own entries; one that ends in single numbers is
done by every thread for itself; anything else by the first thread alone. A barrier stands wherever a group
reads or overwrites what another thread wrote or still reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backpass.exec.compiled.source import variable
from backpass.ir import Node
from backpass.ir.types import Dim


class Read(NamedTuple):
    """A place that a group reads."""

    place: str
    own: bool  #: each thread only those entries that are its own
    straight: bool  #: each entry of the loop only the same entry


@dataclass(eq=False)
class Group:
    """Statements that belong together.

    Attributes
    ----------
    node : Node, optional
        The value that they calculate.
    lines : list of str
    split : int, str or None
        The dimension whose entries are divided among threads, and the `index` that runs over it.
    reads, writes : list of Read, set of str
        Places in memory that all threads see.
    loop : (shape, body), optional
        Where the group is nothing but loops over a shape around a body.
    """

    node: Node | None = None
    lines: list[str] = field(default_factory=list)
    split: Dim | None = None
    index: str = ""
    reads: list[Read] = field(default_factory=list)
    writes: set[str] = field(default_factory=set)
    numbers: bool = False  #: a single number that others read is among its results
    loop: tuple[tuple[Dim, ...], list[str]] | None = None
    others: list[Node] = field(default_factory=list)  #: values that were joined to it
    note: str = ""  #: what statements are for that calculate no value

    @property
    def sharing(self) -> object:
        """Who does it: all threads their own entries of a dimension, one thread, or each the whole."""
        if self.split is not None:
            return ("own", self.split)
        return "one" if self.writes else "each"


def loops(shape: Iterable[Dim], index: Iterable[str], body: Iterable[str], group: Group) -> list[str]:
    """Nested loops over a shape around a body; over the dimension that the group splits, a thread's part."""
    lines = []
    depth = 0
    for i, dim in zip(index, shape, strict=True):
        lines.append(f"{'    ' * depth}for {i} in range({span(dim, i, group)}):")
        depth += 1
    return lines + ["    " * depth + line for line in body]


def span(dim: Dim, index: str, group: Group) -> str:
    """The range of an index."""
    if group.split is not None and group.split == dim and group.index == index:
        return f"from_{dim}, to_{dim}"
    return variable(dim)


def joined(groups: Sequence[Group]) -> list[Group]:
    """Loops over the same entries that follow each other become one."""
    result: list[Group] = []
    for group in groups:
        before = result[-1] if result else None
        if before is None or not _can_join(before, group):
            result.append(group)
            continue
        assert before.loop is not None
        assert group.loop is not None
        shape, body = before.loop[0], before.loop[1] + group.loop[1]
        together = Group(before.node, [], before.split, before.index)
        together.reads, together.writes = before.reads + group.reads, before.writes | group.writes
        together.loop = shape, body
        together.others = [*before.others, *([] if group.node is None else [group.node]), *group.others]
        together.lines = loops(shape, (f"i{k}" for k in range(len(shape))), body, together)
        result[-1] = together
    return result


def _can_join(a: Group, b: Group) -> bool:
    if a.loop is None or b.loop is None or a.loop[0] != b.loop[0] or a.split != b.split:
        return False
    crossed = [r.place for r in b.reads if not r.straight and r.place in a.writes]
    spoiled = [r.place for r in a.reads if not r.straight and r.place in b.writes]
    return not crossed and not spoiled


def shared(groups: Sequence[Group]) -> list[Group]:
    """The groups with the barriers between them, and what one thread does alone marked as such."""
    result: list[Group] = []
    written: dict[str, object] = {}
    read: dict[str, set[tuple[object, bool]]] = {}

    def waits(group: Group) -> bool:
        who = group.sharing
        alone = who == "one"
        for r in group.reads:
            if r.place in written and not (written[r.place] == who and (r.own or alone)):
                return True
        for place in group.writes:
            if place in written and written[place] != who:
                return True
            if any(not (other == who and (own or alone)) for other, own in read.get(place, ())):
                return True
        return False

    for group in groups:
        if waits(group):
            result.append(barrier())
            written.clear()
            read.clear()
        who = group.sharing
        for r in group.reads:
            read.setdefault(r.place, set()).add((who, r.own))
        written.update(dict.fromkeys(group.writes, who))
        if who == "one":
            lines = ["if thread == 0:", *("    " + line for line in group.lines)]
            result.append(Group(group.node, lines, others=group.others))
        else:
            result.append(group)
    return result


def barrier() -> Group:
    """Where all threads wait for each other."""
    return Group(lines=["barrier(sync, threads)"], note="threads wait for each other")
