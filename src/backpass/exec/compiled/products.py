"""Matrix products in native code: C ← beta C + alpha A B, written for the sizes that are known.

BLAS is made for large matrices. On those of a training step, calling it and packing for it costs more than
the product; here the sums of a block of C are held in registers while k multiply-adds pass over them.

Every entry of C is changed in one way, whatever the other sizes, however they are cut into blocks or among
threads, and for any width of vectors: k is cut into turns of at most 512 (of equal ones where it is known);
in each, ``s = fma(A[i, k], B[k, j], s)`` from s = 0 in the order of k, and then
``C[i, j] = fma(alpha, s, beta C[i, j])``, with beta = 1 from the second turn on. So the result is a fixed
function of the operands, and a weight is rounded once by an update, not once by each row of the batch. (Only
a processor without fused multiply-add rounds differently.)
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from backpass.exec.compiled.compiler import INT, POINTER, VOID, Body, Number, Unit, llvm_type
from backpass.exec.compiled.source import PANEL
from backpass.exec.compiled.target import vector_bytes, vector_registers

_I32 = ir.IntType(32)
#: How much of k is done at a time, at the most.
DEPTH = 512
_SMALL_BYTES = 24_576  # of B, which stay in the first cache while the rows of A pass
#: From so many rows and bytes of B on, copying a strip of it together pays.
_PACKED_ROWS, _PACKED_BYTES = 24, 1 << 16

Size = int | Any  #: known now, or a value of LLVM


@dataclass(frozen=True)
class _Strip:
    """Columns that are done together: the offsets of its vectors (they may overlap), and their lanes."""

    lanes: int
    offsets: tuple[Size, ...]

    @property
    def width(self) -> int:
        """Entries of a row of its copy in a panel."""
        return self.lanes * len(self.offsets)

    def side_by_side(self) -> _Strip:
        """The same vectors in a panel."""
        return _Strip(self.lanes, tuple(v * self.lanes for v in range(len(self.offsets))))


def turns(k: int) -> tuple[int, bool]:
    """How much of k is done at a time, and whether that divides it."""
    count = max(1, -(-k // DEPTH))
    depth = -(-k // count)
    return depth, k % count == 0


def most_rows(vectors: int) -> int:
    """The rows of a block: its sums, a vector of each column and a repeated number fill the registers."""
    registers = vector_registers()
    return registers - 6 if vectors == 1 else (registers - 4) // vectors


def strips(n: int, lanes: int) -> tuple[int, _Strip | None]:
    """How many strips of two full vectors n columns have, and what the last, different one is like."""
    if n < lanes:
        lanes = 1 << (n.bit_length() - 1)
        return 0, _Strip(lanes, (0,) if n == lanes else (0, n - lanes))
    full, rest = divmod(n, 2 * lanes)
    if not rest:
        return full, None
    if rest > lanes:
        return full, _Strip(lanes, (0, rest - lanes))
    if not full:  # n is lanes exactly
        return 0, _Strip(lanes, (0,))
    return full - 1, _Strip(lanes, (0, lanes, lanes + rest))


class _Product:
    """A function that is being written: one product."""

    def __init__(self, unit: Unit, function: Any, sizes: Sequence[Size], alpha: Any, beta: Any) -> None:
        self.unit, self.function = unit, function
        self.real = llvm_type(unit.real)
        self.bytes = 4 if unit.real == "f32" else 8
        self.full_lanes = vector_bytes() // self.bytes
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.C, self.A, self.B, self.panel = function.args[:4]
        self.m, self.n, self.k, self.a_row, self.a_col, self.b_row, self.b_col = sizes[:7]
        self.usual_rows, self.usual_depth = sizes[7:]
        self.alpha, self.beta = alpha, beta
        self.turned = not (isinstance(self.b_col, int) and self.b_col == 1)
        self.a_is_turned = isinstance(self.a_row, int) and self.a_row == 1

    # ---- integers, known or not

    def code(self, x: Size) -> Any:
        return ir.Constant(INT, x) if isinstance(x, int) else x

    def mul(self, x: Size, y: Size) -> Size:
        if isinstance(x, int) and isinstance(y, int):
            return x * y
        if isinstance(x, int) and x in (0, 1):
            return y if x else 0
        if isinstance(y, int) and y in (0, 1):
            return x if y else 0
        return self.b.mul(self.code(x), self.code(y), flags=["nsw"])

    def add(self, x: Size, y: Size) -> Size:
        if isinstance(x, int) and isinstance(y, int):
            return x + y
        return self.b.add(self.code(x), self.code(y), flags=["nsw"])

    def sub(self, x: Size, y: Size) -> Size:
        return x - y if isinstance(x, int) and isinstance(y, int) else self.b.sub(self.code(x), self.code(y))

    def least(self, x: Size, y: Size) -> Size:
        if isinstance(x, int) and isinstance(y, int):
            return min(x, y)
        x, y = self.code(x), self.code(y)
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    # ---- vectors

    def at(self, pointer: Any, offset: Size) -> Any:
        if isinstance(offset, int) and offset == 0:
            return pointer
        return self.b.gep(pointer, [self.code(offset)], inbounds=True, source_etype=self.real)

    def load(self, pointer: Any, lanes: int) -> Any:
        return self.b.load(pointer, align=self.bytes, typ=ir.VectorType(self.real, lanes))

    def repeat(self, number: Any, lanes: int) -> Any:
        kind = ir.VectorType(self.real, lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(undefined, number, ir.Constant(_I32, 0))
        return self.b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        name = f"llvm.fmuladd.v{x.type.count}f{8 * self.bytes}"
        return self.b.call(self.unit.external(name, x.type, [x.type] * 3), [x, y, z])

    # ---- loops

    def loop(self, stop: Size, body: Callable[[Any], None], step: int = 1, start: Size = 0) -> None:
        """A loop over the multiples of a step."""
        if isinstance(stop, int) and isinstance(start, int) and stop <= start:
            return
        if isinstance(stop, int) and isinstance(start, int) and stop <= start + step:
            body(ir.Constant(INT, start))
            return
        b = self.b
        before = b.block
        inside, done = b.append_basic_block("loop"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed("<", self.code(start), self.code(stop)), inside, done)
        b.position_at_end(inside)
        i = b.phi(INT)
        body(i)
        following = b.add(i, ir.Constant(INT, step), flags=["nuw", "nsw"])
        branch = b.cbranch(b.icmp_signed("<", following, self.code(stop)), inside, done)
        i.add_incoming(self.code(start), before)
        i.add_incoming(following, b.block)
        self.keep(branch)
        b.position_at_end(done)

    # ---- the product

    def write(self) -> None:
        """The whole function: k in turns."""
        depth, even = turns(self.k) if isinstance(self.k, int) else (DEPTH, False)
        if 0 in (self.m, self.n):
            pass  # there is nothing to write
        elif isinstance(self.k, int) and self.k <= depth:
            self.turn(self.A, self.B, self.k, self.beta)
        else:

            def one(k0: Any) -> None:
                A, B = self.at(self.A, self.mul(k0, self.a_col)), self.at(self.B, self.mul(k0, self.b_row))
                left = depth if even else self.least(self.sub(self.k, k0), depth)
                beta = self.b.select(
                    self.b.icmp_signed("==", k0, ir.Constant(INT, 0)),
                    self.beta if not isinstance(self.beta, float) else ir.Constant(self.real, self.beta),
                    ir.Constant(self.real, 1.0),
                )
                self.turn(A, B, left, 1.0 if self.beta == 1.0 else beta)

            stop = self.k
            if not isinstance(stop, int):  # one turn also where k is 0: C becomes beta C
                once = ir.Constant(INT, 1)
                stop = self.b.select(self.b.icmp_signed(">", stop, once), stop, once)
            self.loop(stop, one, depth)
        self.b.ret_void()

    def turn(self, A: Any, B: Any, depth: Size, beta: Any) -> None:
        """One stretch of k."""
        if not isinstance(self.n, int):
            self._columns_by_count(A, B, depth, beta)
            return
        full, last = strips(self.n, self.full_lanes)
        known = depth if isinstance(depth, int) else min(DEPTH, self.usual_depth)
        small, tall = known * self.n * self.bytes <= _SMALL_BYTES, self.usual_rows >= _PACKED_ROWS
        if small or (tall and self.a_is_turned):
            self._by_rows(A, B, depth, beta, full, last, packed=self.turned or not small)
        else:
            packed = self.turned or (tall and known * self.n * self.bytes >= _PACKED_BYTES)
            self._by_columns(A, B, depth, beta, full, last, packed)

    def _by_columns(
        self, A: Any, B: Any, depth: Size, beta: Any, full: int, last: _Strip | None, packed: bool
    ) -> None:
        """Strip after strip of columns, over all rows: each strip of B stays in the first cache."""

        def one(strip: _Strip, j: Size) -> None:
            source, b_row, inner = self.at(B, self.mul(j, self.b_col)), self.b_row, strip
            if packed:
                self.pack(self.panel, source, depth, strip)
                source, b_row, inner = self.panel, strip.width, strip.side_by_side()
            C = self.at(self.C, j)
            self.blocks(self.m, len(strip.offsets), lambda r, i: self.block(
                r, strip, inner, self.at(C, self.mul(i, self.n)), self.at(A, self.mul(i, self.a_row)),
                source, b_row, depth, beta,
            ))  # fmt: skip

        self.over_strips(one, full, last)

    def over_strips(self, body: Callable[[_Strip, Size], None], full: Size, last: _Strip | None) -> None:
        """Every strip, with the column at which it begins."""
        lanes = self.full_lanes
        end = self.mul(full, 2 * lanes)
        self.loop(end, lambda j: body(_Strip(lanes, (0, lanes)), j), 2 * lanes)
        if last is not None:
            body(last, end)

    def _by_rows(
        self, A: Any, B: Any, depth: Size, beta: Any, full: int, last: _Strip | None, packed: bool
    ) -> None:
        """Block after block of rows, over as many columns as B may have to stay in a cache."""
        wide = 2 * self.full_lanes
        room = PANEL * 4 // self.bytes
        most = room // (max(1, depth if isinstance(depth, int) else DEPTH) * wide)  # strips that fit

        def columns(first: Size, count: Size, last: _Strip | None) -> None:
            j = self.mul(first, wide)
            B_, C = self.at(B, self.mul(j, self.b_col)), self.at(self.C, j)
            self._rows_over(A, B_, C, depth, beta, count, last, packed)

        if not packed or full + 2 <= most:
            columns(0, full, last)
            return
        group = most - 2
        self.loop(full, lambda g: columns(g, self.least(self.sub(full, g), group), None), group)
        if last is not None:
            columns(full, 0, last)

    def _rows_over(
        self, A: Any, B: Any, C: Any, depth: Size, beta: Any, full: Size, last: _Strip | None, packed: bool
    ) -> None:
        """All rows over some columns, whose B is copied together first where it is `packed`."""
        if packed:
            self._pack_strips(B, depth, full, last)
        some = not isinstance(full, int) or full > 0
        vectors = max([2] * some + ([len(last.offsets)] if last is not None else []))

        def row_of_blocks(r: int, i: Any) -> None:
            C_, A_ = self.at(C, self.mul(i, self.n)), self.at(A, self.mul(i, self.a_row))

            def one(strip: _Strip, j: Size) -> None:
                source, b_row, inner = self.at(B, j), self.b_row, strip
                if packed:
                    source, b_row = self.at(self.panel, self.mul(j, depth)), strip.width
                    inner = strip.side_by_side()
                self.block(r, strip, inner, self.at(C_, j), A_, source, b_row, depth, beta)

            self.over_strips(one, full, last)

        self.blocks(self.m, vectors, row_of_blocks)

    def _pack_strips(self, B: Any, depth: Size, full: Size, last: _Strip | None) -> None:
        """Strips of B in the panel, each k rows of its vectors; that of column j begins at j times depth."""

        def one(strip: _Strip, j: Size) -> None:
            self.pack(
                self.at(self.panel, self.mul(j, depth)), self.at(B, self.mul(j, self.b_col)), depth, strip
            )

        self.over_strips(one, full, last)

    def blocks(self, m: Size, vectors: int, body: Callable[[int, Any], None]) -> None:
        """Cut m rows into blocks that differ by one row at the most, the higher ones first."""
        most, b = most_rows(vectors), self.b
        if isinstance(m, int):
            if m <= 0:
                return
            count = -(-m // most)
            lower, more = divmod(m, count)
            self.loop(more * (lower + 1), lambda i: body(lower + 1, i), lower + 1)
            self.loop(m, lambda i: body(lower, i), lower, more * (lower + 1))
            return
        # As many of the highest as there are; what is left in blocks of half the height, and half of that.
        whole = b.mul(b.sdiv(m, ir.Constant(INT, most)), ir.Constant(INT, most))
        self.loop(whole, lambda i: body(most, i), most)
        r = 1 << ((most - 1).bit_length() - 1)
        while r:
            left = b.icmp_signed(">=", b.sub(m, whole), ir.Constant(INT, r))
            before = b.block
            inside, done = b.append_basic_block("rows"), b.append_basic_block("rows.done")
            b.cbranch(left, inside, done)
            b.position_at_end(inside)
            body(r, whole)
            further = b.add(whole, ir.Constant(INT, r))
            after = b.block
            b.branch(done)
            b.position_at_end(done)
            joined = b.phi(INT)
            joined.add_incoming(whole, before)
            joined.add_incoming(further, after)
            whole, r = joined, r // 2

    def block(
        self, rows: int, strip: _Strip, inner: _Strip, C: Any, A: Any, B: Any, b_row: Size, depth: Size,
        beta: Any,
    ) -> None:  # fmt: skip
        """Some rows and vectors of C: their sums over this stretch of k, and then into C."""
        b, lanes, vectors = self.b, strip.lanes, len(strip.offsets)
        kind = ir.VectorType(self.real, lanes)
        zero = ir.Constant(kind, [0.0] * lanes)
        a_rows = [self.at(A, self.mul(i, self.a_row)) for i in range(rows)]
        before = b.block
        inside, done = b.append_basic_block("sums"), b.append_basic_block("summed")
        unroll = 2 if isinstance(depth, int) and depth % 2 == 0 else 1
        b.cbranch(b.icmp_signed(">", self.code(depth), ir.Constant(INT, 0)), inside, done)
        b.position_at_end(inside)
        q, a_at, b_at = b.phi(INT), b.phi(INT), b.phi(INT)
        sums = [[b.phi(kind) for _ in range(vectors)] for _ in range(rows)]
        running = [list(row) for row in sums]
        a_next: Size = a_at
        b_next: Size = b_at
        for _ in range(unroll):
            line = self.at(B, b_next)
            columns = [self.load(self.at(line, o), lanes) for o in inner.offsets]
            for i in range(rows):
                number = b.load(self.at(a_rows[i], a_next), typ=self.real, align=self.bytes)
                repeated = self.repeat(number, lanes)
                running[i] = [
                    self.multiply_add(repeated, c, s) for c, s in zip(columns, running[i], strict=True)
                ]
            a_next, b_next = self.add(a_next, self.a_col), self.add(b_next, b_row)
        following = b.add(q, ir.Constant(INT, unroll), flags=["nuw", "nsw"])
        branch = b.cbranch(b.icmp_signed("<", following, self.code(depth)), inside, done)
        self.keep(branch)
        last_block = b.block
        for phi, new in ((q, following), (a_at, a_next), (b_at, b_next)):
            phi.add_incoming(ir.Constant(INT, 0), before)
            phi.add_incoming(new, last_block)
        b.position_at_end(done)
        ended = []
        for row, new in zip(sums, running, strict=True):
            parts = []
            for phi, value in zip(row, new, strict=True):
                phi.add_incoming(zero, before)
                phi.add_incoming(value, last_block)
                end = b.phi(kind)
                end.add_incoming(zero, before)
                end.add_incoming(value, last_block)
                parts.append(end)
            ended.append(parts)
        for i, parts in enumerate(ended):
            line = self.at(C, self.mul(i, self.n))
            places = [self.at(line, o) for o in strip.offsets]
            new = [self.into(p, s, lanes, beta) for p, s in zip(places, parts, strict=True)]
            for value, place in zip(new, places, strict=True):
                b.store(value, place, align=self.bytes)

    def into(self, place: Any, s: Any, lanes: int, beta: Any) -> Any:
        """The new entries of C: fma(alpha, s, beta C). What C holds does not count where beta is 0."""
        alpha = (
            None if isinstance(self.alpha, float) and self.alpha == 1.0 else self.repeat(self.alpha, lanes)
        )
        if isinstance(beta, float) and beta == 0.0:
            return s if alpha is None else self.b.fmul(alpha, s)
        old = self.load(place, lanes)
        if not isinstance(beta, float):
            zero = ir.Constant(old.type, [0.0] * lanes)
            none = self.b.fcmp_ordered("==", beta, ir.Constant(self.real, 0.0))
            old = self.b.select(none, zero, self.b.fmul(self.repeat(beta, lanes), old))
        return self.b.fadd(old, s) if alpha is None else self.multiply_add(alpha, s, old)

    def keep(self, branch: Any) -> None:
        """Forbid LLVM to unroll a loop: the copies of a block would not fit the registers."""
        module = self.unit.module
        disable = module.add_metadata(["llvm.loop.unroll.disable"])
        identity = ir.MDValue(module, [disable], name=str(len(module.metadata)))
        identity.operands = (identity, disable)
        branch.set_metadata("llvm.loop", identity)

    # ---- copying B together

    def pack(self, panel: Any, B: Any, depth: Size, strip: _Strip) -> None:
        """Copy k rows of a strip next to each other."""
        b, lanes, width = self.b, strip.lanes, strip.width
        if not self.turned:

            def copy(q: Any) -> None:
                source, target = self.at(B, self.mul(q, self.b_row)), self.at(panel, self.mul(q, width))
                for v, o in enumerate(strip.offsets):
                    b.store(
                        self.load(self.at(source, o), lanes), self.at(target, v * lanes), align=self.bytes
                    )

            self.loop(depth, copy)
            return
        # Column j of B lies in a row: squares of lanes by lanes are turned in registers.
        squares = (
            depth // lanes * lanes if isinstance(depth, int) else b.and_(depth, ir.Constant(INT, -lanes))
        )
        assert isinstance(self.b_row, int)
        assert self.b_row == 1

        def square(q: Any) -> None:
            for v, o in enumerate(strip.offsets):
                lines = [
                    self.load(self.at(B, self.add(self.mul(self.add(o, u), self.b_col), q)), lanes)
                    for u in range(lanes)
                ]
                for u, line in enumerate(self.transposed(lines)):
                    target = self.at(panel, self.add(self.mul(self.add(q, u), width), v * lanes))
                    b.store(line, target, align=self.bytes)

        def single(q: Any) -> None:
            for v, o in enumerate(strip.offsets):
                for u in range(lanes):
                    source = self.at(B, self.add(self.mul(self.add(o, u), self.b_col), q))
                    target = self.at(panel, self.add(self.mul(q, width), v * lanes + u))
                    b.store(b.load(source, typ=self.real, align=self.bytes), target, align=self.bytes)

        self.loop(squares, square, lanes)
        self.loop(depth, single, 1, squares)

    def transposed(self, lines: list[Any]) -> list[Any]:
        """A square of vectors, turned: in log2 lanes rounds, each exchanges halves between pairs of lines."""
        lanes = len(lines)
        half = lanes // 2
        while half:
            new = list(lines)
            for i in range(lanes):
                if i & half:
                    continue
                x, y = lines[i], lines[i + half]
                low = [k if not k & half else lanes + k - half for k in range(lanes)]
                high = [k + half if not k & half else lanes + k for k in range(lanes)]
                kind = ir.VectorType(_I32, lanes)
                new[i] = self.b.shuffle_vector(x, y, ir.Constant(kind, low))
                new[i + half] = self.b.shuffle_vector(x, y, ir.Constant(kind, high))
            lines = new
            half //= 2
        return lines

    # ---- columns whose number is not known

    def _columns_by_count(self, A: Any, B: Any, depth: Size, beta: Any) -> None:
        """Full vectors one at a time, and single columns for what is left."""
        lanes, b = self.full_lanes, self.b
        whole = b.and_(self.code(self.n), ir.Constant(INT, -lanes))

        def one(strip: _Strip, j: Any) -> None:
            self.pack(self.panel, self.at(B, self.mul(j, self.b_col)), depth, strip)
            C = self.at(self.C, j)
            self.blocks(self.m, 1, lambda r, i: self.block(
                r, strip, strip, self.at(C, self.mul(i, self.n)), self.at(A, self.mul(i, self.a_row)),
                self.panel, strip.lanes, depth, beta,
            ))  # fmt: skip

        self.loop(whole, lambda j: one(_Strip(lanes, (0,)), j), lanes)
        self.loop(self.n, lambda j: one(_Strip(1, (0,)), j), 1, whole)


def _known(value: Number) -> Any:
    """The number where it is fixed, else None."""
    if value.kind == "literal":
        return value.code
    return value.code.constant if isinstance(value.code, ir.Constant) else None


def mm(body: Body, arguments: Sequence[ast.expr]) -> None:
    """``mm(C, A, B, panel, m, n, k, a_row, a_col, b_row, b_col, alpha, beta, usual_m, usual_k)``.

    ``C[m, n] ← beta C + alpha A[m, k] B[k, n]``: A[i, k] is entry i·a_row + k·a_col, B[k, j] is entry
    k·b_row + j·b_col, where one of b_row and b_col is 1, and C is row-major. The entries of C are not read
    where beta is 0. `panel` is scratch memory of `PANEL` entries.
    What m and k usually are decides in which order blocks are done, nothing else.
    """
    unit = body.unit
    places = [body.place(a).code for a in arguments[:4]]
    sizes = [body.number(a) for a in arguments[4:11]]
    factors = [body.number(a) for a in arguments[11:13]]
    usual = [_known(body.number(a)) for a in arguments[13:]]
    known = [_known(x) for x in sizes]
    alpha, beta = map(_known, factors)
    fixed = [alpha if alpha == 1.0 else None, beta if beta in (0.0, 1.0) else None]
    name = "mm_" + "_".join("x" if v is None else str(v) for v in (*known, *fixed, *usual))
    real = llvm_type(unit.real)

    def write(function: Any) -> None:
        for argument in function.args[:4]:
            argument.add_attribute("noalias")
        given = function.args[4:]
        resolved = [g if v is None else v for g, v in zip(given[:7], known, strict=True)]
        alpha, beta = (g if v is None else float(v) for g, v in zip(given[7:], fixed, strict=True))
        _Product(unit.products(), function, [*resolved, *usual], alpha, beta).write()

    function = unit.product(name, VOID, [POINTER] * 4 + [INT] * 7 + [real] * 2, write)
    codes = [body.convert(x, "int64") for x in sizes] + [body.convert(x, unit.real) for x in factors]
    body.builder.call(function, [*places, *codes])


def gemm(body: Body, arguments: Sequence[ast.expr]) -> None:
    """``gemm(C, A, B, m, n, k, a_turned, a_width, b_turned, b_width, alpha, beta)``: the same by BLAS.

    Matrices are row-major; a turned one is stored as its transpose, and a width is the length of a stored
    row. BLAS thinks in columns, so it is told the transposes of everything, in the other order.
    """
    unit, b = body.unit, body.builder
    C, A, B = (body.place(a).code for a in arguments[:3])
    m, n, k = (body.convert(body.number(a), "int64") for a in arguments[3:6])
    a_turned, b_turned = (bool(_known(body.number(arguments[i]))) for i in (6, 8))
    a_width, b_width = (body.convert(body.number(arguments[i]), "int64") for i in (7, 9))
    factors = [body.convert(body.number(a), unit.real) for a in arguments[10:]]
    char, real = ir.IntType(8), llvm_type(unit.real)

    def by_reference(value: Any, type_: Any) -> Any:
        slot = body.slot(type_)
        b.store(value, slot)
        return slot

    def size(value: Any) -> Any:
        return by_reference(b.trunc(value, _I32), _I32)

    flags = [by_reference(ir.Constant(char, ord("NT"[t])), char) for t in (b_turned, a_turned)]
    alpha, beta = (by_reference(f, real) for f in factors)
    sizes = [size(x) for x in (n, m, k, b_width, a_width, n)]
    given = [*flags, *sizes[:3], alpha, B, sizes[3], A, sizes[4], beta, C, sizes[5]]
    symbol = {"f32": "backpass_sgemm", "f64": "backpass_dgemm"}[unit.real]
    b.call(unit.external(symbol, VOID, [POINTER] * 13), given)
