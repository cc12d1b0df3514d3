"""Values that are tuples, and the op that takes a part of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from backpass.errors import RuleError, ShapeError
from backpass.ir.node import Node
from backpass.ir.op import Op, Precedence
from backpass.ir.types import ArrayType, TupleType


@final
@dataclass(frozen=True)
class Item(Op):
    """Part `index` of a tuple. Its vjp belongs to the chain rule itself (`ir.chain`)."""

    index: int
    name = "item"
    notation = tex = "{0}[{index}]"
    precedence = Precedence.POSTFIX
    view = True
    unsampled = "its input is a tuple; it is tested with every op that gives one"

    def infer(self, x: TupleType) -> ArrayType:
        if not isinstance(x, TupleType) or not 0 <= self.index < len(x.items):
            raise ShapeError(f"there is no part {self.index} of {x}")
        return x.items[self.index]

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x[self.index]

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        raise RuleError("the adjoint of a part is collected by the chain rule, not by a rule of its own")
