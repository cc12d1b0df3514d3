"""Every op of the registry against everything that is expected of one, and the tests themselves against
mutants: a rule with a flipped sign, a dropped or a scaled adjoint must not pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.special

from backpass.errors import RuleError, ShapeError
from backpass.exec.reference import Reference
from backpass.ir import REGISTRY, ArrayType, Elementwise, Graph, Node, Op, Sample
from backpass.ir.chain import made_since
from backpass.ops import (
    Abs,
    Add,
    Cast,
    Clip,
    Constant,
    Cos,
    CumSum,
    Divide,
    Elu,
    Equal,
    Exp,
    Expm1,
    Gate,
    Greater,
    GreaterEqual,
    HardTanh,
    Identity,
    LeakyRelu,
    Less,
    LessEqual,
    MatMul,
    Max,
    Maximum,
    Mean,
    Min,
    Minimum,
    Multiply,
    Negate,
    NotEqual,
    Power,
    Relu,
    Scan,
    Selu,
    Sigmoid,
    SigmoidCrossEntropy,
    Sign,
    Sin,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Softsign,
    Sqrt,
    Subtract,
    Sum,
    Tanh,
    Where,
    data,
    parameter,
)
from backpass.passes import backward
from backpass.testing import check_op
from backpass.testing.drawing import drawn, is_floating

OURS = {name: op for name, op in REGISTRY.all().items() if op.__module__.startswith("backpass.")}
SAMPLED = {name: op for name, op in OURS.items() if op.samples}
EVERY_SAMPLE = [
    pytest.param(op, s, id=f"{n}-{i}") for n, op in SAMPLED.items() for i, s in enumerate(op.samples)
]


#: Ops without any derivative; the others have one with respect to each floating-point input.
CONSTANT = {
    "argmax", "equal", "greater", "greater_equal", "less", "less_equal", "not_equal", "stop_gradient",
    "uniform",
}  # fmt: skip


def differentiable(op: type[Op], sample: Sample) -> bool:
    """Whether a sample has something to differentiate."""
    drawing = drawn(op, sample, np.random.default_rng(0))
    inputs = any(is_floating(x) for i, x in enumerate(drawing.xs) if i not in sample.fixed)
    return inputs and op.name not in CONSTANT and drawing.op != Cast("i64")


def test_every_op_is_sampled_or_says_why_not() -> None:
    assert [n for n, op in OURS.items() if not op.samples and not op.unsampled] == []
    assert [n for n, op in OURS.items() if op.unsampled] == ["item", "input", "size"]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("op", "sample"), EVERY_SAMPLE)
def test_op(op: type[Op], sample: Sample, seed: int, request: pytest.FixtureRequest) -> None:
    found = check_op(op, np.random.default_rng(seed), samples=[sample])
    assert max(found.first.error, found.second.error) <= 1e-8
    assert found.autodiff is not None or not differentiable(op, sample)


def test_an_op_with_settings_is_tested_on_the_samples_that_fit_it() -> None:
    assert check_op(Sum((1,))).samples == 1
    assert check_op(Relu()).samples == 1
    with pytest.raises(RuleError, match="sum has no samples"):
        check_op(Sum((0, 1)))
    assert check_op(Sum((0, 1)), samples=[Sample((("B", "n"),))]).samples == 1
    with pytest.raises(RuleError, match="item has no samples: its input is a tuple"):
        check_op(OURS["item"])


# ---- an op that breaks one promise is caught by the check for that promise


@dataclass(frozen=True)
class Honest(Elementwise):
    """x² with a factor; each test below breaks one thing about it."""

    factor: float = 0.5
    name = "honest"
    notation = "honest({0}, {factor})"
    tex = r"{factor}\,{0}^2"
    samples = (Sample((("B", "n"),)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return self.factor * x * x

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Any, ...]:
        return (adj * (2 * self.factor * x),)


def broken(**changes: Any) -> type[Op]:
    return dataclass(frozen=True)(type("Broken", (Honest,), {"name": "broken", **changes}))


def rule(expression: Callable[[Any, Any, Any, Any], Any]) -> Callable[..., Any]:
    return lambda self, adj, y, x: (expression(self, adj, y, x),)


def test_an_honest_op_of_a_user_passes() -> None:
    found = check_op(Honest)
    assert found.op == "honest"
    assert found.first.error < 1e-10
    assert check_op(Honest(3.0)).samples == 1


_OTHER = "def broken(x):\n    return x + x * x / 2 - x"

BREACHES = {
    "no samples": ({"samples": ()}, "has no samples"),
    "wrong shape": ({"infer": lambda self, x: ArrayType((), x.dtype)}, "infer says"),
    "wrong dtype": ({"forward": lambda self, xp, x: np.float64(1) * x * x}, r"infer says f32.*gives float64"),
    "no ShapeError": (
        {"infer": lambda self, x: ArrayType((x.shape[0], x.shape[1]), x.dtype)},
        "infer of input 0",
    ),
    "work is no count": ({"flops": lambda self, y, x: 1.5}, "flops gave 1.5"),
    "wrong sign": ({"vjp": rule(lambda s, adj, y, x: -(adj * (2 * s.factor * x)))}, "order 1"),
    "nearly right": ({"vjp": rule(lambda s, adj, y, x: adj * (2.0000001 * s.factor * x))}, "order 1"),
    "right in size only": ({"vjp": rule(lambda s, adj, y, x: adj * x * x / 2.0)}, "order 1"),
    "no adjoint": ({"vjp": rule(lambda s, adj, y, x: None)}, "order 1"),
    "writes another program": ({"notation": "{0} * {0}"}, "gives another y0"),
    "writes no program": ({"notation": "broken({0})", "prelude": _OTHER}, "gives another"),
    "joins what it may not": (
        {
            "joins": "add",
            "infer": lambda self, x: ArrayType(x.shape[1:], x.dtype),
            "forward": lambda self, xp, x: xp.max(x, axis=0),
        },
        "two shards of B",
    ),
    "hides that it mixes": ({"forward": lambda self, xp, x: x - xp.mean(x, axis=0)}, "two shards of B"),
}


@pytest.mark.parametrize(("changes", "message"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_caught(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        check_op(broken(**changes))


def test_a_rule_that_is_wrong_only_at_order_2_is_caught() -> None:
    """The adjoint is right, but one of the ops it is written in is not."""

    @dataclass(frozen=True)
    class Double(Elementwise):
        name, notation, tex = "double", "({0} + {0})", "2 {0}"

        def forward(self, xp: Any, /, x: Any) -> Any:
            return x + x

        def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
            return (adj,)  # half of it

    wrong = broken(vjp=rule(lambda s, adj, y, x: adj * (s.factor * Double()(x))))
    with pytest.raises(RuleError, match="order 2"):
        check_op(wrong)


def test_a_rule_that_looks_at_sizes_is_told_to_write_its_prelude() -> None:
    wrong = broken(notation="broken({0})", forward=lambda self, xp, x: x * x / x.shape[0] * x.shape[0] * 0.5)
    with pytest.raises(
        RuleError, match=r"broken: its forward rule is no single expression .* as the op's prelude"
    ):
        check_op(wrong)


def test_two_settings_of_one_function_cannot_share_a_definition() -> None:
    one = broken(notation="broken({0})")
    x = data("x", "f64[B]")
    program = Graph({"y": one(1.0)(x) + one(2.0)(x)})
    with pytest.raises(RuleError, match="broken would be defined twice, with different settings"):
        program.text()
    both = Graph({"y": Honest(1.0)(x) + Honest(2.0)(x)}).text()
    assert both.count("def honest(x, factor)") == 1
    assert "y = honest(x, 1.0) + honest(x, 2.0)" in both


def test_two_ops_of_one_name_are_refused() -> None:
    with pytest.raises(RuleError, match="two ops are named 'tanh'"):
        broken(name="tanh")


# ---- values, against functions that are not ours


@pytest.mark.parametrize(
    ("op", "theirs"),
    [
        (Sigmoid(), lambda x: scipy.special.expit(x)),
        (Softmax(), lambda x: scipy.special.softmax(x, axis=-1)),
        (Relu(), lambda x: np.clip(x, 0, None)),
    ],
)
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1000.0])
def test_value(op: Op, theirs: Callable[[Any], Any], scale: float) -> None:
    x = scale * np.random.default_rng(0).standard_normal((50, 7))
    got = Reference().compile(Graph({"y": op(data("x", "f64[B,7]"))}))({"x": x})["y"]
    assert np.allclose(got, theirs(x), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1000.0])
def test_values_of_the_cross_entropies(scale: float) -> None:
    rng = np.random.default_rng(0)
    z, t = scale * rng.standard_normal((50, 7)), rng.dirichlet(np.ones(7), 50)
    zs, ts = data("z", "f64[B,7]"), data("t", "f64[B,7]")
    got = Reference().compile(
        Graph({"s": SoftmaxCrossEntropy()(zs, ts), "b": SigmoidCrossEntropy()(zs, ts)})
    )({"z": z, "t": t})
    assert np.allclose(got["s"], -(t * scipy.special.log_softmax(z, axis=-1)).sum(-1), rtol=1e-13)
    log_sigmoid = scipy.special.log_expit
    assert np.allclose(got["b"], -(t * log_sigmoid(z) + (1 - t) * log_sigmoid(-z)).sum(-1), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_heads_stay_finite_where_exp_overflows(dtype: str) -> None:
    z, t = parameter("z", f"{dtype}[B,3]"), data("t", f"{dtype}[B,3]")
    kind = z.array_type.numpy_dtype
    feeds = {"z": np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], kind), "t": np.eye(3, dtype=kind)[[1, 0]]}
    for head in (SoftmaxCrossEntropy(), SigmoidCrossEntropy()):
        got = Reference().compile(backward(Graph({"C": Mean()(head(z, t))}), "C", ["z"]))(feeds)
        assert all(np.isfinite(v).all() for v in got.values())
        assert got["C"] > 1e3


#: Derivatives at a kink are a choice; ours, and where the choice is from. Beside it they are none.
BOTH = "JAX and PyTorch"
KINKS = [
    (Relu(), [[0.0]], [[0.0]], f"{BOTH}: relu'(0) = 0, the subgradient of smallest norm"),
    (Relu(), [[-0.0]], [[0.0]], "the same from the other side"),
    (Abs(), [[0.0]], [[0.0]], f"{BOTH}: sign(0) = 0"),
    (Sign(), [[0.0]], [[0.0]], f"{BOTH}: 0 everywhere"),
    (Maximum(), [[2.0], [2.0]], [[0.5], [0.5]], f"{BOTH}: half each"),
    (Minimum(), [[2.0], [2.0]], [[0.5], [0.5]], f"{BOTH}: half each"),
    (Maximum(), [[2.0], [1.0]], [[1.0], [0.0]], ""),
    (Minimum(), [[2.0], [1.0]], [[0.0], [1.0]], ""),
    (Max(), [[3.0, 1.0, 3.0]], [[0.5, 0.0, 0.5]], f"{BOTH} (amax): equal shares"),
    (Min(), [[3.0, 1.0, 1.0, 1.0]], [[0.0, 1 / 3, 1 / 3, 1 / 3]], f"{BOTH} (amin): equal shares"),
    (Clip(-2.0, 0.5), [[-2.0, 0.5]], [[1.0, 1.0]], "PyTorch: the bounds are inside; JAX: 1/2"),
    (Clip(-2.0, 0.5), [[-2.0000005, 0.5000005]], [[0.0, 0.0]], ""),
    (HardTanh(), [[-1.0, 1.0]], [[0.0, 0.0]], "PyTorch: the bounds are outside; JAX: 1"),
    (HardTanh(), [[-1.000001, 0.999999]], [[0.0, 1.0]], ""),
    (LeakyRelu(0.2), [[0.0]], [[0.2]], "PyTorch: the slope; JAX: 1"),
    (LeakyRelu(0.2), [[-5e-7, 5e-7]], [[0.2, 1.0]], ""),
    (Elu(2.0), [[0.0]], [[2.0]], f"{BOTH}: alpha"),
    (Elu(2.0), [[5e-7]], [[1.0]], ""),
    (Selu(), [[0.0]], [[1.0507009873554805 * 1.6732632423543772]], f"{BOTH}: scale times alpha"),
    (Selu(), [[5e-7]], [[1.0507009873554805]], ""),
    (Softsign(), [[0.0]], [[1.0]], "no kink of first order"),
    (Softplus(), [[0.0]], [[0.5]], "no kink, though there is an |x| in how it is written"),
]


def slopes(op: Op, values: list[list[float]], dtype: str = "f64") -> list[Any]:
    """The derivatives of the sum of an op's entries with respect to each input."""
    xs = [parameter(f"x{i}", ArrayType((len(v),), dtype)) for i, v in enumerate(values)]
    y = op(*xs)
    step = backward(Graph({"C": Sum()(y) if y.shape else y}), "C", [str(x.name) for x in xs])
    feeds = {str(x.name): np.array(v, x.array_type.numpy_dtype) for x, v in zip(xs, values, strict=True)}
    got = Reference().compile(step)(feeds)
    return [got[f"d{x.name}"] for x in xs]


