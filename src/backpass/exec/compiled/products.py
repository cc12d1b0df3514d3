"""Small matrix products in native code: C += A B, held in registers while the sum runs.

BLAS is made for large matrices. On the small ones of a training step, calling it and packing for it costs
more than the product; here the sums of a block of C are held in registers while k multiply-adds pass over
them, and then added to it.

Every entry of C is changed in one way, whatever the other sizes, however they are cut into blocks, and for
any width of vectors: for each 256 of k in turn, ``s = fma(A[i, k], B[k, j], s)`` from s = 0 in the order of
k, and then ``C[i, j] += s``. So the result is a fixed function of the operands, and a weight is rounded once
by an update, not once by each row of the batch. (Only a processor without fused multiply-add rounds
differently.)

Compiled once for each kind of processor, kept in Numba's disk cache, and registered with LLVM by name: the
kernels that call it hold a name, neither its code nor its address.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

__all__ = ["mm_f32", "mm_f64"]


def _shape_of_block() -> tuple[int, int, int]:
    """Bytes in a vector, and the rows of a block of 2 and of 3 vectors that the registers hold."""
    given = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features()
    features = {f[1:] for f in given.split(",") if f.startswith("+")}
    if "avx512f" in features:
        return 64, 12, 8
    if "avx2" in features:
        return 32, 6, 4
    return (16, 12, 8) if "neon" in features else (16, 6, 4)


_BYTES, _ROWS_OF_2, _ROWS_OF_3 = _shape_of_block()
#: How much of k is done at a time, and from how many bytes and rows on a panel of B is copied together first.
_DEPTH, _PACKED_BYTES, _PACKED_ROWS = 256, 1 << 16, 24

_SIZE, _INT = types.intp, ir.IntType(32)
_OPTIONS = {"nopython": True, "boundscheck": False, "error_model": "numpy"}


# ---- pieces of LLVM


def _lanes_of(real: Any) -> int:
    return _BYTES // {"float": 4, "double": 8}[str(real)]


@intrinsic  # type: ignore[untyped-decorator]
def _lanes(typingctx: Any, pointer: Any) -> Any:
    """How many numbers a vector has."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(_SIZE, _lanes_of(args[0].type.pointee))

    return _SIZE(pointer), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _at(typingctx: Any, pointer: Any, i: Any) -> Any:
    """The address of entry i."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, _SIZE), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _new_panel(typingctx: Any, like: Any) -> Any:
    """Memory on the stack for `_DEPTH` rows of two vectors."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = args[0].type.pointee
        with builder.goto_entry_block():
            panel = builder.alloca(ir.ArrayType(real, 2 * _lanes_of(real) * _DEPTH))
            panel.align = 64
        return builder.bitcast(panel, real.as_pointer())

    return like(like), codegen


class _Vectors:
    """Loads, stores and multiply-adds of some lanes."""

    def __init__(self, builder: Any, real: Any, lanes: int) -> None:
        self.builder, self.kind = builder, ir.VectorType(real, lanes)
        self.bytes = {"float": 4, "double": 8}[str(real)]
        self.zero = ir.Constant(self.kind, [0.0] * lanes)
        self.firsts = ir.Constant(ir.VectorType(_INT, lanes), [0] * lanes)
        name = f"llvm.fmuladd.v{lanes}f{8 * self.bytes}"
        function = ir.FunctionType(self.kind, [self.kind] * 3)
        self.function = cgutils.get_or_insert_function(builder.module, function, name)

    def address(self, pointer: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), self.kind.as_pointer())

    def load(self, address: Any) -> Any:
        return self.builder.load(address, align=self.bytes)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, address, align=self.bytes)

    def repeat(self, number: Any) -> Any:
        undefined = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(_INT, 0))
        return self.builder.shuffle_vector(first, undefined, self.firsts)

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, y)

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        return self.builder.call(self.function, [x, y, z])


def _loop(builder: Any, stop: Any, body: Callable[[Any], None]) -> None:
    """A loop that LLVM may not unroll: its copies of a block do not fit the registers."""
    size = stop.type
    before = builder.block
    head, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", stop, size(0)), head, done)
    builder.position_at_end(head)
    i = builder.phi(size)
    body(i)
    following = builder.add(i, size(1), flags=["nuw", "nsw"])
    branch = builder.cbranch(builder.icmp_signed("<", following, stop), head, done)
    i.add_incoming(size(0), before)
    i.add_incoming(following, builder.block)
    disable = builder.module.add_metadata(["llvm.loop.unroll.disable"])
    identity = ir.MDValue(builder.module, [disable], name=str(len(builder.module.metadata)))
    identity.operands = (identity, disable)
    branch.set_metadata("llvm.loop", identity)
    builder.position_at_end(done)


