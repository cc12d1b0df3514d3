"""The statements of a kernel in groups, one for each value, and how threads share them.

Where a kernel is split, every thread runs all of it. A group whose outermost loop goes over a dimension that
is divided among the threads is done by all of them, each its own entries; one that ends in single numbers is
done by every thread for itself; anything else by the first thread alone. A barrier stands wherever a group
reads or overwrites what another thread wrote or still reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from backpass.exec.compiled.source import flat, variable
from backpass.ir import Node
from backpass.ir.types import Dim, size_of

_INDEX, _NAME = re.compile(r"\bi\d+\b"), re.compile(r"[A-Za-z_]\w*")


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
    defines : set of str
        Single numbers that other groups read.
    fence : bool
        Whether groups after it in the program have to stay after it.
    loop : (shape, body), optional
        Where the group is nothing but loops over a shape around a body.
    """

    node: Node | None = None
    lines: list[str] = field(default_factory=list)
    split: Dim | None = None
    index: str = ""
    reads: list[Read] = field(default_factory=list)
    writes: set[str] = field(default_factory=set)
    defines: set[str] = field(default_factory=set)
    fence: bool = False
    loop: tuple[tuple[Dim, ...], list[str]] | None = None
    others: list[Node] = field(default_factory=list)  #: values that were joined to it
    note: str = ""  #: what statements are for that calculate no value
    inside: list[Group] = field(default_factory=list)  #: what the statements of a loop consist of

    @property
    def sharing(self) -> object:
        """Who does it: all threads their own entries of a dimension, one thread, or each the whole.

        All threads go through a loop together, and share what is inside.
        """
        if self.split is not None:
            return ("own", self.split)
        if self.inside:
            return "together"
        return "one" if self.writes else "each"


def loops(shape: Iterable[Dim], index: Iterable[str], body: Iterable[str], group: Group) -> list[str]:
    """Nested loops over a shape around a body; over the dimension that the group splits, a thread's part."""
    lines = []
    depth = 0
    for i, dim in zip(index, shape, strict=True):
        lines.append(f"{'    ' * depth}for {i} in range({span(dim, i, group)}):")
        depth += 1
    return lines + ["    " * depth + line for line in body]


def over(shape: tuple[Dim, ...], body: Sequence[str], group: Group) -> list[str]:
    """Loops over the entries of a shape, ``i0``, ``i1``, ...; one loop where only their places are read."""
    index = tuple(f"i{k}" for k in range(len(shape)))
    entry = f"[{flat(shape, index)}]"
    at_once = [line.replace(entry, "[q]") for line in body]
    if len(shape) < 2 or any(_INDEX.search(line) for line in at_once):
        return loops(shape, index, body, group)
    rest = variable(size_of(shape[1:]))
    bounds = ", ".join(f"{bound}*{rest}" for bound in span(shape[0], "i0", group).split(", "))
    return [f"for q in range({bounds}):", *("    " + line for line in at_once)]


def span(dim: Dim, index: str, group: Group) -> str:
    """The range of an index."""
    if group.split is not None and group.split == dim and group.index == index:
        return f"from_{dim}, to_{dim}"
    return variable(dim)


def indented(group: Group) -> Group:
    """The same statements inside a loop."""
    lines = ["    " + line for line in group.lines]
    return replace(group, lines=lines, inside=[indented(g) for g in group.inside])


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
        together.lines = over(shape, body, together)
        result[-1] = together
    return result


def _can_join(a: Group, b: Group) -> bool:
    if a.loop is None or b.loop is None or a.loop[0] != b.loop[0] or a.split != b.split:
        return False
    crossed = [r.place for r in b.reads if not r.straight and r.place in a.writes]
    spoiled = [r.place for r in a.reads if not r.straight and r.place in b.writes]
    return not crossed and not spoiled


def shared(groups: Sequence[Group]) -> list[Group]:
    """The groups with barriers between them, and what one thread does alone marked as such.

    What can be done before the next barrier is done before it, so that threads wait for each other seldom.
    """
    needs = _needs(groups)
    left = list(range(len(groups)))
    placed: set[int] = set()
    result: list[Group] = []
    since = _SinceBarrier()
    while left:
        ready = (k for k in left if needs[k] <= placed)
        chosen = next((k for k in ready if not since.waits(groups[k])), None)
        if chosen is None:
            result.append(barrier())
            since = _SinceBarrier()
            continue
        left.remove(chosen)
        placed.add(chosen)
        group = groups[chosen]
        since.add(group)
        if group.sharing == "one":
            group = replace(group, lines=["if thread == 0:", *("    " + line for line in group.lines)])
        result.append(group)
    return result


def shared_turns(groups: Sequence[Group]) -> list[Group]:
    """The same for the statements of a loop; where a turn needs what another thread did in the one before it,
    threads wait for each other at its end."""
    result = shared(groups)
    since = _SinceBarrier()
    for group in [*result, *result]:
        if is_barrier(group):
            since = _SinceBarrier()
        elif since.waits(group):
            return [*result, barrier()]
        else:
            since.add(group)
    return result


def every(groups: Iterable[Group]) -> Iterator[Group]:
    """Groups and those inside of them."""
    for group in groups:
        yield group
        yield from every(group.inside)


class _SinceBarrier:
    """Who wrote and who read which places since the last barrier."""

    def __init__(self) -> None:
        self.written: dict[str, object] = {}
        self.read: dict[str, set[tuple[object, bool]]] = {}

    def add(self, group: Group) -> None:
        for r in group.reads:
            self.read.setdefault(r.place, set()).add((group.sharing, r.own))
        self.written.update(dict.fromkeys(group.writes, group.sharing))

    def waits(self, group: Group) -> bool:
        """Whether a thread could come to this group before another has done what it needs."""
        who = group.sharing
        alone = who == "one"
        for r in group.reads:
            if r.place in self.written and not (self.written[r.place] == who and (r.own or alone)):
                return True
        for place in group.writes:
            if place in self.written and self.written[place] != who:
                return True
            if any(not (other == who and (own or alone)) for other, own in self.read.get(place, ())):
                return True
        return False


def _needs(groups: Sequence[Group]) -> list[set[int]]:
    """For each group, those that must come before it."""
    needs: list[set[int]] = []
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    fence: int | None = None
    for k, group in enumerate(groups):
        made = group.writes | group.defines
        named = {name for line in group.lines for name in _NAME.findall(line)}
        before = {writer[name] for name in named | made if name in writer}
        before.update(j for name in made for j in readers.get(name, ()))
        if fence is not None:
            before.add(fence)
        if group.fence:
            fence = k
        for name in made:
            writer[name], readers[name] = k, []
        for name in named - made:
            readers.setdefault(name, []).append(k)
        needs.append(before)
    return needs


def is_barrier(group: Group) -> bool:
    return group.lines == barrier().lines


def barrier() -> Group:
    """Where all threads wait for each other."""
    return Group(lines=["barrier(sync, threads)"], note="threads wait for each other")
