"""From the source of kernels to LLVM.

That source is a small part of Python: functions of numbers and of flat arrays with `for` over a `range`,
`if`, assignments, arithmetic, comparisons, conditional expressions (both sides are calculated) and calls.
A variable keeps the kind that it is first given. Python itself can run it, which the tests make use of, and
everything that it says is a fixed sequence of operations: no flag allows LLVM to reorder a sum, to drop a NaN
or to merge a product with an addition.

Kinds are ``f32``, ``f64``, ``int32``, ``int64``, ``uint64`` and ``boolean``. A number in the source takes the
kind of what it meets. ``real`` is the one floating-point kind of a kernel.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import ir

BITS = {"f32": 32, "f64": 64, "int32": 32, "int64": 64, "uint64": 64, "boolean": 1}
_FLOATS = ("f32", "f64")
_I1, _I8, INT = ir.IntType(1), ir.IntType(8), ir.IntType(64)
POINTER = ir.PointerType()
VOID = ir.VoidType()
#: Of the C library, one number at a time.
LIBRARY = ("sin", "cos", "erf", "pow")


def llvm_type(kind: str) -> Any:
    """The type of a number."""
    return {"f32": ir.FloatType(), "f64": ir.DoubleType()}.get(kind) or ir.IntType(BITS[kind])


@dataclass(frozen=True)
class Number:
    """A number: of a kind, or one of the source (``kind`` is "literal") that has none yet."""

    kind: str
    code: Any  #: what LLVM calls it, or the Python number


@dataclass(frozen=True)
class Place:
    """An entry of an array and those that follow it."""

    kind: str
    code: Any
    array: str  #: the argument that it lies in


@dataclass(frozen=True)
class Argument:
    """An argument of a kernel: an array (its entries are of this kind) or an integer.

    An array is `alone` where no other argument lies in the same memory.
    """

    name: str
    kind: str
    array: bool = True
    alone: bool = True


class Unit:
    """A module of LLVM that is being written.

    Attributes
    ----------
    real : {"f32", "f64"}
    module : llvmlite.ir.Module
    """

    def __init__(self, real: str) -> None:
        self.real = real
        self.module = ir.Module("backpass")
        self._functions: dict[str, Any] = {}
        self._products: Unit | None = None

    def external(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """A function that is defined elsewhere."""
        if name not in self._functions:
            self._functions[name] = ir.Function(self.module, ir.FunctionType(result, arguments), name)
        return self._functions[name]

    def internal(self, name: str, result: Any, arguments: Sequence[Any], write: Callable[[Any], None]) -> Any:
        """A function of this module, which `write` fills the first time."""
        if name not in self._functions:
            function = self.external(name, result, arguments)
            function.linkage = "internal"
            function.attributes.add("nounwind")
            write(function)
        return self._functions[name]

    def products(self) -> Unit:
        """The module of matrix products. They are written as they should run: few of LLVM's passes see it."""
        if self._products is None:
            self._products = Unit(self.real)
        return self._products

    def product(self, name: str, result: Any, arguments: Sequence[Any], write: Callable[[Any], None]) -> Any:
        """A function of that module, for this one."""
        self.products().internal(name, result, arguments, write).linkage = ""
        return self.external(name, result, arguments)

    def of_mathematics(self, name: str) -> tuple[Any, list[str], str]:
        """A function of `mathematics`, the kinds of its arguments, and that of its value."""
        definition = _mathematics()[name]
        names = [a.arg for a in definition.args.args]
        kinds = [_annotation(a.annotation) for a in definition.args.args]
        result = _annotation(definition.returns)

        def write(function: Any) -> None:
            function.attributes.add("alwaysinline")
            body = Body(self, function)
            for argument, given, kind in zip(names, function.args, kinds, strict=True):
                body.assign(argument, Number(kind, given))
            body.result = result
            body.statements(definition.body[1:])  # the first is its docstring

        types = [llvm_type(kind) for kind in kinds]
        return self.internal(name, llvm_type(result), types, write), kinds, result


def _annotation(e: ast.expr | None) -> str:
    assert isinstance(e, ast.Name)
    return e.id


@cache
def _mathematics() -> dict[str, ast.FunctionDef]:
    tree = ast.parse(Path(__file__).with_name("mathematics.py").read_text(encoding="utf-8"))
    return {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}