@pytest.mark.parametrize(("op", "at", "derivative", "source"), KINKS)
def test_kink(op: Op, at: list[list[float]], derivative: list[list[float]], source: str) -> None:
    for got, wanted in zip(slopes(op, at), derivative, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=0, err_msg=source)


@pytest.mark.parametrize(("op", "at", "derivative", "source"), KINKS)
def test_kink_as_in_the_libraries_that_are_named(
    op: Op, at: list[list[float]], derivative: list[list[float]], source: str
) -> None:
    """What the table says about PyTorch, asked of PyTorch."""
    torch: Any = pytest.importorskip("torch")
    F = torch.nn.functional
    theirs = {
        "clip": lambda x: torch.clamp(x, -2.0, 0.5), "hard_tanh": F.hardtanh, "selu": F.selu,
        "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "elu": lambda x: F.elu(x, 2.0), "max": torch.amax,
        "min": torch.amin, "softsign": F.softsign, "softplus": F.softplus,
    }.get(op.name) or getattr(torch, op.name)  # fmt: skip
    xs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in at]
    theirs(*xs).sum().backward()
    for x, wanted in zip(xs, derivative, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=1e-12, atol=0, err_msg=source)


def test_what_relu_lets_back_at_the_kink() -> None:
    got = Reference().compile(Graph({"y": Gate()(data("a", "f64[3]"), data("x", "f64[3]"))}))(
        {"a": np.ones(3), "x": np.array([-1.0, 0.0, 1.0])}
    )
    assert got["y"].tolist() == [0, 0, 1]


