"""``delta``: where the error at a unit came from, and what was lost on the way.

δ of a hidden unit is what the units above send down, each its own δ times the weight between them, times the
slope of the unit's activation: δ_j = f′(z_j) Σ_k w_jk δ_k (Rumelhart, Hinton & Williams 1986, eq. 14).
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

import numpy as np

from backpass.errors import UsageError
from backpass.explain.answer import Answer, Block, Check, Entry, Equations, Ledger, Note, Table
from backpass.explain.net.links import Link, Units, factor_name
from backpass.explain.net.recursion import GROSS, NET, Messages, from_cost, reached_by
from backpass.explain.step.entries import Entries
from backpass.explain.step.places import Place, place, written
from backpass.explain.value import equation
from backpass.explain.words import percent, signed
from backpass.record.replay import Moment

_DELTA = re.compile(r"δ(\d+)(?:_(\d+))?\[(?:\d+,)?([\d,]+)\]")


@dataclass(frozen=True)
class Factor:
    """What stands between the units above and this one: a slope, a dropout mask, a scale.

    Attributes
    ----------
    name : str
    value : float
    left : float
        What is left of the error below it.
    """

    name: str
    value: float
    left: float


@dataclass(frozen=True, kw_only=True)
class Delta(Answer):
    """Where the error at a unit came from.

    Attributes
    ----------
    value : float
        δ, as the program calculated it.
    sent : tuple of Entry
        What each unit above sends, largest first: its own δ times the derivative along the link.
    arrived : float
        The sum of these.
    arrived_name : str
    gross : float
        Σ|sent|: what would arrive if nothing cancelled.
    silent : int
        How many links bring nothing, because no error reaches the unit above.
    factors : tuple of Factor
        What it is multiplied by on the way down, the nearest to the units above first.
    equations : tuple of str
    output : str
        For the output layer: what it gave and what was wanted, in words.
    bound : float
        By how much rounding can make these differ from `value`.
    """

    value: float
    sent: tuple[Entry, ...]
    arrived: float
    arrived_name: str
    gross: float
    silent: int
    factors: tuple[Factor, ...]
    equations: tuple[str, ...]
    bound: float
    output: str = ""

    @property
    def cancelled(self) -> float:
        """The part of what was sent that cancelled."""
        return 1 - abs(self.arrived) / self.gross if self.gross else 0.0

    @property
    def checks(self) -> tuple[Check, ...]:
        again = math.fsum(e.value for e in self.sent) * math.prod(f.value for f in self.factors)
        words = f"what was sent, times the factors, and {self.target} of the program"
        return (Check("balance", again - self.value, self.bound, words),)

    def blocks(self) -> list[Block]:
        title = "what the units above send down, largest first, with their share of all that is sent"
        if self.output:
            title = "what the loss sends down"
        found: list[Block] = [Equations(self.equations)] if self.equations else []
        if self.sent:
            found.append(Ledger(title, self.sent, self.arrived, self.arrived_name))
        if self.silent:
            found.append(
                Note(f"{self.silent:,} more units above read it; no error reaches them in this step.")
            )
        if self.factors:
            rows = tuple((f.name, f.value, signed(f.left)) for f in self.factors)
            found.append(
                Table("what it is multiplied by on the way down", ("factor", "value", "what is left"), rows)
            )
        return found


def delta(moment: Moment, target: str) -> Delta:
    """Where the error at one unit came from: units above, weights, slope; and what was lost to each.

    Parameters
    ----------
    moment : Moment
        The visited step.
    target : str
        A delta, ``δ1[12,7]`` (or ``delta_1[12,7]``), or a value of the forward pass for its adjoint:
        ``a1[12,7]``.

    Raises
    ------
    UsageError
        There is no such number, or no error flows to it.

    Examples
    --------
    >>> import backpass as bp
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> net = bp.Network([bp.Dense(3, "tanh"), bp.Dense(2, "softmax")])
    >>> run = bp.train(net, (X, y), batch=4, epochs=1, executor="reference", validation=0)
    >>> answer = delta(run.at(1), "δ1[2,0]")
    >>> sorted(sent.name for sent in answer.sent), answer.arrived_name
    (['δ2[2,0] * W2[0,0]', 'δ2[2,1] * W2[0,1]'], '∂C/∂a1[2,0]')
    """
    asked = place(moment, target)
    deltas = {z: d for z, d in moment.replay.record.network.deltas.items() if d in moment.graph.named}
    start = next((z for z, d in deltas.items() if d == asked.name), asked.name)
    units = Units(moment)
    if start not in units.units or start == "C":
        known = ", ".join(deltas.values())
        raise UsageError(
            f"{asked} is no delta, nor a value that an error flows to: ask for an entry of {known}, or of a "
            "value before the cost, such as a1"
        )
    units = units.needed([start])
    net, gross = from_cost(units, NET), from_cost(units, GROSS)
    unit = units.units[start]
    row = asked.entry[0] if unit.by_row else 0
    i = int(np.ravel_multi_index(asked.entry[unit.by_row :], unit.shape)) if unit.shape else 0
    names = _Names(units, deltas)
    chain = _way_up(units, deltas, start, row, i)
    top = chain[-1].target if chain else start
    reached = _sent(units, names, net, top, row, i)
    sent = tuple(e for e in reached if e.value)
    arrived = math.fsum(e.value for e in sent)
    factors, left = [], arrived
    for link in reversed(chain):
        value = float(link.jacobian[row if len(link.jacobian) > 1 else 0, i])
        left *= value
        if link.factor == "1":
            continue
        factors.append(Factor(factor_name(units, link, row, i, i), value, left))
    name = names.adjoint(start, row, i)
    program = deltas.get(start)
    value = float(moment[program][asked.entry]) if program else float(net[start][row, i])
    terms = units.rows + sum(u.size for u in units.units.values())
    eps = float(np.finfo(np.asarray(moment.values[unit.node]).dtype).eps)
    output = _output(moment, units, top, row, i) if not chain or top == start else ""
    answer = Delta(
        question="delta",
        target=name,
        step=moment.step,
        claim="",
        evidence=tuple(dict.fromkeys([start, *(link.target for link in units.links if link.source == top)])),
        value=value,
        sent=sent,
        arrived=arrived,
        arrived_name=names.adjoint(top, row, i),
        gross=math.fsum(abs(e.value) for e in sent),
        silent=len(reached) - len(sent),
        factors=tuple(factors),
        equations=_equations(moment, names, program, asked, top, row, i, arrived, factors, value, name),
        bound=4 * (terms + 1) * eps * float(gross[start][row, i]),
        output=output,
    )
    return dataclasses.replace(answer, claim=_claim(answer, units, chain, row, i))


class _Names:
    """What adjoints are called: δ where the program has that name."""

    def __init__(self, units: Units, deltas: dict[str, str]) -> None:
        self.units, self.deltas = units, deltas

    def adjoint(self, name: str, row: int, i: int) -> str:
        entry = self.units.units[name].entry(row, i)
        return entry.replace(name, self.deltas[name], 1) if name in self.deltas else f"∂C/∂{entry}"


def _way_up(units: Units, deltas: dict[str, str], start: str, row: int, i: int) -> list[Link]:
    """The links, entry to entry, up to where the units above are read: slope, mask, skip."""
    chain: list[Link] = []
    name = start
    while True:
        up = [link for link in units.links if link.source == name]
        if len(up) != 1 or not up[0].diagonal or up[0].target in deltas or up[0].target == "C":
            return chain
        if not units.units[up[0].target].by_row or not units.units[name].by_row:
            return chain
        chain.append(up[0])
        name = up[0].target


def _sent(units: Units, names: _Names, net: Messages, top: str, row: int, i: int) -> tuple[Entry, ...]:
    """What each entry above sends to one entry: its adjoint times the derivative along the link."""
    found = []
    for link in (link for link in units.links if link.source == top):
        values, rows = reached_by(units, link, row, i)
        places = range(len(net[link.target])) if isinstance(rows, slice) else rows
        for k, r in enumerate(places):
            for j in map(int, np.flatnonzero(values[k])):
                adjoint = float(net[link.target][r, j])
                text = f"{names.adjoint(link.target, r, j)} * {_factor(units, link, row, r, j, i)}"
                found.append(Entry(text.removesuffix(" * 1"), adjoint * float(values[k, j])))
    return tuple(sorted(found, key=lambda e: -abs(e.value)))


def _factor(units: Units, link: Link, row: int, r: int, j: int, i: int) -> str:
    return factor_name(units, link, r if units.units[link.target].by_row else row, j, i)


def _output(moment: Moment, units: Units, top: str, row: int, i: int) -> str:
    """What the output layer gave and what was wanted, where the unit belongs to it."""
    if not any(link.source == top and link.target == "loss" for link in units.links):
        return ""
    graph, entry = moment.graph, units.units[top].entry(row, i)
    a = moment.replay.record.network.prediction
    words = ""
    if a in graph.named and "t" in graph.inputs and np.shape(moment[a]) == np.shape(moment[top]):
        index = entry.removeprefix(top)
        at = (row, *map(int, np.unravel_index(i, units.units[top].shape)))
        shown = f"{a}{index} = {float(moment[a][at]):.4g}"
        words = f"the output is {shown}, its target t{index} = {float(moment['t'][at]):.4g}"
    return words or f"{entry} is an output"


def _equations(
    moment: Moment, names: _Names, program: str | None, asked: Place, top: str, row: int, i: int,
    arrived: float, factors: list[Factor], value: float, name: str,
) -> tuple[str, ...]:  # fmt: skip
    found = []
    if program is not None:
        entries = Entries(moment)
        found.append(equation(entries, moment.graph[program], asked.entry, written(program, asked.entry)))
    if factors:
        down = names.adjoint(top, row, i)
        words = " * ".join(f.name for f in reversed(factors))
        numbers = " * ".join(f"{f.value:.4g}" for f in reversed(factors))
        found.append(f"{name} = {down} * {words} = {arrived:.4g} * {numbers} = {value:.6g}")
    return tuple(found)


def _claim(answer: Delta, units: Units, chain: list[Link], row: int, i: int) -> str:
    words = f"{answer.target} is {signed(answer.value)} in step {answer.step}"
    if answer.output:
        r = int(units.moment.rows[row])
        return (
            f"{words}. This is the output layer: {answer.output}. The loss of row {r} sends "
            f"{signed(answer.arrived)} to it."
        )
    if not answer.sent:
        return f"{words}: no error reaches the units above it."
    words += f". The units above send {signed(answer.arrived)}"
    if len(answer.sent) > 1:
        named = [
            f"{_called(e.name)} ({percent(abs(e.value) / answer.gross)})" for e in answer.sent[:2] if e.value
        ]
        if named:
            words += f", most of it from {' and '.join(named)}"
        if answer.cancelled >= 0.005:
            words += f"; {percent(answer.cancelled)} of what they sent cancelled"
    words += "."
    shown = [link for link in reversed(chain) if link.factor != "1"]
    for link, factor in zip(shown, answer.factors, strict=True):
        words += _through(units, link, factor, row, i)
    return words


def _called(sent: str) -> str:
    """``δ2[12,3] * W2[7,3]`` in words: unit 3 of layer 2."""
    match = _DELTA.match(sent)
    if not match:
        return sent.split(" * ")[0].removeprefix("∂C/∂")
    use = f" (use {match[2]})" if match[2] else ""
    return f"unit {match[3]} of layer {match[1]}{use}"


def _through(units: Units, link: Link, factor: Factor, row: int, i: int) -> str:
    """What a factor lets through, in a sentence."""
    source = units.units[link.source].entry(row, i)
    if link.indexed == "slope":
        at = float(
            np.asarray(units.moment.values[units.units[link.source].node]).reshape(
                -1, units.units[link.source].size
            )[row, i]
        )
        op = link.factor.removesuffix("′")
        if factor.value == 0:
            return f" {op} is flat at {source} = {at:.4g}: nothing comes through."
        if factor.value == 1:
            return f" {op} has the slope 1 at {source} = {at:.4g}, so all of it comes through."
        through = percent(abs(factor.value))
        return f" The slope of {op} at {source} = {at:.4g} is {factor.value:.4g}: it lets {through} through."
    if link.factor.startswith("mask") and link.indexed == "row":
        if factor.value == 0:
            return f" Dropout left {source} out in this step: nothing comes through."
        return f" Dropout kept {source} and multiplies by {factor.value:.4g}."
    if factor.value == 1:
        return ""
    return f" {factor.name} = {factor.value:.4g} multiplies it."