def kernel(
    unit: Unit,
    source: str,
    arguments: Sequence[Argument],
    constants: Mapping[str, float],
    usual: Mapping[str, int] | None = None,
) -> Any:
    """Write the function ``kernel``: it takes the addresses of its arguments, and gives an integer.

    Parameters
    ----------
    unit : Unit
    source : str
        The statements of its body.
    arguments : sequence of Argument
        In the order in which the caller lays them down: addresses of arrays, and integers.
    constants : mapping of str to float
        Real numbers by name.
    usual : mapping of str to int, optional
        Variables that nearly always have these values. What follows their assignment is written twice,
        once for them alone.
    """

    def write(function: Any) -> None:
        function.linkage = ""
        body = Body(unit, function, usual)
        aliases = _Aliases(unit, [a.name for a in arguments if a.array and a.alone])
        for k, a in enumerate(arguments):
            at = body.builder.gep(function.args[0], [ir.Constant(INT, k)], source_etype=INT)
            if a.array:
                body.places[a.name] = Place(a.kind, body.builder.load(at, typ=POINTER), a.name)
            else:
                body.assign(a.name, Number("int64", body.builder.load(at, typ=INT)))
        body.aliases = aliases
        body.constants = {name: Number(unit.real, _real(unit.real, v)) for name, v in constants.items()}
        body.statements(ast.parse(source).body)

    return unit.internal("kernel", INT, [POINTER], write)


def _real(kind: str, value: float) -> Any:
    return ir.Constant(llvm_type(kind), value)


class _Aliases:
    """Tells LLVM that the arrays of a kernel do not overlap.

    Said of single reads and writes, not of the arguments: what another thread wrote before a barrier is
    read anew after it.
    """

    def __init__(self, unit: Unit, arrays: list[str]) -> None:
        module = unit.module
        domain = module.add_metadata(["arrays of a kernel"])
        scopes = {name: module.add_metadata([name, domain]) for name in arrays}
        self._own = {name: module.add_metadata([scope]) for name, scope in scopes.items()}
        self._others = {
            name: module.add_metadata([s for other, s in scopes.items() if other != name]) for name in arrays
        }

    def mark(self, instruction: Any, array: str) -> None:
        if array in self._own:
            instruction.set_metadata("alias.scope", self._own[array])
            instruction.set_metadata("noalias", self._others[array])