# ---- messages


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda x, w: x @ w,
            "matmul needs (m, k) @ (k, n), got f32[B,784] @ f32[100,10]\n"
            "  matmul(x: f32[B,784], w: f32[100,10])",
        ),
        (
            lambda x, w: MatMul()(x, w, name="z2"),
            "matmul needs (m, k) @ (k, n), got f32[B,784] @ f32[100,10]\n"
            "  z2 = matmul(x: f32[B,784], w: f32[100,10])",
        ),
        (
            lambda x, w: x + w,
            "shapes do not broadcast: f32[B,784] and f32[100,10]\n  add(x: f32[B,784], w: f32[100,10])",
        ),
        (lambda x, w: Sum((2,))(x), "sum over axis (2,) does not fit f32[B,784]\n  sum(x: f32[B,784])"),
        (
            lambda x, w: SoftmaxCrossEntropy()(x, w),
            "softmax_cross_entropy needs outputs and targets of one type, got "
            "f32[B,784] and f32[100,10]\n"
            "  softmax_cross_entropy(x: f32[B,784], w: f32[100,10])",
        ),
    ],
)
def test_a_shape_error_shows_what_was_given(build: Callable[[Node, Node], Node], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        build(data("x", "f32[B,784]"), parameter("w", "f32[100,10]"))
    assert str(caught.value) == message


def test_types_of_one_program_do_not_mix() -> None:
    with pytest.raises(ShapeError, match=r"add needs inputs of one type, got f32\[B\], f64\[B\]"):
        data("x", "f32[B]") + data("y", "f64[B]")


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (("f64[B,3]", "f64[T,B,3]"), "scan needs 3 inputs, got 2"),
        (("f64[B,3]", "f64[]", "f64[3]"), "scan needs sequences of one length, got None"),
        (("f64[B,3]", "f64[T,B,4]", "f64[3]"), r"the body of scan takes x: f64\[B,3\], got f64\[B,4\]"),
        (("f64[3]", "f64[T,B,3]", "f64[3]"), r"the body of scan takes h: f64\[B,3\], got f64\[3\]"),
    ],
)
def test_what_scan_does_not_take(types: tuple[str, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Scan.samples[0].op(*(data(f"x{i}", t) for i, t in enumerate(types)))


# ---- mutants


def adjoint_mutants(op: type[Op]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The rule of an op with one adjoint flipped, dropped or scaled."""
    right = op.vjp
    changes: dict[str, Callable[[Node], Node | None]] = {
        "flipped": lambda share: -share,
        "dropped": lambda share: None,
        "scaled": lambda share: share * 1.000001,
    }
    for slot in range(_arity(op)):
        for name, change in changes.items():

            def wrong(self: Op, adj: Any, y: Any, /, *xs: Any, slot: int = slot, change: Any = change) -> Any:
                rule = list(right(self, adj, y, *xs))
                if slot < len(rule) and isinstance(rule[slot], Node):
                    rule[slot] = change(rule[slot])
                return tuple(rule)

            if any(_moves(op, wrong)):
                yield f"{op.name}: adjoint {slot} {name}", wrong


def inner_mutants(op: type[Op]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The rule of an op with one node inside it exchanged for another."""
    right = op.vjp
    swaps = {
        Add: Subtract,
        Subtract: Add,
        Multiply: Divide,
        Divide: Multiply,
        Negate: Identity,
        Gate: Multiply,
        Greater: Less,
        Less: Greater,
        GreaterEqual: LessEqual,
        LessEqual: GreaterEqual,
        Equal: NotEqual,
        Sin: Cos,
        Cos: Sin,
        Exp: Expm1,
        Sqrt: Abs,
        Tanh: Sigmoid,
        Max: Min,
        Minimum: Maximum,
    }
    for slot in range(_arity(op)):
        for at in range(12):

            def wrong(self: Op, adj: Any, y: Any, /, *xs: Any, slot: int = slot, at: int = at) -> Any:
                parts = [*adj, y, *xs] if isinstance(adj, tuple) else [adj, y, *xs]
                latest = max(n.serial for n in parts)
                rule = list(right(self, adj, y, *xs))
                if slot >= len(rule) or not isinstance(rule[slot], Node):
                    return tuple(rule)
                made = sorted(made_since(rule[slot], latest), key=lambda n: n.serial)
                new: dict[Node, Node] = {}
                for i, node in enumerate(made):
                    op = node.op
                    if i == at and type(op) in swaps:
                        op = swaps[type(op)](**op.settings())
                    elif i == at and isinstance(op, CumSum):
                        op = CumSum(op.axis, not op.reverse)
                    elif i == at and isinstance(op, Power):
                        op = Power(op.exponent + 1)
                    elif i == at and isinstance(op, Constant):
                        op = dataclasses.replace(op, value=op.value * 1.000001 + 0.000001)
                    inputs = tuple(new.get(x, x) for x in node.inputs)
                    if i == at and isinstance(op, Where):
                        inputs = (inputs[0], inputs[2], inputs[1])
                    changed = op is not node.op or inputs != node.inputs
                    new[node] = Node(op, inputs, node.type, node.name) if changed else node
                rule[slot] = new.get(rule[slot], rule[slot])
                return tuple(rule)

            if any(_moves(op, wrong)):
                yield f"{op.name}: node {at} of adjoint {slot}", wrong


def _arity(op: type[Op]) -> int:
    return max(len(s.shapes) for s in op.samples)


def _moves(op: type[Op], wrong: Callable[..., Any]) -> Iterator[bool]:
    """Whether a mutant is one: for each sample, whether its rule gives another program than the right one."""
    for sample in op.samples:
        drawing = drawn(op, sample, np.random.default_rng(0))
        one, y = drawing.op, drawing.op(*drawing.xs)
        adj: Any
        if isinstance(y.type, ArrayType):
            adj = data("adj", y.type)
        else:
            adj = tuple(data(f"adj{i}", t) for i, t in enumerate(y.type.items))
        rules = [f(one, adj, y, *drawing.xs) for f in (op.vjp, wrong)]
        texts = []
        for rule in rules:
            shares = {f"a{i}": s for i, s in enumerate(rule) if isinstance(s, Node)}
            texts.append(Graph(shares).digest)
        yield texts[0] != texts[1]


#: The zeros that sums over time start from reach the constants' adjoints only.
EQUIVALENT = {"scan: node 2 of adjoint 0", "scan: node 2 of adjoint 1"}
#: What caps the exponential of a branch that is not taken.
EQUIVALENT |= {"elu: node 3 of adjoint 0", "selu: node 0 of adjoint 0"}

MUTANTS = [
    pytest.param(op, wrong, id=name)
    for op in SAMPLED.values()
    for mutate in (adjoint_mutants, inner_mutants)
    for name, wrong in mutate(op)
    if name not in EQUIVALENT
]


def check_with_kinks(op: type[Op]) -> None:
    check_op(op)
    for kink in KINKS:  # some mutants only show there
        if type(kink[0]) is op:
            test_kink(*kink)


@pytest.mark.slow
@pytest.mark.parametrize(("op", "wrong"), MUTANTS)
def test_mutant_is_killed(op: type[Op], wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op, "vjp", wrong)
    with pytest.raises((RuleError, AssertionError), match=r"order|autograd|Not equal"):
        check_with_kinks(op)


def test_there_are_mutants_of_every_rule() -> None:
    rules = {name for name, op in SAMPLED.items() if _arity(op)} - CONSTANT - {"sign"}
    assert {p.values[0].name for p in MUTANTS} == rules
    assert len(MUTANTS) >= 390
