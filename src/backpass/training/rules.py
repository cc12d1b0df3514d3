"""The forward rules of a user's own ops: a run folder names them and holds their hash, never their code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from backpass.errors import RecordError, RuleError
from backpass.ir import Graph, Op
from backpass.ir.trace import definition


def own_rules(*graphs: Graph) -> dict[str, str]:
    """The ops of these programs that are not part of backpass, each with the hash of its forward rule.

    An op's vjp needs none: a program holds what it gave, node by node.
    """
    own = {node.op for graph in graphs for node in graph.nodes if not _ours(node.op)}
    return {key: _hash(op) for key, op in sorted((_key(op), op) for op in own)}


def check_rules(kept: Mapping[str, str], *graphs: Graph) -> None:
    """Compare with what a run was made by.

    Raises
    ------
    RecordError
        An op calculates something else than it did then.
    """
    for key, now in own_rules(*graphs).items():
        if kept.get(key, now) != now:
            raise RecordError(
                f"the op {key} is not what it was when this run was made: its forward rule has changed, so "
                "the run would calculate something else. Define it as it was then."
            )


def _ours(op: Op) -> bool:
    return type(op).__module__.split(".")[0] == "backpass"


def _key(op: Op) -> str:
    return f"{op.name}({', '.join(f'{k}={v!r}' for k, v in op.settings().items())})"


def _hash(op: Op) -> str:
    try:
        text = op.prelude or definition(op)
    except RuleError:  # no single expression: nothing to compare
        text = ""
    return hashlib.sha256(f"{op.notation}\n{text}".encode()).hexdigest()