class Body:
    """The statements of a function."""

    def __init__(self, unit: Unit, function: Any, usual: Mapping[str, int] | None = None) -> None:
        self.unit, self.function = unit, function
        self.entry = function.append_basic_block("entry")
        self.builder = ir.IRBuilder(function.append_basic_block("body"))
        with ir.IRBuilder(self.entry).goto_block(self.entry):
            ir.IRBuilder(self.entry).branch(self.builder.block)
        self.variables: dict[str, tuple[str, Any]] = {}
        self.places: dict[str, Place] = {}
        self.constants: Mapping[str, Number] = {}
        self.known: dict[str, Number] = {}  # variables with a value that is fixed from here on
        self.usual = dict(usual or {})
        self.aliases: _Aliases | None = None
        self.result = "int64"

    # ---- variables and memory

    def slot(self, type_: Any, align: int | None = None) -> Any:
        """Memory of the function's own."""
        builder = ir.IRBuilder(self.entry)
        builder.position_before(self.entry.terminator)
        made = builder.alloca(type_)
        if align:
            made.align = align
        # Without a type of what it points to, as all other pointers are.
        return builder.bitcast(made, POINTER)

    def assign(self, name: str, value: Number) -> None:
        if name not in self.variables:
            kind = value.kind
            if kind == "literal":
                kind = _kind_of_literal(value.code, self.unit.real)
            self.variables[name] = kind, self.slot(llvm_type(kind))
        kind, slot = self.variables[name]
        self.builder.store(self.convert(value, kind), slot)

    def load(self, place: Place) -> Number:
        memory = _I8 if place.kind == "boolean" else llvm_type(place.kind)
        found = self.builder.load(place.code, typ=memory)
        if self.aliases is not None:
            self.aliases.mark(found, place.array)
        if place.kind == "boolean":
            found = self.builder.icmp_unsigned("!=", found, ir.Constant(_I8, 0))
        return Number(place.kind, found)

    def store(self, value: Number, place: Place) -> None:
        code = self.convert(value, place.kind)
        if place.kind == "boolean":
            code = self.builder.zext(code, _I8)
        written = self.builder.store(code, place.code)
        if self.aliases is not None:
            self.aliases.mark(written, place.array)

    def at(self, place: Place, index: Number) -> Place:
        memory = _I8 if place.kind == "boolean" else llvm_type(place.kind)
        code = self.builder.gep(
            place.code, [self.convert(index, "int64")], inbounds=True, source_etype=memory
        )
        return Place(place.kind, code, place.array)

    # ---- numbers

    def convert(self, value: Number, kind: str) -> Any:
        """What LLVM calls a number after it was brought to a kind."""
        if value.kind == "literal":
            number = float(value.code) if kind in _FLOATS else int(value.code)
            return ir.Constant(llvm_type(kind), number)
        if value.kind == kind:
            return value.code
        b, type_ = self.builder, llvm_type(kind)
        given, wanted = value.kind in _FLOATS, kind in _FLOATS
        if given and wanted:
            return (
                b.fpext(value.code, type_) if BITS[kind] > BITS[value.kind] else b.fptrunc(value.code, type_)
            )
        if given:
            return b.fptosi(value.code, type_)
        unsigned = value.kind in ("uint64", "boolean")
        if wanted:
            return b.uitofp(value.code, type_) if unsigned else b.sitofp(value.code, type_)
        if BITS[kind] == BITS[value.kind]:
            return value.code
        if BITS[kind] < BITS[value.kind]:
            return b.trunc(value.code, type_)
        return b.zext(value.code, type_) if unsigned else b.sext(value.code, type_)

    def alike(self, *values: Number) -> tuple[str, list[Any]]:
        """The kind of the first that has one, and all of them in it."""
        kinds = list(dict.fromkeys(v.kind for v in values if v.kind != "literal"))
        if len(kinds) > 1:
            raise TypeError(f"{' and '.join(kinds)} meet")
        kind = kinds[0] if kinds else _kind_of_literal(values[0].code, self.unit.real)
        return kind, [self.convert(v, kind) for v in values]

    def number(self, e: ast.expr) -> Number:
        """The value of an expression."""
        found = getattr(self, f"_{type(e).__name__}")(e)
        assert isinstance(found, Number), ast.unparse(e)
        return found

    def truth(self, e: ast.expr) -> Any:
        return self.convert(self.number(e), "boolean")

    def _Constant(self, e: ast.Constant) -> Number:
        return Number("literal", e.value)

    def _Name(self, e: ast.Name) -> Number:
        if e.id in self.known:
            return self.known[e.id]
        if e.id in self.constants:
            return self.constants[e.id]
        kind, slot = self.variables[e.id]
        return Number(kind, self.builder.load(slot, typ=llvm_type(kind)))

    def _Subscript(self, e: ast.Subscript) -> Number:
        return self.load(self.place(e))

    def _UnaryOp(self, e: ast.UnaryOp) -> Number:
        x = self.number(e.operand)
        if isinstance(e.op, ast.Not):
            return Number("boolean", self.builder.not_(self.convert(x, "boolean")))
        if x.kind == "literal":
            return Number("literal", -x.code)
        return Number(x.kind, self.builder.fneg(x.code) if x.kind in _FLOATS else self.builder.neg(x.code))

    def _BinOp(self, e: ast.BinOp) -> Number:
        x, y, operator = self.number(e.left), self.number(e.right), type(e.op).__name__
        if x.kind == y.kind == "literal":
            return Number("literal", _PYTHON[operator](x.code, y.code))
        kind, (a, b) = self.alike(x, y)
        if operator == "Pow":
            return self.library("pow", Number(kind, a), Number(kind, b))
        name = _OPERATORS[operator][0 if kind in _FLOATS else 1]
        if operator == "RShift" and kind == "uint64":
            name = "lshr"
        return Number(kind, getattr(self.builder, name)(a, b))

    def _BoolOp(self, e: ast.BoolOp) -> Number:
        codes = [self.truth(v) for v in e.values]
        together = codes[0]
        for code in codes[1:]:
            join = self.builder.and_ if isinstance(e.op, ast.And) else self.builder.or_
            together = join(together, code)
        return Number("boolean", together)

    def _Compare(self, e: ast.Compare) -> Number:
        (operator,), (right,) = e.ops, e.comparators
        sign = _COMPARISONS[type(operator).__name__]
        x, y = self.number(e.left), self.number(right)
        if x.kind == y.kind == "literal":
            return Number("boolean", ir.Constant(_I1, int(_PYTHON[sign](x.code, y.code))))
        kind, (a, b) = self.alike(x, y)
        if kind in _FLOATS:  # only "not equal" is true of what is not a number
            compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        else:
            signed = kind in ("int32", "int64")
            compare = self.builder.icmp_signed if signed else self.builder.icmp_unsigned
        return Number("boolean", compare(sign, a, b))

    def _IfExp(self, e: ast.IfExp) -> Number:
        kind, (a, b) = self.alike(self.number(e.body), self.number(e.orelse))
        return Number(kind, self.builder.select(self.truth(e.test), a, b))

    def _Call(self, e: ast.Call) -> Number:
        if isinstance(e.func, ast.Attribute):  # x.view(int32): the same bits as another kind
            assert e.func.attr == "view"
            x, kind = self.number(e.func.value), _annotation(e.args[0])
            return Number(kind, self.builder.bitcast(x.code, llvm_type(kind)))
        name = _annotation(e.func)
        if name == "float":  # of a text: "inf" or "nan"
            assert isinstance(e.args[0], ast.Constant)
            return Number("literal", float(str(e.args[0].value)))
        if name in BITS or name == "real":
            kind = self.unit.real if name == "real" else name
            return Number(kind, self.convert(self.number(e.args[0]), kind))
        xs = [self.number(a) for a in e.args]
        if name == "abs":
            return self._absolute(xs[0])
        if name == "sqrt":
            return Number(xs[0].kind, self.intrinsic("sqrt", xs[0]))
        if name == "fma":
            kind, codes = self.alike(*xs)
            return Number(kind, self.intrinsic("fmuladd", *(Number(kind, code) for code in codes)))
        if name in LIBRARY:
            return self.library(name, *xs)
        definition = f"{name}_{self.unit.real}"
        function, kinds, result = self.unit.of_mathematics(
            definition if definition in _mathematics() else name
        )
        codes = [self.convert(x, kind) for x, kind in zip(xs, kinds, strict=True)]
        return Number(result, self.builder.call(function, codes))

    def _absolute(self, x: Number) -> Number:
        if x.kind in _FLOATS:
            return Number(x.kind, self.intrinsic("fabs", x))
        negative = self.builder.icmp_signed("<", x.code, ir.Constant(llvm_type(x.kind), 0))
        return Number(x.kind, self.builder.select(negative, self.builder.neg(x.code), x.code))

    def intrinsic(self, name: str, *xs: Number) -> Any:
        """A function that LLVM knows by itself."""
        type_ = llvm_type(xs[0].kind)
        function = self.unit.external(f"llvm.{name}.f{BITS[xs[0].kind]}", type_, [type_] * len(xs))
        return self.builder.call(function, [x.code for x in xs])

    def library(self, name: str, *xs: Number) -> Number:
        """A function of the C library."""
        kind, codes = self.alike(*xs)
        type_ = llvm_type(kind)
        symbol = f"backpass_{name}{'f' if kind == 'f32' else ''}"
        return Number(kind, self.builder.call(self.unit.external(symbol, type_, [type_] * len(xs)), codes))

    # ---- places

    def place(self, e: ast.expr) -> Place:
        """An array, an entry of it, or what follows an entry (``x[start:]``)."""
        if isinstance(e, ast.Name):
            return self.places[e.id]
        assert isinstance(e, ast.Subscript)
        base, index = self.place(e.value), e.slice
        if isinstance(index, ast.Slice):
            assert index.lower is not None
            index = index.lower
        return self.at(base, self.number(index))

    # ---- statements

    def statements(self, lines: Sequence[ast.stmt]) -> None:
        for k, statement in enumerate(lines):
            if self.builder.block.is_terminated:
                return
            if isinstance(statement, ast.Assign) and self._forks(statement):
                self._fork(statement, lines[k + 1 :])
                return
            getattr(self, f"_{type(statement).__name__}")(statement)

    def _forks(self, statement: ast.Assign) -> bool:
        target = statement.targets[0]
        return isinstance(target, ast.Name) and target.id in self.usual and target.id not in self.known

    def _fork(self, statement: ast.Assign, rest: Sequence[ast.stmt]) -> None:
        """What comes after an assignment twice: for the usual value, and for any other."""
        self._Assign(statement)
        name = _annotation(statement.targets[0])
        value = ir.Constant(INT, self.usual[name])
        usual = self.builder.icmp_signed("==", self.number(ast.Name(name)).code, value)
        before = dict(self.variables)
        others = self.usual
        self.usual = {}
        with self.builder.if_else(usual, likely=True) as (then, otherwise):
            with then:
                self.known[name] = Number("literal", others[name])
                self.statements(rest)
                del self.known[name]
            with otherwise:
                self.variables = before
                self.statements(rest)
        self.usual = others

    def _Assign(self, s: ast.Assign) -> None:
        (target,) = s.targets
        if isinstance(target, ast.Tuple):
            assert isinstance(s.value, ast.Tuple)
            values = [self.number(v) for v in s.value.elts]
            for name, value in zip(target.elts, values, strict=True):
                self._give(name, value)
            return
        self._give(target, self.number(s.value))

    def _give(self, target: ast.expr, value: Number) -> None:
        if isinstance(target, ast.Name):
            self.assign(target.id, value)
        else:
            self.store(value, self.place(target))

    def _AugAssign(self, s: ast.AugAssign) -> None:
        if isinstance(s.target, ast.Name):
            before: ast.expr = ast.Name(s.target.id)
            self._give(s.target, self.number(ast.BinOp(before, s.op, s.value)))
            return
        assert isinstance(s.target, ast.Subscript)
        before = ast.Subscript(s.target.value, s.target.slice)
        self._give(s.target, self.number(ast.BinOp(before, s.op, s.value)))

    def _For(self, s: ast.For) -> None:
        assert isinstance(s.iter, ast.Call)
        assert _annotation(s.iter.func) == "range"
        bounds = [self.convert(self.number(a), "int64") for a in s.iter.args]
        start, stop = bounds if len(bounds) == 2 else (ir.Constant(INT, 0), bounds[0])
        name = _annotation(s.target)
        b = self.builder
        head, inside, after = (self.function.append_basic_block(k) for k in ("head", "inside", "after"))
        before = b.block
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(INT)
        i.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", i, stop), inside, after)
        b.position_at_end(inside)
        shadowed = self.known.get(name)
        self.known[name] = Number("int64", i)
        self.statements(s.body)
        if not b.block.is_terminated:
            i.add_incoming(b.add(i, ir.Constant(INT, 1), flags=["nuw", "nsw"]), b.block)
            b.branch(head)
        del self.known[name]
        if shadowed is not None:
            self.known[name] = shadowed
        b.position_at_end(after)

    def _If(self, s: ast.If) -> None:
        test = self.truth(s.test)
        if not s.orelse:
            with self.builder.if_then(test):
                self.statements(s.body)
            return
        with self.builder.if_else(test) as (then, otherwise):
            with then:
                self.statements(s.body)
            with otherwise:
                self.statements(s.orelse)

    def _Return(self, s: ast.Return) -> None:
        assert s.value is not None
        self.builder.ret(self.convert(self.number(s.value), self.result))

    def _Expr(self, s: ast.Expr) -> None:
        from backpass.exec.compiled import barrier, products

        assert isinstance(s.value, ast.Call)
        name, arguments = _annotation(s.value.func), s.value.args
        if name == "barrier":
            barrier.barrier(self, self.place(arguments[0]), self.number(arguments[1]))
        else:
            {"mm": products.mm, "gemm": products.gemm}[name](self, arguments)


def _kind_of_literal(value: Any, real: str) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "int64" if isinstance(value, int) else real


_OPERATORS = {
    "Add": ("fadd", "add"), "Sub": ("fsub", "sub"), "Mult": ("fmul", "mul"), "Div": ("fdiv", ""),
    "FloorDiv": ("", "sdiv"), "LShift": ("", "shl"), "RShift": ("", "ashr"), "BitXor": ("", "xor"),
    "BitOr": ("", "or_"), "BitAnd": ("", "and_"), "Pow": ("", ""),
}  # fmt: skip
_COMPARISONS = {"Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Eq": "==", "NotEq": "!="}
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda x, y: x + y,
    "Sub": lambda x, y: x - y,
    "Mult": lambda x, y: x * y,
    "Div": lambda x, y: x / y,
    "FloorDiv": lambda x, y: x // y,
    "Pow": lambda x, y: x**y,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
}
