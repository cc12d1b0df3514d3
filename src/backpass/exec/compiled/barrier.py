"""How the threads of a kernel wait for each other."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any

from llvmlite import ir

from backpass.exec.compiled.compiler import INT, POINTER, VOID, Body, Number, Place

_SPINS = 2000  # looks before a thread lets others have its processor
_LINE = 8  # entries apart, so that the two numbers lie on two cache lines
#: Entries of int64 that a barrier needs, all 0 at the start.
ENTRIES = 16


def barrier(body: Body, sync: Place, threads: Number) -> None:
    """No thread goes on before all have come here.

    The last to come turns the page (the second number), which the others watch.
    """

    def write(function: Any) -> None:
        b = ir.IRBuilder(function.append_basic_block("entry"))
        function.attributes.add("noinline")
        arrived, count = function.args
        page = b.gep(arrived, [ir.Constant(INT, _LINE)], source_etype=INT)
        here = b.load_atomic(page, "monotonic", 8, typ=INT)
        before = b.atomic_rmw("add", arrived, ir.Constant(INT, 1), "acq_rel")
        last, wait, look, rest, done = (
            function.append_basic_block(k) for k in ("last", "wait", "look", "rest", "done")
        )
        b.cbranch(b.icmp_signed("==", b.add(before, ir.Constant(INT, 1)), count), last, wait)
        b.position_at_end(last)
        b.atomic_rmw("xchg", arrived, ir.Constant(INT, 0), "monotonic")
        b.atomic_rmw("xchg", page, b.add(here, ir.Constant(INT, 1)), "release")
        b.branch(done)
        b.position_at_end(wait)
        looks = b.phi(INT)
        looks.add_incoming(ir.Constant(INT, 0), function.entry_basic_block)
        turned = b.icmp_signed("!=", b.load_atomic(page, "acquire", 8, typ=INT), here)
        b.cbranch(turned, done, look)
        b.position_at_end(look)
        _pause(b, body)
        more = b.add(looks, ir.Constant(INT, 1))
        looks.add_incoming(more, look)
        b.cbranch(b.icmp_signed("<", more, ir.Constant(INT, _SPINS)), wait, rest)
        b.position_at_end(rest)
        b.call(body.unit.external("backpass_yield", ir.IntType(32), []), [])
        looks.add_incoming(more, rest)
        b.branch(wait)
        b.position_at_end(done)
        b.ret_void()

    function = body.unit.internal("backpass_barrier", VOID, [POINTER, INT], write)
    body.builder.call(function, [sync.code, body.convert(threads, "int64")])


def _pause(b: Any, body: Body) -> None:
    """Tell the processor that this is a wait."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        b.call(body.unit.external("llvm.x86.sse2.pause", VOID, []), [])
    elif machine in ("arm64", "aarch64"):
        b.call(
            body.unit.external("llvm.aarch64.hint", VOID, [ir.IntType(32)]), [ir.Constant(ir.IntType(32), 1)]
        )


def yield_address() -> int:
    """Of the function by which a thread lets others have its processor."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0
