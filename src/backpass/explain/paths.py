"""``paths``: the ways from the cost to a number, through the units of particular examples.

A gradient is the sum over all paths of the product of the derivatives along each (Bauer, Computational
graphs and rounding error, SIAM J. Numer. Anal. 11, 1974). Their number grows with the product of the widths,
so no one lists them: a recursion over the net adds them up (`recursion`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from backpass.errors import UsageError
from backpass.explain.answer import Answer, Block, Check, Note, Table
from backpass.explain.net.links import Floats, Units, factor_name
from backpass.explain.net.recursion import ALL, GROSS, LIVE, NET, Path, from_cost, strongest
from backpass.explain.step.places import Place, place, position
from backpass.explain.words import percent, signed
from backpass.ir.node import inputs_of
from backpass.record.replay import Moment

_WIDEST = 66  # characters of a path in print
_FROM_COST = re.compile(r"\s*C\s*(?:->|→)")


@dataclass(frozen=True)
class Way:
    """A path from the cost to the number.

    Attributes
    ----------
    stops : tuple of str
        The numbers that it runs through, from the cost down, the number itself left out.
    factors : tuple of str
        The derivative along each link, by name.
    values : tuple of float
        The same in numbers.
    product : float
    row : int or None
        The row of the data set whose loss it starts from.
    """

    stops: tuple[str, ...]
    factors: tuple[str, ...]
    values: tuple[float, ...]
    product: float
    row: int | None


@dataclass(frozen=True, kw_only=True)
class Paths(Answer):
    """The strongest paths from the cost to a number.

    Attributes
    ----------
    ways : tuple of Way
        The strongest, by the size of their product, largest first.
    net, gross : float
        The sum of all products, and of their sizes.
    live, total : int
        How many paths have no zero on them; how many there are.
    penalty : float
        What penalties add to the gradient: they reach a weight without passing through the net.
    gradient : float
        What the program calculated: ``net + penalty`` but for rounding. NaN where it has no such value.
    bound : float
    row : int or None
        The row of the data set to which the question was restricted.
    """

    ways: tuple[Way, ...]
    net: float
    gross: float
    live: int
    total: int
    penalty: float
    gradient: float
    bound: float
    row: int | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        if np.isnan(self.gradient):
            return ()
        gap = self.net + self.penalty - self.gradient
        return (Check("balance", gap, self.bound, "the sum over all paths and the program's own gradient"),)

    def blocks(self) -> list[Block]:
        found: list[Block] = []
        if self.ways:
            first = self.ways[0]
            ends = [*first.stops, self.target]
            steps = zip(ends, ends[1:], first.factors, first.values, strict=False)
            linked = tuple((f"{a} → {b}", factor, signed(value)) for a, b, factor, value in steps)
            title = f"the strongest path, link by link: the product is {signed(first.product)}"
            found.append(Table(title, ("from → to", "derivative", "value"), linked, len(linked)))
            rows = tuple(
                (_short(way.stops), "" if way.row is None else str(way.row), signed(way.product),
                 percent(abs(way.product) / self.gross))
                for way in self.ways
            )  # fmt: skip
            head = (f"from the cost to {self.target}, through", "row", "product", "of the gross")
            found.append(Table("the strongest paths", head, rows, len(rows)))
        if self.penalty:
            found.append(Note(f"Penalties on the weights add {self.penalty:+.4g}; they reach it directly."))
        return found


def _short(stops: tuple[str, ...]) -> str:
    """The numbers on a path in a line; of a long path, only its pre-activations."""
    inner = [stop for stop in stops[1:] if not stop.startswith("loss")]
    if len(" → ".join(inner)) > _WIDEST:
        inner = [stop for stop in inner if stop.startswith("z")] or inner
    return " → ".join(inner) or "the loss itself"


def paths(moment: Moment, target: str, top: int = 10, example: int | str | None = None) -> Paths:
    """The strongest paths from the cost to a number of the step, and what all of them add up to.

    Parameters
    ----------
    moment : Moment
    target : str
        A weight (``W1[5,2]``), an input (``x[12,301]``) or a value of the forward pass (``a1[12,7]``).
    top : int
        How many paths to show.
    example : int or str, optional
        Only paths from the loss of one example: its place in the batch, or ``"row 417"`` of the data set.

    Raises
    ------
    UsageError
        There is no such number, or no path can lead to it.

    Examples
    --------
    >>> import backpass as bp
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> net = bp.Network([bp.Dense(3, "tanh"), bp.Dense(2, "softmax")])
    >>> run = bp.train(net, (X, y), batch=4, epochs=1, executor="reference", validation=0)
    >>> answer = paths(run.at(1), "W1[0,2]")
    >>> answer.total, answer.balanced
    (8, True)
    """
    if isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1:
        raise UsageError(f"top is how many paths to show, at least 1, got {top!r}")
    row = None if example is None else _example(moment, example)
    where = _end(moment, place(moment, _FROM_COST.sub("", target)))
    units = Units(moment, [where.name] if where.node.op.feeds and not _is_weight(where) else ())
    leaves, there = _leaves(units, where)
    units = units.needed(leaves)
    if row is not None:
        if "loss" not in units.units:
            raise UsageError("the cost of this step is no mean of losses by example: leave example out")
        units = units.only_loss_of(row)
    penalty = float(leaves.pop("C", np.zeros((1, 1)))[0, 0]) if row is None else 0.0
    leaves.pop("C", None)
    net, gross = (_total(units, rule, leaves) for rule in (NET, GROSS))
    live, total = _count(units, LIVE, {k: v != 0 for k, v in leaves.items()}), _count(units, ALL, there)
    found = tuple(_way(units, leaves, p, where) for p in strongest(units, leaves, int(top)))
    gradient = float("nan") if row is not None else _gradient(moment, where)
    eps = float(np.finfo(np.asarray(moment.values[where.node]).dtype).eps)
    terms = units.rows + sum(u.size for u in units.units.values())
    return Paths(
        question="paths",
        target=str(where),
        step=moment.step,
        claim=_claim(where, row, moment, net, gross, live, total, penalty, found),
        evidence=tuple(units.units),
        ways=found,
        net=net,
        gross=gross,
        live=live,
        total=total,
        penalty=penalty,
        gradient=gradient,
        bound=4 * (terms + 1) * eps * (gross + abs(penalty)),
        row=None if row is None else int(moment.rows[row]),
    )


def _example(moment: Moment, example: int | str) -> int:
    if isinstance(example, str):
        match = re.fullmatch(r"\s*(row)?\s*(\d+)\s*", example)
        if not match:
            raise UsageError(
                f"an example is its place in the batch, or 'row 417' of the data set: {example!r}"
            )
        example = position(moment, int(match[2])) if match[1] else int(match[2])
    if not 0 <= example < len(moment.rows):
        raise UsageError(f"the batch of step {moment.step} has the examples 0 to {len(moment.rows) - 1}")
    return int(example)


def _is_weight(where: Place) -> bool:
    return where.node.op.settings().get("kind") == "parameter"


def _end(moment: Moment, asked: Place) -> Place:
    """Where the paths end: the weight whose gradient was named, the z whose δ."""
    graph = moment.graph
    deltas = {delta: z for z, delta in moment.replay.record.network.deltas.items()}
    name = deltas.get(asked.name, asked.name[1:] if asked.name.startswith("d") else asked.name)
    if name != asked.name and name in graph.named:
        asked = Place(name, graph[name], asked.entry)
    kind = asked.node.op.settings().get("kind") if asked.node.op.feeds else "value"
    before = inputs_of([graph["C"]])
    if kind == "fixed":
        raise UsageError(f"{asked.name} is not trained (trainable=False): no gradient flows to it")
    if asked.node not in before or kind not in ("parameter", "data", "value"):
        raise UsageError(f"the cost does not depend on {asked}, so no path leads from the one to the other")
    if asked.node is graph["C"] or asked.node.dtype not in ("f32", "f64"):
        raise UsageError(
            f"paths lead from the cost to a weight, an input or a value before it, not to {asked}"
        )
    return asked


def _leaves(units: Units, where: Place) -> tuple[dict[str, Floats], dict[str, np.ndarray]]:
    """The derivative of the units next to the number by the number, and where there is one at all."""
    if _is_weight(where):
        readers = units.readers(where.name)
        values = {name: units.leaf(name, where.name, where.entry) for name in readers}
        there = {n: units.leaf_present(n, where.name, where.entry) for n in readers if n != "C"}
        return values, there
    if where.name not in units.units:
        raise UsageError(f"no gradient flows to {where}: it does not depend on the inputs, nor on a weight")
    unit = units.units[where.name]
    one = np.zeros((units.rows if unit.by_row else 1, *unit.shape))
    one[where.entry if unit.by_row else (0, *where.entry)] = 1.0
    flat = one.reshape(len(one), unit.size)
    return {where.name: flat}, {where.name: flat != 0}


def _total(units: Units, rule: object, leaves: dict[str, Floats]) -> float:
    messages = from_cost(units, rule)  # type: ignore[arg-type]
    each = [np.sum(messages[n] * (leaf if rule is NET else np.abs(leaf))) for n, leaf in leaves.items()]
    return float(sum(each))


def _count(units: Units, rule: object, there: dict[str, np.ndarray]) -> int:
    messages = from_cost(units, rule)  # type: ignore[arg-type]
    return sum(
        int(n)
        for name, mask in there.items()
        for n in messages[name][np.broadcast_to(mask, messages[name].shape)]
    )


def _gradient(moment: Moment, where: Place) -> float:
    """What the program itself calculated, where it did."""
    name = moment.replay.record.network.deltas.get(where.name, f"d{where.name}")
    return float(moment[name][where.entry]) if name in moment.graph.named else float("nan")


def _way(units: Units, leaves: dict[str, Floats], path: Path, where: Place) -> Way:
    links = {(link.target, link.source): link for link in units.links}
    stops, factors = [], []
    row = None
    for k, (name, r, i) in enumerate(path.stops):
        unit = units.units[name]
        stops.append(unit.entry(r, i))
        if name == "loss":
            row = int(units.moment.rows[r])
        if k:
            above, r_above, j = path.stops[k - 1]
            by_row = units.units[above].by_row
            factors.append(factor_name(units, links[above, name], r_above if by_row else r, j, i))
    values = path.links
    if _is_weight(where):
        last, r, i = path.stops[-1]
        factors.append(units.leaf_name(last, where.name, r, i, where.entry))
    else:  # it ends at the number itself
        values, stops = values[:-1], stops[:-1]
    return Way(tuple(stops), tuple(factors), values, path.product, row)


def _claim(
    where: Place, row: int | None, moment: Moment, net: float, gross: float, live: int, total: int,
    penalty: float, ways: tuple[Way, ...],
) -> str:  # fmt: skip
    start = "the cost" if row is None else f"the loss of row {moment.rows[row]}"
    if not live:
        return (
            f"No path from {start} to {where} is live in step {moment.step}: each of the {total:,} has a "
            "zero on it, a unit that is off or an input that is 0."
        )
    cancelled = 1 - abs(net) / gross
    words = (
        f"{live:,} of {total:,} paths from {start} to {where} are live in step {moment.step}. Together they "
        f"bring {signed(net)} (net); {gross:.4g} would arrive if none cancelled another (gross), so "
        f"{percent(cancelled)} cancels."
    )
    if penalty:
        words += f" Penalties add {signed(penalty)}."
    if ways and total > 1:
        alone = abs(ways[0].product) / gross
        words += f" The strongest path alone brings {signed(ways[0].product)}, {percent(alone)} of the gross."
    return words