def _strip(
    builder: Any, lanes: int, vectors: int, most: int, m: Any, n: Any, k: Any, c0: Any, a0: Any, a_row: Any,
    a_col: Any, b: Any, b_row: Any, last: Any,
) -> None:  # fmt: skip
    """Some columns of C += A B: vectors at 0, lanes, … and at `last`, which may overlap the one before.

    The m rows are cut into blocks of at most `most` rows that differ by one row at the most: first the
    higher, then the lower ones. A row of a block is read whole before any of it is written.
    """
    size = n.type
    vector = _Vectors(builder, c0.type.pointee, lanes)
    offsets = [*(size(lanes * v) for v in range(vectors - 1)), last]

    def block(rows: int, first: Any) -> None:
        c, a = builder.gep(c0, [builder.mul(n, first)]), builder.gep(a0, [builder.mul(a_row, first)])
        c_rows = [builder.gep(c, [builder.mul(n, size(i))]) for i in range(rows)]
        a_rows = [builder.gep(a, [builder.mul(a_row, size(i))]) for i in range(rows)]
        places = [[vector.address(row, offset) for offset in offsets] for row in c_rows]
        sums = [[cgutils.alloca_once(builder, vector.kind) for _ in offsets] for _ in range(rows)]
        for total in (total for row in sums for total in row):
            builder.store(vector.zero, total)

        def step(q: Any) -> None:
            b_place = builder.gep(b, [builder.mul(q, b_row)])
            ys = [vector.load(vector.address(b_place, offset)) for offset in offsets]
            for i in range(rows):
                x = vector.repeat(builder.load(builder.gep(a_rows[i], [builder.mul(q, a_col)])))
                for total, y in zip(sums[i], ys, strict=True):
                    builder.store(vector.multiply_add(x, y, builder.load(total)), total)

        def two_steps(q: Any) -> None:
            step(builder.mul(q, size(2)))
            step(builder.add(builder.mul(q, size(2)), size(1)))

        half = builder.lshr(k, size(1))
        _loop(builder, half, two_steps)
        with builder.if_then(builder.trunc(k, ir.IntType(1))):
            step(builder.sub(k, size(1)))
        for i in range(rows):
            new = [
                vector.add(vector.load(p), builder.load(s)) for p, s in zip(places[i], sums[i], strict=True)
            ]
            for value, place in zip(new, places[i], strict=True):
                vector.store(value, place)

    blocks = builder.sdiv(builder.add(m, size(most - 1)), size(most))
    lower = builder.sdiv(m, blocks)
    higher_blocks = builder.sub(m, builder.mul(lower, blocks))
    higher = builder.add(lower, size(1))
    with cgutils.for_range(builder, size(2)) as part:
        is_first = builder.icmp_signed("==", part.index, size(0))
        rows = builder.select(is_first, higher, lower)
        count = builder.select(is_first, higher_blocks, builder.sub(blocks, higher_blocks))
        start = builder.select(is_first, size(0), builder.mul(higher_blocks, higher))
        done = builder.append_basic_block("strip.done")
        switch = builder.switch(rows, done)
        for r in range(1, most + 1):
            case = builder.append_basic_block(f"strip.{r}")
            switch.add_case(size(r), case)
            builder.position_at_end(case)
            with cgutils.for_range(builder, count) as at:
                block(r, builder.add(start, builder.mul(at.index, size(r))))
            builder.branch(done)
        builder.position_at_end(done)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _wide(typingctx: Any, vectors: Any, m: Any, n: Any, k: Any, c: Any, a: Any, a_row: Any, a_col: Any,
          b: Any, b_row: Any, last: Any) -> Any:  # fmt: skip
    """A strip of 2 or 3 (a literal) full vectors."""
    s = _SIZE
    signature = types.void(vectors, s, s, s, c, a, s, s, b, s, s)
    count = vectors.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        most = _ROWS_OF_2 if count == 2 else _ROWS_OF_3
        _strip(builder, _lanes_of(args[4].type.pointee), count, most, *args[1:])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def _narrow(typingctx: Any, m: Any, n: Any, k: Any, c: Any, a: Any, a_row: Any, a_col: Any, b: Any) -> Any:
    """C += A B where a row is shorter than a vector: two shorter vectors, which overlap or coincide."""
    s = _SIZE
    signature = types.void(s, s, s, c, a, s, s, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        n, size = args[1], args[1].type
        lanes = _lanes_of(args[3].type.pointee) // 2
        while lanes:
            fits = builder.and_(
                builder.icmp_signed(">=", n, size(lanes)), builder.icmp_signed("<", n, size(2 * lanes))
            )
            with builder.if_then(fits):
                m, n, k, c, a, a_row, a_col, b = args
                last = builder.sub(n, size(lanes))
                _strip(builder, lanes, 2, _ROWS_OF_3, m, n, k, c, a, a_row, a_col, b, n, last)
            lanes //= 2
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def _pack(typingctx: Any, panel: Any, b: Any, n: Any, k: Any) -> Any:
    """Copy k rows of two vectors, n entries apart in b, next to each other."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        panel, b, n, k = args
        lanes = _lanes_of(b.type.pointee)
        vector, size = _Vectors(builder, b.type.pointee, lanes), n.type
        with cgutils.for_range(builder, k) as q:
            source = builder.gep(b, [builder.mul(q.index, n)])
            target = builder.gep(panel, [builder.mul(q.index, size(2 * lanes))])
            for offset in (size(0), size(lanes)):
                vector.store(vector.load(vector.address(source, offset)), vector.address(target, offset))
        return context.get_dummy_value()

    return types.void(panel, b, _SIZE, _SIZE), codegen


# ---- the product


@njit(boundscheck=False, error_model="numpy")
def _columns(c, a, b, m, n, k, a_row, a_col, panel):  # type: ignore[no-untyped-def]
    """C += A B in strips of columns, for a k of at most `_DEPTH`."""
    lanes = _lanes(c)
    wide = 2 * lanes
    packed = m >= _PACKED_ROWS and k * n * (_BYTES // lanes) >= _PACKED_BYTES
    j = 0
    while j < n:
        rest = n - j
        if wide < rest <= wide + lanes:
            _wide(3, m, n, k, _at(c, j), a, a_row, a_col, _at(b, j), n, rest - lanes)
            return
        if packed and rest > wide:
            _pack(panel, _at(b, j), n, k)
            _wide(2, m, n, k, _at(c, j), a, a_row, a_col, panel, wide, lanes)
        else:
            _wide(2, m, n, k, _at(c, j), a, a_row, a_col, _at(b, j), n, min(rest, wide) - lanes)
        j += wide


@njit(boundscheck=False, error_model="numpy")
def _product(c, a, b, m, n, k, a_row, a_col):  # type: ignore[no-untyped-def]
    if m <= 0:
        return
    panel = _new_panel(c)
    for k0 in range(0, k, _DEPTH):
        a_part, b_part, depth = _at(a, k0 * a_col), _at(b, k0 * n), min(_DEPTH, k - k0)
        if n < _lanes(c):
            _narrow(m, n, depth, c, a_part, a_row, a_col, b_part)
        else:
            _columns(c, a_part, b_part, m, n, depth, a_row, a_col, panel)


def _product_f32(c, a, b, m, n, k, a_row, a_col):  # type: ignore[no-untyped-def]
    _product(c, a, b, m, n, k, a_row, a_col)


def _product_f64(c, a, b, m, n, k, a_row, a_col):  # type: ignore[no-untyped-def]
    _product(c, a, b, m, n, k, a_row, a_col)


def _register(function: Any, real: Any) -> tuple[Any, Any]:
    """Compile a product, or load it, and give LLVM its address; what kernels call, and what must be kept."""
    pointer, symbol = types.CPointer(real), f"backpass{function.__name__}"
    signature = types.void(pointer, pointer, pointer, *[_SIZE] * 5)
    try:
        native = cfunc(signature, cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no folder for the cache that can be written
        native = cfunc(signature, **_OPTIONS)(function)
    llvmlite.binding.add_symbol(symbol, native.address)

    def mm(typingctx: Any, C: Any, A: Any, B: Any, m: Any, n: Any, k: Any, a_row: Any, a_col: Any) -> Any:
        """C[m, n] += A[m, k] B[k, n]; A[i, k] is entry i·a_row + k·a_col, and B and C are row-major."""
        for array in (C, A, B):
            if not isinstance(array, types.Array) or array.dtype != real or array.layout != "C":
                return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(3)]
            kinds = [value.type for value in (*data, *args[3:])]
            kind = ir.FunctionType(ir.VoidType(), kinds)
            builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), [*data, *args[3:]])
            return context.get_dummy_value()

        return types.void(C, A, B, *[_SIZE] * 5), codegen

    return intrinsic(mm), native


mm_f32, _kept_f32 = _register(_product_f32, types.float32)
mm_f64, _kept_f64 = _register(_product_f64, types.float64)
