"""A Graph as JSON and back: what a run folder and other programs read.

Nothing of a file is executed: ops are looked up by name in the registry, settings are converted to the
types that the op's fields declare, and every type is inferred again.
"""

from __future__ import annotations

import functools
import json
import math
import typing
from collections.abc import Mapping
from typing import Any

from backpass.errors import GraphError, ShapeError
from backpass.ir.graph import Graph, Origin
from backpass.ir.node import Node, apply
from backpass.ir.op import REGISTRY, Op
from backpass.ir.types import ArrayType, parse_type

FORMAT = 1


def to_json(graph: Graph) -> str:
    """The program as one line of JSON with a fixed order of keys.

    Examples
    --------
    >>> from backpass.ops import data
    >>> g = Graph({"y": 2.0 * data("x", "f32[B]")})
    >>> from_json(to_json(g)).text() == g.text()
    True
    """
    return json.dumps(_encode_graph(graph), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Graph:
    """Read what `to_json` wrote.

    Raises
    ------
    GraphError
        The text is not JSON of this form, names an unknown op, or its settings or types do not fit.
    """
    try:
        return _decode_graph(json.loads(text))
    except GraphError:
        raise
    except ShapeError as error:
        raise GraphError(f"the program does not fit together: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise GraphError(f"this is not a program written by backpass: {error!r}") from None


def _encode_graph(graph: Graph) -> dict[str, Any]:
    number = {n: i for i, n in enumerate(graph.nodes)}
    nodes = []
    for n in graph.nodes:
        entry: dict[str, Any] = {"op": n.op.name, "type": str(n.type)}
        if n.inputs:
            entry["inputs"] = [number[x] for x in n.inputs]
        if n.name is not None:
            entry["name"] = n.name
        settings = {k: _encode(v) for k, v in n.op.settings().items()}
        if settings:
            entry["settings"] = settings
        if n in graph.origins:  # an empty list, too, says that the node is of the backward pass
            entry["origins"] = [[number[o.primal], o.slot] for o in graph.origins[n] if o.primal in number]
        nodes.append(entry)
    return {
        "format": FORMAT,
        "nodes": nodes,
        "outputs": {name: number[n] for name, n in graph.outputs.items()},
        "order": list(graph.outputs),
        "carry": dict(graph.carry),
    }


def _decode_graph(data: Mapping[str, Any]) -> Graph:
    if data["format"] > FORMAT:
        raise GraphError(f"this program has format {data['format']}; this version reads {FORMAT}")
    nodes: list[Node] = []
    origins: dict[Node, tuple[Origin, ...]] = {}
    for entry in data["nodes"]:
        cls = REGISTRY.get(entry["op"])
        op = _decode_op(cls, entry.get("settings", {}))
        before = [_earlier(nodes, i) for i in entry.get("inputs", ())]
        node = apply(op, *before, name=entry.get("name"))
        if str(node.type) != entry["type"]:
            raise GraphError(f"{node.name or op.name} is {node.type} here but {entry['type']} in the file")
        nodes.append(node)
        if "origins" in entry:
            origins[node] = tuple(Origin(_earlier(nodes, p), int(i)) for p, i in entry["origins"])
    outputs = {name: _earlier(nodes, data["outputs"][name]) for name in data["order"]}
    return Graph(outputs, dict(data["carry"]), origins)


def _earlier(nodes: list[Node], index: Any) -> Node:
    if not isinstance(index, int) or not 0 <= index < len(nodes):
        raise GraphError(f"a node refers to node {index!r}, which does not come before it")
    return nodes[index]


def _encode(value: Any) -> Any:
    if isinstance(value, Graph):
        return _encode_graph(value)
    if isinstance(value, ArrayType):
        return str(value)
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "nan": JSON has no such numbers
    return value


@functools.cache
def _kinds(cls: type[Op]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _decode_op(cls: type[Op], settings: Mapping[str, Any]) -> Op:
    kinds = _kinds(cls)
    fields = getattr(cls, "__dataclass_fields__", {})
    unknown = set(settings) - set(fields)
    if unknown:
        raise GraphError(f"{cls.name} has no setting {sorted(unknown)[0]!r}; it has {', '.join(fields)}")
    try:
        return cls(**{name: _decode(value, kinds[name]) for name, value in settings.items()})
    except (TypeError, ValueError) as error:
        if isinstance(error, (GraphError, ShapeError)):
            raise
        raise GraphError(f"the settings of {cls.name} do not fit: {error}") from None


def _decode(value: Any, kind: Any) -> Any:
    """Convert a JSON value to the type that a field declares; anything else is refused."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, got {value!r}")
        if arguments[-1] is not Ellipsis and len(arguments) != len(value):
            raise TypeError(f"expected {len(arguments)} entries, got {value!r}")
        kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_decode(v, k) for v, k in zip(value, kinds, strict=True))
    if kind is Graph:
        return _decode_graph(value)
    if kind is ArrayType:
        return parse_type(value)
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise TypeError(f"expected a number, got {value!r}")
        return float(value)
    allowed = arguments or (kind,)  # int, str, bool, or a union of them such as int | str
    if not any(type(value) is k for k in allowed):
        raise TypeError(f"expected {kind}, got {value!r}")
    return value
