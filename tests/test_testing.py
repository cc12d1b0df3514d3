"""The checks themselves: they find what is wrong, and are not fooled by rounding, kinks or tiny gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest
from textbook import NETS, fed

from backpass.errors import GraphError, RuleError
from backpass.exec.reference import Reference, ReferenceFunction
from backpass.ir import Elementwise, Graph, Node, Op, Sample
from backpass.ops import Mean, Relu, Sum, Tanh, Where, data, parameter
from backpass.passes import backward
from backpass.testing import check_executor, check_gradients, check_op, run_text, same_bits


@pytest.mark.parametrize("name", NETS)
def test_every_gradient_of_every_textbook_net(name: str) -> None:
    """f32 programs too: they are checked in f64."""
    step = NETS[name]()
    report = check_gradients(step, "C", None, fed(step, {"B": 6, "T": 3}), limit=60)
    assert report.passed, str(report)
    assert report.worst.error < 1e-7


def test_every_entry_is_checked_unless_a_limit_is_given() -> None:
    step = NETS["exclusive_or"]()
    feeds = fed(step, {"B": 4})
    whole = check_gradients(step, "C", ["W1", "W2"], feeds)
    assert (whole.checked, whole.of) == (6, 6)
    assert whole.worst.name.startswith(("W1[", "W2["))
    some = check_gradients(step, "C", None, feeds, limit=5)
    assert (some.checked, some.of) == (5, 9)
    assert some == check_gradients(step, "C", None, feeds, limit=5)
    assert str(whole).startswith("6 of 6 gradients agree with finite differences; the worst is W")


def wrong_step(factor: float, offset: float = 0.0) -> tuple[Graph, dict[str, np.ndarray]]:
    """A program whose own gradient is off in the one entry W1[1,0]."""
    x, W = data("x", "f64[B,3]"), parameter("W1", "f64[3,2]")
    step = backward(Graph({"C": Mean()(Tanh()(x @ W))}), "C", ["W1"], prefix="right_d")
    mask = data("mask", "f64[3,2]")
    graph = Graph({"C": step["C"], "dW1": step["right_dW1"] * (1.0 + factor * mask) + offset * mask})
    rng = np.random.default_rng(0)
    one = np.zeros((3, 2))
    one[1, 0] = 1
    return graph, {"x": rng.standard_normal((5, 3)), "W1": rng.standard_normal((3, 2)), "mask": one}


@pytest.mark.parametrize("factor", [-2.0, -1.0, 1e-3, 1e-5])
def test_one_wrong_entry_is_found_and_named(factor: float) -> None:
    report = check_gradients(wrong_step(factor)[0], "C", ["W1"], wrong_step(factor)[1])
    assert not report.passed
    assert report.worst.name == "W1[1,0]"
    assert report.worst.error == pytest.approx(abs(factor) / max(1, abs(1 + factor)), rel=0.2)
    assert "DO NOT agree" in str(report)


def test_the_error_says_how_many_digits_agree() -> None:
    graph, feeds = wrong_step(1e-8)
    assert check_gradients(graph, "C", ["W1"], feeds).passed
    assert not check_gradients(graph, "C", ["W1"], feeds, tolerance=1e-9).passed


def tiny(scale: float, wrong: bool) -> Any:
    """A net whose gradients are about `scale`, a cost near 1."""
    x, w = data("x", "f64[B]"), parameter("w", "f64[]")
    step = backward(Graph({"C": 1.0 + scale * Sum()(Tanh()(x * w))}), "C", ["w"], prefix="right_d")
    graph = Graph({"C": step["C"], "dw": step["right_dw"] * (-1.0 if wrong else 1.0)})
    return check_gradients(graph, "C", ["w"], {"x": np.array([0.3, 0.5]), "w": np.array(0.7)})


def test_tiny_gradients_are_judged_by_the_rounding_of_the_cost() -> None:
    for scale in (1.0, 1e-4, 1e-8, 1e-12, 0.0):
        assert tiny(scale, wrong=False).passed, scale
    for scale in (1.0, 1e-4, 1e-8):
        assert not tiny(scale, wrong=True).passed, scale
    assert tiny(1e-16, wrong=True).passed  # nobody could tell
    assert tiny(1e-12, wrong=False).floor > 1e-12  # and the report says so


def test_a_gradient_that_is_zero_and_should_not_be_is_wrong_by_all_of_it() -> None:
    graph, feeds = wrong_step(-1.0)
    assert check_gradients(graph, "C", ["W1"], feeds).worst.error == 1.0
    graph, feeds = wrong_step(0.0, offset=float("nan"))
    assert not check_gradients(graph, "C", ["W1"], feeds).passed


def test_a_kink_nearby_is_stepped_around_and_one_on_the_spot_is_reported() -> None:
    w = parameter("w", "f64[]")
    for near in (1e-2, 1e-3, -1e-4, 1e-6):
        report = check_gradients(Graph({"C": Relu()(w) + w}), "C", ["w"], {"w": np.array(near)})
        assert report.passed, str(report)
    assert not check_gradients(Graph({"C": Relu()(w) + w}), "C", ["w"], {"w": np.array(0.0)}).passed


def test_what_the_cost_does_not_read_has_gradient_zero() -> None:
    w, v = parameter("w", "f64[]"), parameter("v", "f64[2]")
    graph = Graph({"C": w * w, "loose": v})
    report = check_gradients(graph, "C", None, {"w": np.array(0.5), "v": np.ones(2)})
    assert report.passed
    assert report.checked == 3
    with pytest.raises(GraphError, match="no parameters"):
        check_gradients(Graph({"C": data("x", "f64[]") * 2.0}), "C", None, {"x": np.array(1.0)})


# ---- executors


class Sloppy(Reference):
    """The reference with one thing wrong."""

    def __init__(self, how: str) -> None:
        self.how, self.calls = how, 0
        self.name = "sloppy"

    def compile(self, graph: Graph) -> Any:
        right = ReferenceFunction(graph)

        def function(feeds: Mapping[str, Any]) -> dict[str, Any]:
            self.calls += 1
            got = right(feeds)
            C = got["C"]
            if self.how == "value":
                got["C"] = C * (1 + 1e-4)
            elif self.how == "type":
                got["C"] = C.astype(np.float16)
            elif self.how == "shape":
                got["C"] = C.reshape(1)
            elif self.how == "name":
                del got["C"]
            elif self.how == "restless":
                got["C"] = np.nextafter(C, 9, dtype=C.dtype) if self.calls % 2 else C
            elif self.how == "nan":
                got["C"] = C * np.float32("nan")
            elif self.how == "writes":
                feeds["x"][...] = 0
            return got

        return function


def test_an_executor_that_is_right_passes() -> None:
    step = NETS["digits"]()
    assert check_executor(Reference(), step, fed(step, {"B": 3})) == 0.0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("value", "C differs from the reference by 1.0e-04"),
        ("type", "C is float16"),
        ("shape", r"C is float32\(1,\)"),
        ("name", "the outputs are a2"),
        ("restless", "a second call with the same feeds gives another C"),
        ("nan", "C differs from the reference by inf"),
        ("writes", "read-only"),
    ],
)
def test_an_executor_that_is_not_is_caught(how: str, message: str) -> None:
    step = NETS["digits"]()
    with pytest.raises((RuleError, ValueError), match=message):
        check_executor(Sloppy(how), step, fed(step, {"B": 3}))


def test_a_looser_tolerance_can_be_asked_for() -> None:
    step = NETS["digits"]()
    assert check_executor(Sloppy("value"), step, fed(step, {"B": 3}), rtol=1e-3) == pytest.approx(
        1e-4, rel=0.1
    )


def test_same_bits() -> None:
    a = {"x": np.array([0.0, np.nan])}
    assert same_bits(a, {"x": np.array([0.0, np.nan])}) is None
    assert same_bits(a, {"x": np.array([-0.0, np.nan])}) == "x"
    assert same_bits(a, {"x": np.array([0.0, np.nan], np.float32)}) == "x"
    assert same_bits(a, {}) == same_bits({}, a) == "x"
    assert same_bits({"i": np.arange(3)}, {"i": np.arange(3)}) is None


def test_run_text_gives_the_outputs_by_their_own_names() -> None:
    graph = Graph({"δ1": data("x", "f64[B]") * 2.0})
    assert run_text(graph, {"x": np.ones(2)}, "ascii")["δ1"].tolist() == [2, 2]


@pytest.mark.parametrize(("notation", "shown"), [("bent({0})", False), ("bent({0}, {slope})", True)])
def test_a_setting_that_the_notation_does_not_show_is_found(notation: str, shown: bool) -> None:
    def define() -> type[Op]:
        @final
        @dataclass(frozen=True)
        class Bent(Elementwise):
            slope: float = 0.5
            name = "bent"
            tex = "bent({0})"
            samples = (Sample((("m", "n"),), away_from=0.0),)

            def forward(self, xp: Any, /, x: Any) -> Any:
                return xp.where(x > 0, x, self.slope * x)

            def vjp(self, adj: Any, y: Node, /, x: Node) -> tuple[Node]:
                return (Where()(x > 0, adj, self.slope * adj),)

        Bent.notation = notation
        return Bent

    if shown:
        check_op(define())
    else:
        with pytest.raises(RuleError, match="its setting slope changes the value"):
            check_op(define())
