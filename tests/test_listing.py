"""The lowered source in print: each part under its lines of the program; no native code is made."""

from __future__ import annotations

import ast
from collections.abc import Callable

import numpy as np
import pytest
from stages import LOOPS, loop_named
from textbook import NETS

from backpass.errors import NotLowered
from backpass.exec.compiled import executor
from backpass.exec.compiled.listing import Listing, listing, without_data
from backpass.ir import Graph
from backpass.ir.text import lines
from backpass.nn import Dense, Network
from backpass.ops import Mean, Reshape, Scan, data, number, parameter
from backpass.training.optimisers import Adam
from backpass.training.step import step_graph


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing makes no native code."""

    def build(*given: object, **more: object) -> None:
        raise AssertionError("native code was made")

    monkeypatch.setattr(executor, "build", build)


def listed(step: Graph, batch: int = 8) -> Listing:
    return listing(without_data(step, batch))


STEPS: dict[str, Callable[[], Graph]] = {name: lambda n=name: loop_named(n, "f32").step for name in LOOPS}  # type: ignore[misc]
STEPS["as trained"] = lambda: step_graph(Network([Dense(4), Dense(3, "softmax")]), "cross_entropy", Adam(), 5)
STEPS |= {name: net for name, net in NETS.items() if name != "recurrent"}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("split", [False, True])
def test_every_line_of_the_program_is_above_its_source(
    name: str, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: split)
    step = STEPS[name]()
    loop = without_data(step, 8)
    found = listing(loop)
    assert found.source == loop.source
    tree = ast.parse(str(found))
    (kernel,) = tree.body
    assert isinstance(kernel, ast.FunctionDef)
    assert [a.arg for a in kernel.args.args] == [a.name for a in loop.arguments]
    written = {line for block in found.blocks for line in block.program}
    program = {line.node: str(line) for line in lines(step)}
    needed = {program[n] for n in loop.cut.nodes if n in program and n.inputs}
    bodies = [n.op.body for n in loop.cut.nodes if isinstance(n.op, Scan)]
    inside = {str(line) for body in bodies for line in lines(body)}
    assert written - inside == needed | {str(line) for line in lines(step) if line.name in step.carry}
    assert bool(written & inside) == bool(bodies)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    explained = {*loop.lowered.place.values(), *loop.lowered.constants, "n_B", "from_B", "to_B", "mm"}
    assert used & explained <= found.names.keys() <= used | {a.name for a in loop.arguments}
    assert {a.name for a in loop.arguments} <= found.names.keys()


def test_parts_of_a_line_are_under_it() -> None:
    blocks = {block.program: block.source for block in listed(NETS["digits"]()).blocks}
    (product,) = blocks[("z1 = x @ W1 + b1",)]
    assert product.lstrip().startswith("mm(v6, in0, in2,")
    fused = "\n".join(blocks[("z1 = x @ W1 + b1", "a1 = sigmoid(z1)")])
    assert "exp((-(v6[" in fused
    update = blocks[("dW1 = x.T @ δ1", "W1_new = W1 - lr * dW1")]
    assert [line.lstrip()[:7] for line in update] == ["mm(in2,"]


def test_names_and_facts() -> None:
    found = listed(NETS["digits"](), 32)
    assert found.names["v6"] == "a1  f32[B,30]"
    assert found.names["in2"] == "W1  f32[64,30]"
    assert found.names["d_in0"] == "x, all rows of the data"
    assert (found.dtype, found.batch, found.threads, found.split) == ("f32", 32, 1, False)
    assert sorted(found.mm) == ["dW1", "dW2", "z1", "z2", "δ1"]
    assert found.gemm == ()
    weights = 64 * 30 + 30 + 30 * 10 + 10
    assert found.memory["held"] == 4 * weights
    assert found.memory["rows"] == 4 * 32 * (64 + 10)


def test_large_products_are_said_to_be_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backpass.exec.compiled.contractions.prefers_blas", lambda *given: True)
    found = listed(NETS["digits"]())
    assert found.mm == ()
    assert sorted(found.gemm) == ["dW1", "dW2", "z1", "z2", "δ1"]
    assert f"by BLAS (gemm: {found.blas}): z1, z2" in str(found)


def test_threads_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: True)
    monkeypatch.setattr(executor, "threads_for", lambda step, dims: 3)
    found = listed(NETS["digits"]())
    assert (found.threads, found.split) == (3, True)
    assert "divided among threads, here up to 3." in str(found)
    assert any(block.note == "threads wait for each other" for block in found.blocks)
    assert {"from_B", "to_B", "from_64"} <= found.names.keys()


def test_no_name_of_the_program_is_in_the_source() -> None:
    x, w = data("zebra", "f64[B,3]"), parameter("giraffe", "f64[3]")
    step = Graph({"C": Mean()(x), "giraffe_new": w - number("lion", "f64") * w}, {"giraffe_new": "giraffe"})
    found = listed(step)
    for name in ("zebra", "giraffe", "lion"):
        assert name not in found.source
        assert name in str(found)


def test_a_value_that_needs_no_statement_is_told() -> None:
    x, w = data("x", "f64[B,2,3]"), parameter("w", "f64[6,1]")
    z = (Reshape(("B", 6))(x, name="flat") @ w).named("z")
    step = Graph({"C": Mean()(z), "w_new": w - number("lr", "f64") * w}, {"w_new": "w"})
    (block,) = [b for b in listed(step).blocks if any(line.startswith("flat = ") for line in b.program)]
    assert block.source == ()
    assert "same memory" in block.note


def test_a_step_that_is_not_lowered_is_refused() -> None:
    with pytest.raises(NotLowered, match="one named dimension"):
        without_data(NETS["recurrent"](), 8)


def test_a_loop_is_compiled_when_it_is_made_by_the_executor() -> None:
    step, rows = NETS["digits"](), {"x": np.zeros((4, 64), "f4"), "t": np.zeros((4, 10), "f4")}
    with pytest.raises(AssertionError, match="native code was made"):
        executor.Compiled().compile_loop(step, rows, 4)
    loop = executor.CompiledLoop(step, rows, 4, "C")
    loop.load({name: np.zeros(n.shape, "f4") for name, n in loop.kept.items()})
    with pytest.raises(AssertionError, match="native code was made"):
        loop.run(np.arange(4), np.array([0, 4]), np.array([0.5]))
