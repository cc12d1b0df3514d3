"""The lines of the program that the update of a weight went through, with names and with numbers."""

from __future__ import annotations

import re

import numpy as np

from backpass.explain.updates.shares import gradient_terms, looked_up, penalty_of, read_by
from backpass.explain.updates.update import UpdateOf
from backpass.ir import Node
from backpass.ir.node import inputs_of
from backpass.ir.text import sections
from backpass.ops import Where

_HELPER = re.compile(r"\bv\d+\b")


def equations(step: UpdateOf) -> tuple[str, ...]:
    """The lines of the program that the update went through, once with names and once with numbers."""
    graph, moment, name, entry = step.moment.graph, step.moment, step.name, step.entry
    spot = f"[{','.join(map(str, entry))}]"
    right = {
        left.strip(): rest.split("  #")[0].strip()
        for left, _, rest in (line.partition(" = ") for line in graph.text(prelude=False).split("\n"))
    }
    called = {node: key for key, node in graph.named.items()} | {n: key for key, n in graph.outputs.items()}
    new = graph.outputs[f"{name}_new"]
    where = sections(graph)
    known: dict[str, float] = {}
    entries, lines = set(), []  # names that stand for an array, and what is calculated on the way
    for node in inputs_of([new]):
        key = called.get(node)
        if key is None or not (node.op.feeds or where[node] == "update" or node is step.gradient):
            continue
        if node.shape not in ((), new.shape) or node.op.settings().get("kind") == "data":
            continue
        value = np.asarray(step.values(node))
        known[key] = float(value[entry] if value.ndim else value)
        if value.ndim:
            entries.add(key)
        if not node.op.feeds and node is not step.gradient and key in right:
            lines.append(key)
    written = []
    for key in lines:
        line = right[key]
        for helper in _HELPER.findall(line):  # values without a name of their own: v3 = 1 - beta1
            if helper not in known and helper in right:
                line = re.sub(rf"\b{helper}\b", f"({right[helper]})", line)
        # A single number, such as a norm, comes from whole arrays: an entry there would say something else.
        shown = {k: v for k, v in known.items() if key in entries or k not in entries}
        words = re.sub(r"\w+", lambda m: m[0] + (spot if m[0] in entries & shown.keys() else ""), line)  # noqa: B023
        filled = re.sub(r"\w+", lambda m: _number(shown.get(m[0]), m[0]), line)  # noqa: B023
        left = f"{key}{spot}" if key in entries else key
        written.append(f"{left} = {words} = {filled}")
    sums = []
    for term in gradient_terms(step.gradient)[0]:
        if looked_up(term.value):
            rest = ",".join(map(str, entry[1:]))
            sums.append(
                f"{_called(_sent(term.value))}[b,k,{rest}] for each k at which b has category {entry[0]}"
            )
            continue
        factors = [
            f"{_called(node)}[{','.join('b' if isinstance(i, slice) else str(i) for i in index)}]"
            for node, index in read_by(term.value, entry)
        ]
        sums.append(" * ".join(factors))
    total = " + ".join([f"sum over b of {' + '.join(sums)}"] if sums else [])
    if gradient_terms(step.gradient)[1]:
        total += f" + penalty {penalty_of(step.gradient, entry, step.values):.6g}"
    written.append(f"d{name}{spot} = {total} = {float(moment[f'd{name}'][entry]):.6g}")
    return tuple(written)


def _number(value: float | None, word: str) -> str:
    return word if value is None else f"({value:.6g})" if value < 0 else f"{value:.6g}"


def _sent(contraction: Node) -> Node:
    """The delta of a lookup, without the choice that leaves unknown categories out."""
    sent = contraction.inputs[0]
    return sent.inputs[1] if isinstance(sent.op, Where) and sent.name is None else sent


def _called(node: Node) -> str:
    return node.name or node.op.name
