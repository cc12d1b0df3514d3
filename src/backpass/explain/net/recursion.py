"""One recursion from the cost down the links, with exchangeable rules for sum and product.

With (+, ·) it is backpropagation; with (+, |·|) it adds up what flows without letting it cancel; with a 1
for each link it counts paths; with (max, |·|) it finds the strongest. The work is that of a backward pass,
however many paths there are. [1]_ [2]_

.. [1] Goodman, Semiring Parsing, Computational Linguistics 25 (1999).
.. [2] Mohri, Semiring frameworks and algorithms for shortest-distance problems, JALC 7 (2002).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from backpass.explain.net.links import Floats, Link, Units

Messages: TypeAlias = dict[str, Floats]  # of each unit, (rows, size)

_EXACT = 2.0**53  # whole numbers below are exact in float64


@dataclass(frozen=True)
class Rule:
    """What is added up over paths, and what a link is worth.

    Attributes
    ----------
    add : {"sum", "max"}
    link : {"value", "size", "alive", "there"}
        The derivative, its absolute value, 1 where it is not zero, or 1 wherever there is a link.
    """

    add: str
    link: str

    def worth(self, link: Link) -> Floats:
        """Of shape (rows, n) for a diagonal link, else (rows, entries of the target, of the source)."""
        if self.link == "value":
            return link.jacobian
        if self.link == "size":
            return np.abs(link.jacobian)
        if self.link == "there":
            return link.present.astype(np.float64)
        return np.asarray(link.jacobian != 0, np.float64)


NET = Rule("sum", "value")
GROSS = Rule("sum", "size")
LIVE = Rule("sum", "alive")
ALL = Rule("sum", "there")
STRONGEST = Rule("max", "size")


def from_cost(units: Units, rule: Rule) -> Messages:
    """What reaches each entry of each unit from the cost, over all paths.

    Returns
    -------
    dict of str to ndarray
        For each unit, (rows of the batch, entries); one row where the rows share it. Counts are exact: whole
        numbers of Python where float64 does not hold them.
    """
    found = _recursion(units, rule, float)
    counts = rule.link in ("alive", "there")
    if counts and any(np.max(m, initial=0.0) >= _EXACT for m in found.values()):
        return _recursion(units, rule, object)
    return found


def _recursion(units: Units, rule: Rule, kind: type) -> Messages:
    reached: Messages = {}
    for name, unit in units.units.items():
        reached[name] = np.zeros((units.rows if unit.by_row else 1, unit.size), kind)
    reached["C"] = np.ones((1, 1), kind)
    for link in units.links:
        worth = rule.worth(link)
        if kind is object:
            worth = worth.astype(int).astype(object)
        new = _along(link, worth, reached[link.target], rule.add)
        below = reached[link.source]
        if len(below) == 1 and len(new) > 1:  # the rows share it
            new = new.sum(axis=0, keepdims=True) if rule.add == "sum" else new.max(axis=0, keepdims=True)
        reached[link.source] = below + new if rule.add == "sum" else np.maximum(below, new)
    return reached


def _along(link: Link, worth: Floats, message: Floats, add: str) -> Floats:
    """What a message at the target brings to the source."""
    if link.diagonal:
        return message * worth
    if add == "sum":
        if len(worth) == 1:
            return np.asarray(message @ worth[0])
        return np.asarray(np.matmul(message[:, None, :], worth)[:, 0, :])
    rows = max(len(message), len(worth))
    found = np.empty((rows, worth.shape[2]))
    for row in range(rows):
        each = worth[row if len(worth) > 1 else 0]
        found[row] = (message[row if len(message) > 1 else 0][:, None] * each).max(axis=0, initial=0.0)
    return found


@dataclass(frozen=True)
class Path:
    """A way from the cost to a number, through one entry of each unit on it.

    Attributes
    ----------
    stops : tuple of (str, int, int)
        Unit, row of the batch (0 where the rows share it) and entry, from the cost down.
    links : tuple of float
        The derivative along each link, from the cost down; the last is the one by the number itself.
    """

    stops: tuple[tuple[str, int, int], ...]
    links: tuple[float, ...]

    @property
    def product(self) -> float:
        return float(np.prod(self.links))


def strongest(units: Units, leaves: Mapping[str, Floats], top: int) -> list[Path]:
    """The `top` paths of largest |product|, largest first.

    From the number up to the cost, best first: what a part of a path can still become is known exactly, from
    the recursion with (max, |·|), so no path is looked at in vain (Huang & Chiang, Better k-best Parsing,
    IWPT 2005). The work is `top` times the depth times the width.

    Parameters
    ----------
    units : Units
    leaves : mapping of str to ndarray
        The derivative of each entry of a unit by the number, (rows, size).
    top : int
    """
    best = from_cost(units, STRONGEST)
    above: dict[str, list[Link]] = {}
    for link in units.links:
        above.setdefault(link.source, []).append(link)
    order = itertools.count()
    heap: list[Any] = []

    def push(name: str, values: Floats, rows: Any, so_far: float, before: Any) -> None:
        """The `top` most promising of some next stops; others are not among the `top` paths."""
        promise = np.abs(so_far * values) * best[name][rows]
        flat = promise.ravel()
        chosen = np.argsort(-flat, kind="stable")[:top] if flat.size <= top else _largest(flat, top)
        for k in chosen:
            if flat[k] > 0:
                r, i = np.unravel_index(k, promise.shape)
                row = int(r) if isinstance(rows, slice) else int(rows[0])
                value = float(values[r, i])
                stop = (name, row, int(i))
                heapq.heappush(heap, (-float(flat[k]), next(order), so_far * value, stop, (value, before)))

    for name, leaf in leaves.items():
        push(name, np.broadcast_to(leaf, best[name].shape), slice(None), 1.0, None)
    found: list[Path] = []
    while heap and len(found) < top:
        _, _, product, stop, trail = heapq.heappop(heap)
        name, row, entry = stop
        if name == "C":
            found.append(_unrolled(stop, trail))
            continue
        for link in above.get(name, []):
            values, rows = reached_by(units, link, row, entry)
            push(link.target, values, rows, product, (stop, trail))
    return found


def _largest(flat: Floats, top: int) -> Any:
    some = np.sort(np.argpartition(-flat, top - 1)[:top])
    return some[np.argsort(-flat[some], kind="stable")]


def reached_by(units: Units, link: Link, row: int, entry: int) -> tuple[Floats, Any]:
    """The derivatives of a target's entries by one of the source's, (rows, entries), and of which rows."""
    target, by_row = units.units[link.target], units.units[link.source].by_row
    own = link.jacobian[[row if len(link.jacobian) > 1 else 0]] if by_row else link.jacobian
    column = own[:, entry] if link.diagonal else own[:, :, entry]
    if link.diagonal:
        values = np.zeros((len(column), target.size))
        values[:, entry] = column
    else:
        values = column
    if not target.by_row:
        return values, [0]
    if by_row:
        return values, [row]
    return np.broadcast_to(values, (units.rows, target.size)), slice(None)


def _unrolled(stop: tuple[str, int, int], trail: Any) -> Path:
    stops, links = [stop], []
    while trail is not None:
        value, before = trail
        links.append(value)
        if before is None:
            break
        above, trail = before
        stops.append(above)
    return Path(tuple(stops), tuple(links))
