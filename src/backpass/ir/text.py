"""A Graph in print: executable Python in the field's notation, the same in ASCII, LaTeX, and JSON.

The Python text is the program: run by NumPy it equals the reference executor bit for bit. So precedence is
Python's own, a broadcast is silent only as an operand beside a full-shape one, and a number is never left
to Python's own arithmetic where the program calculates in f32. Notation comes from the ops; nothing is
typed by hand.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from backpass.errors import GraphError, RuleError
from backpass.ir.graph import Graph
from backpass.ir.node import Node
from backpass.ir.op import Elementwise, Op, Precedence
from backpass.ir.trace import definition
from backpass.ir.tuples import Item
from backpass.ir.types import TupleType, spelled_shape
from backpass.ir.wire import to_json

Style: TypeAlias = Literal["python", "ascii", "latex", "json"]
Section: TypeAlias = Literal["forward", "backward", "update"]

#: Functions that a printed program takes from NumPy and SciPy; others are defined in its prelude.
# fmt: off
NUMPY_FUNCTIONS = frozenset([
    "abs", "add", "arange", "argmax", "bool_", "broadcast_to", "concatenate", "cos", "cumsum", "einsum",
    "equal", "exp", "expm1", "float32", "float64", "int64", "log", "log1p", "matmul", "max", "maximum",
    "mean", "min", "minimum", "not_equal", "pad", "prod", "reshape", "sign", "sin", "sqrt", "stack",
    "sum", "tanh", "transpose", "where", "zeros",
])
# fmt: on
SCIPY_FUNCTIONS = frozenset(["erf"])
_CALL = re.compile(r"(?<![\w.])([a-z_]\w*)(?:\.at)?\(")
_PLAIN_NAME = re.compile(r"\b(inf|nan|float32|float64|int64|uint64|bool_)\b")
#: An unnamed value gets a line of its own before its expression nests deeper than this.
_DEEPEST = 12
_NOT_LEFT = (Precedence.COMPARE, Precedence.POWER)  #: a > b > c and a ** b ** c mean something else in Python
_PREFIX_OR_POSTFIX = (Precedence.UNARY, Precedence.POSTFIX, Precedence.ATOM)
_SLOT = re.compile(r"\{(\d+)\}")
_SCALARS = {"f32": "float32", "f64": "float64", "i64": "int64", "bool": "bool_"}


class Line(NamedTuple):
    """A line of a program."""

    name: str  #: what the value is called there
    right: str
    note: str
    section: Section
    node: Node

    def __str__(self) -> str:
        return f"{self.name} = {self.right}"


def text(
    graph: Graph,
    style: Style = "python",
    *,
    prelude: bool = True,
    section: Section | None = None,
    values: Mapping[str, float] | None = None,
) -> str:
    """Print a program.

    Parameters
    ----------
    graph : Graph
    style : {"python", "ascii", "latex", "json"}
        "python" and "ascii" can be executed; "ascii" writes ``delta_1`` for ``δ1``.
    prelude : bool
        Begin with the imports and definitions that the program needs.
    section : {"forward", "backward", "update"}, optional
        Print only this part.
    values : mapping of str to float, optional
        Values of number inputs (a learning rate), shown where they are used.

    Examples
    --------
    >>> from backpass.ops import Sigmoid, data, parameter
    >>> x, w = data("x", "f32[B,3]"), parameter("W1", "f32[3,2]")
    >>> print(text(Graph({"a1": Sigmoid()(x @ w)})))
    from numpy import exp
    <BLANKLINE>
    def sigmoid(x):
        return 1 / (1 + exp(-x))
    <BLANKLINE>
    a1 = sigmoid(x @ W1)  # f32[B,2]
    """
    if style == "json":
        return to_json(graph)
    if style not in ("python", "ascii", "latex"):
        raise GraphError(f"there is no style {style!r}; use python, ascii, latex or json")
    return _Printer(graph, style, values or {}).program(prelude, section)


def lines(graph: Graph, style: Style = "python", *, values: Mapping[str, float] | None = None) -> list[Line]:
    """The lines of a program, one for each value that has a name in print, or a second name.

    Examples
    --------
    >>> from backpass.ops import Sigmoid, data, parameter
    >>> x, w = data("x", "f32[B,3]"), parameter("W1", "f32[3,2]")
    >>> print(*lines(Graph({"a1": Sigmoid()(x @ w)})))
    a1 = sigmoid(x @ W1)
    """
    printer = _Printer(graph, style, values or {})
    printer.body_definitions()
    return printer.lines(None)


def sections(graph: Graph) -> dict[Node, Section]:
    """Which part of a training step each node belongs to."""
    backward = [n.serial for n in graph.nodes if n in graph.origins]
    first = min(backward, default=None)
    result: dict[Node, Section] = {}
    for n in graph.nodes:
        if n in graph.origins:
            result[n] = "backward"
        elif first is None or n.serial < first:
            result[n] = "forward"
        else:
            result[n] = "update"
    return result


def ascii_name(name: str) -> str:
    """A name without letters outside ASCII.

    Examples
    --------
    >>> ascii_name("δ1"), ascii_name("W1_new")
    ('delta_1', 'W1_new')
    """

    def plain(letter: str) -> str:
        if letter.isascii():
            return letter
        words = unicodedata.name(letter, "letter").lower().split()
        return words[-1] + "_"

    return "".join(map(plain, name))


def latex_name(name: str) -> str:
    r"""A name as the literature sets it.

    Examples
    --------
    >>> latex_name("W1"), latex_name("dW1"), latex_name("δ2"), latex_name("v_W1_new")
    ('W^{1}', '\\frac{\\partial C}{\\partial W^{1}}', '\\delta^{2}', 'v_{W^{1}}^{\\text{new}}')
    """
    known = {"lr": r"\eta", "momentum": r"\mu", "loss": r"\ell"}
    if name in known:
        return known[name]
    if name.startswith("v_"):
        of, new, _ = name[2:].partition("_new")
        return f"v_{{{latex_name(of)}}}" + (r"^{\text{new}}" if new else "")
    if name.endswith("_new"):
        return latex_name(name[:-4]) + r"_{\text{new}}"
    if match := re.fullmatch(r"d([A-Za-z]\d+)", name):
        return rf"\frac{{\partial C}}{{\partial {latex_name(match[1])}}}"
    if match := re.fullmatch(r"([A-Za-zα-ω])(\d+)", name):
        letter = match[1] if match[1].isascii() else "\\" + ascii_name(match[1]).rstrip("_")
        return rf"{letter}^{{{match[2]}}}"
    return name if len(name) == 1 else rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}"


class _Printer:
    """Prints one program in one style."""

    def __init__(self, graph: Graph, style: Style, values: Mapping[str, float]) -> None:
        self.graph, self.style, self.values = graph, style, values
        self.names = self._name_lines()
        self.dims: dict[str, None] = {}  # named dimensions that the text mentions
        self.bodies: dict[Node, str] = {}  # loops: what the body's function is called

    # ---- names

    def _spell(self, name: str) -> str:
        return {"ascii": ascii_name, "latex": latex_name}.get(self.style, str)(name)

    def _name_lines(self) -> dict[Node, str]:
        """The values that get a line of their own, with their names.

        Those are named values, outputs, and unnamed values that are used twice, save numbers and views.
        """
        graph = self.graph
        outputs = {n: name for name, n in reversed(list(graph.outputs.items()))}
        taken = {*graph.named, *graph.outputs}
        uses = _printed_uses(graph, {*outputs, *(n for n in graph.nodes if n.name is not None)})
        depth: dict[Node, int] = {}
        fresh = (v for i in itertools.count(1) if (v := f"v{i}") not in taken)
        names: dict[Node, str] = {}
        for n in graph.nodes:
            name = n.name or (outputs.get(n) if not isinstance(n.op, Item) or n in outputs else None)
            shared = uses[n] > 1 and n.inputs and not n.op.view
            depth[n] = 1 + max((depth[x] for x in n.inputs), default=0)
            if name is None and (shared or isinstance(n.type, TupleType) or depth[n] > _DEEPEST):
                name = next(fresh)
            if name is not None:
                names[n] = self._spell(name)
                depth[n] = 0
        spelled: dict[str, Node] = {}
        for n, name in names.items():
            if spelled.setdefault(name, n) is not n:
                raise GraphError(f"in {self.style}, two values would be called {name!r}")
        return names

    # ---- expressions

    def reference(self, node: Node, binding: int) -> str:
        """A value as an operand: its name, or its expression in parentheses where needed."""
        if node in self.names:
            return self.names[node]
        written, own = self.expression(node)
        return f"({written})" if own < binding else written

    def expression(self, node: Node) -> tuple[str, int]:
        """The right-hand side of a value, and how tightly it binds."""
        op = node.op
        if op.printed_as == "broadcast":
            return self.broadcast(node, silent=self.style == "latex")
        template = op.latex() if self.style == "latex" else op.source()
        self.dims.update(dict.fromkeys(op.named))
        if op.printed_as == "number":
            return template, Precedence.UNARY if template.startswith("-") else Precedence.ATOM
        if op.printed_as == "same":
            (x,) = node.inputs
            bare = x not in self.names and x.op.printed_as != "number"
            return self.strong(x, 0), self.expression(x)[1] if bare else Precedence.ATOM
        if self.style == "latex" and op.tex_scaled and any(_is_scalar(x) for x in node.inputs):
            template = op.tex_scaled
        slots = [f"{{{i}}}" for i in range(len(node.inputs))]
        template = template.replace("{*}", ", ".join(slots)).replace("{(*)}", _tuple(slots))
        if node in self.bodies:
            template = template.replace("{body}", self.bodies[node])
        operands = self.operands(node)
        depth, written, last = 0, "", 0
        for match in _SLOT.finditer(template):
            before = template[last : match.start()]
            depth += sum(before.count(c) for c in "([") - sum(before.count(c) for c in ")]")
            depth += before.count(r"\begin{") - before.count(r"\end{")
            first = not written and not before
            binding = 0 if depth else op.precedence + (not first or op.precedence in _NOT_LEFT)
            if op.precedence in _PREFIX_OR_POSTFIX and not depth:
                binding = op.precedence
            if template[match.end() : match.end() + 1] in ("[", "."):
                binding = max(binding, Precedence.POSTFIX)
            written += before + operands(int(match[1]), binding)
            last = match.end()
        return written + template[last:], op.precedence

    def operands(self, node: Node) -> Callable[[int, int], str]:
        """How this node's inputs are written: function of input number and binding."""
        inputs = node.inputs
        if self.style == "latex":
            return lambda i, binding: self.reference(inputs[i], binding)
        if not isinstance(node.op, Elementwise):
            return lambda i, binding: self.strong(inputs[i], binding)
        # One operand must carry the full shape, and one the dtype (a comparison loses it); then the others
        # may be broadcasts and bare numbers. Where none does, the first is made to.
        full = any(not self.is_silent(x) for x in inputs)
        carriers = [i for i in range(len(inputs)) if i not in node.op.untyped]
        typed = any(not self.is_number(inputs[i]) for i in carriers)
        heavy = None if typed or not carriers else carriers[0]

        def operand(i: int, binding: int) -> str:
            x = inputs[i]
            if i == 0 and not full:
                return self.strong(x, binding)
            if x.op.printed_as == "broadcast" and x not in self.names:
                written, own = self.broadcast(x, silent=True, strong=i == heavy)
                return f"({written})" if own < binding else written
            return self.strong(x, binding) if i == heavy else self.reference(x, binding)

        return operand

    def is_silent(self, x: Node) -> bool:
        """Whether x, as an operand, would be a bare number or leave its shape to NumPy's broadcasting."""
        return x not in self.names and x.op.printed_as in ("broadcast", "number")

    def is_number(self, x: Node) -> bool:
        """Whether x would be a bare Python number, which has no dtype of its own."""
        while x not in self.names and x.op.printed_as == "broadcast":
            (x,) = x.inputs
        return x not in self.names and x.op.printed_as == "number"

    def strong(self, x: Node, binding: int) -> str:
        """x with its dtype and shape: never a bare Python number."""
        if x not in self.names and x.op.printed_as == "number":
            return f"{_SCALARS[x.dtype]}({self.expression(x)[0]})"
        return self.reference(x, binding)

    def broadcast(self, node: Node, silent: bool, strong: bool = False) -> tuple[str, int]:
        """A broadcast value; silent where NumPy will do it beside a full-shape operand."""
        (x,) = node.inputs
        axes: tuple[int, ...] = node.op.settings()["axes"]
        rank = len(node.shape)
        aligned = axes == tuple(range(rank - len(axes), rank))
        if silent and aligned and strong and self.style != "latex":
            return self.strong(x, Precedence.ATOM), Precedence.ATOM
        if self.style == "latex" or (silent and aligned):
            binding = 0 if x in self.names else self.expression(x)[1]
            return self.reference(x, 0), Precedence.ATOM if x in self.names else binding
        written, own = self.strong(x, Precedence.POSTFIX), Precedence.ATOM
        if not aligned:
            index = ", ".join(":" if i in axes else "None" for i in range(min(axes), rank))
            written, own = f"{written}[{index}]", Precedence.POSTFIX
        if silent:
            return written, own
        self.dims.update(dict.fromkeys(node.op.named))
        return f"broadcast_to({written}, {spelled_shape(node.shape)})", Precedence.ATOM

    # ---- lines

    def line(self, node: Node, alias: str | None = None) -> tuple[str, str, str]:
        """Left-hand side, right-hand side, and comment."""
        name = alias or self.names[node]
        if alias:
            right = self.names[node]
        elif node.op.printed_as != "number":
            right = self.expression(node)[0]
        else:
            right = self.strong_line(node)
        notes = [str(node.type)]
        notes += [f"{k} = {v:g}" for k, v in self.values.items() if re.search(rf"\b{re.escape(k)}\b", right)]
        return name, right, ", ".join(notes)

    def strong_line(self, node: Node) -> str:
        written = self.expression(node)[0]
        return written if self.style == "latex" else f"{_SCALARS[node.dtype]}({written})"

    def lines(self, section: Section | None) -> list[Line]:
        where = sections(self.graph)
        aliases: dict[Node, list[str]] = {}  # an output that is an input, or has a second name
        for name, node in self.graph.outputs.items():
            if self.names[node] != self._spell(name):
                aliases.setdefault(node, []).append(self._spell(name))
        found = []
        for node in self.graph.nodes:
            if section not in (None, where[node]):
                continue
            if node in self.names and not node.op.feeds:
                found.append(Line(*self.line(node), where[node], node))
            found += [Line(*self.line(node, alias), where[node], node) for alias in aliases.get(node, ())]
        return found

    def program(self, prelude: bool, section: Section | None, inner: bool = False) -> str:
        if self.style == "latex":
            return self.latex(section)
        printed = self.body_definitions()
        lines = self.lines(section)
        printed += [self.size_line(dim) for dim in self.dims]
        left = max((len(line.name) for line in lines), default=0)
        right = max((len(line.right) for line in lines if len(line.right) <= 60), default=0)
        several = len({line.section for line in lines}) > 1 and not inner
        current = None
        for line in lines:
            if several and line.section != current:
                printed.append(f"# {line.section}")
                current = line.section
            printed.append(f"{line.name:<{left}} = {line.right:<{right}}  # {line.note}")
        head = self.prelude("\n".join(printed))
        self.check_names("\n".join([*head, *printed]))
        return "\n".join([*head, *printed] if prelude else printed)

    def check_names(self, program: str) -> None:
        """No value may hide a function, a size or a number that the program reads by name."""
        hidden = {*_CALL.findall(program), *_PLAIN_NAME.findall(program), *self.dims}
        for name in self.names.values():
            if name in hidden:
                raise GraphError(f"the value {name!r} has a name that the printed program needs for itself")

    def size_line(self, dim: str) -> str:
        for name, type_ in self.graph.input_types.items():
            if dim in type_.shape:
                return f"{dim} = {self._spell(name)}.shape[{type_.shape.index(dim)}]"
        raise GraphError(f"no input has the dimension {dim}, so its size cannot be printed")

    def body_definitions(self) -> list[str]:
        """Loops: each body as an indented block."""
        printed = []
        for node in self.graph.nodes:
            body = node.op.settings().get("body")
            if isinstance(body, Graph):
                settings = node.op.settings()
                self.bodies[node] = name = f"body{len(self.bodies) + 1}"
                inner = _Printer(body, self.style, {}).program(False, None, inner=True).split("\n")
                outputs = [self._spell(o) for o in body.outputs]
                first, rest = outputs[: settings["carries"]], outputs[settings["carries"] :]
                printed.append(f"def {name}({', '.join(self._spell(n) for n in settings['names'])}):")
                printed += [f"    {line}" for line in inner]
                printed.append(f"    return {_tuple(first)}, {_tuple(rest)}")
        return printed

    def latex(self, section: Section | None) -> str:
        rows = [rf"{line.name} &= {line.right} \\" for line in self.lines(section)]
        return "\n".join([r"\begin{aligned}", *rows, r"\end{aligned}"])

    # ---- prelude

    def _calls(self, op: Op) -> set[str]:
        return set(_CALL.findall(op.source()))

    def prelude(self, body: str) -> list[str]:
        """Imports and definitions for everything that the text `body` calls."""
        called = set(_CALL.findall(body))
        known = NUMPY_FUNCTIONS | SCIPY_FUNCTIONS
        imports = called & known | set(_PLAIN_NAME.findall(body))
        definitions: dict[str, str] = {}
        for op in _all_ops(self.graph):
            for function in self._calls(op) & called - known:
                written = (op.prelude or definition(op)).rstrip()
                if definitions.setdefault(function, written) != written:
                    raise RuleError(
                        f"{op.name}: {function} would be defined twice, with different settings. Name the "
                        "settings in the op's notation, or write its prelude."
                    )
                imports |= set(_CALL.findall(written)) & known | set(_PLAIN_NAME.findall(written))
        head = [
            f"from {home} import {', '.join(sorted(names))}"
            for home, names in (
                ("numpy", imports - SCIPY_FUNCTIONS),
                ("scipy.special", imports & SCIPY_FUNCTIONS),
            )
            if names
        ]
        head += [""] if head else []
        for source in definitions.values():
            head += [*source.split("\n"), ""]
        return head


def _all_ops(graph: Graph) -> Iterable[Op]:
    for node in graph.nodes:
        yield node.op
        body = node.op.settings().get("body")
        if isinstance(body, Graph):
            yield from _all_ops(body)


def _printed_uses(graph: Graph, named: set[Node]) -> dict[Node, int]:
    """How often each value would be written; an unnamed view is written wherever it is used."""
    uses = dict.fromkeys(graph.nodes, 0)
    for n in reversed(graph.nodes):
        times = uses[n] if n.op.view and n not in named else 1
        for x in n.inputs:
            uses[x] += times
    return uses


def _is_scalar(x: Node) -> bool:
    """A number, perhaps repeated to a full shape."""
    while x.op.printed_as == "broadcast":
        (x,) = x.inputs
    return x.shape == ()


def _tuple(names: list[str]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
