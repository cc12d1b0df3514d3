"""A network as a PyTorch module.

The printed program is read as Python and written again for PyTorch: a product with a weight and its bias
becomes an `nn.Linear`, functions of NumPy become those of torch, and whatever has no other form stays the
expression that it is. So every network that prints can be exported, and the module reads like the program.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.export.contents import Contents, header
from backpass.export.shared import STANDARD, beside, constants, shared, usage
from backpass.version import __version__

#: Functions of a printed program, and what PyTorch has for them. {0} is all arguments, {a} the first.
FUNCTIONS = {
    "abs": "torch.abs({0})",
    "argmax": "torch.argmax({0})",
    "broadcast_to": "torch.broadcast_to({0})",
    "clip": "torch.clip({0})",
    "concatenate": "torch.cat({0})",
    "cos": "torch.cos({0})",
    "cumsum": "torch.cumsum({0})",
    "einsum": "torch.einsum({0})",
    "elu": "nn.functional.elu({0})",
    "equal": "torch.eq({0})",
    "erf": "torch.erf({0})",
    "exp": "torch.exp({0})",
    "expm1": "torch.expm1({0})",
    "float32": "{a}.to(torch.float32)",
    "float64": "{a}.to(torch.float64)",
    "gelu": "nn.functional.gelu({0})",
    "gelu_tanh": "nn.functional.gelu({0}, approximate='tanh')",
    "hard_tanh": "nn.functional.hardtanh({0})",
    "int64": "{a}.long()",
    "leaky_relu": "nn.functional.leaky_relu({0})",
    "log": "torch.log({0})",
    "log1p": "torch.log1p({0})",
    "log_softmax": "torch.log_softmax({0}, dim=-1)",
    "matmul": "torch.matmul({0})",
    "max": "torch.amax({0})",
    "maximum": "torch.maximum({0})",
    "mean": "torch.mean({0})",
    "min": "torch.amin({0})",
    "minimum": "torch.minimum({0})",
    "not_equal": "torch.ne({0})",
    "prod": "torch.prod({0})",
    "relu": "torch.relu({0})",
    "reshape": "torch.reshape({0})",
    "selu": "nn.functional.selu({0})",
    "sigmoid": "torch.sigmoid({0})",
    "sign": "torch.sign({0})",
    "silu": "nn.functional.silu({0})",
    "sin": "torch.sin({0})",
    "softmax": "torch.softmax({0}, dim=-1)",
    "softplus": "nn.functional.softplus({0})",
    "softsign": "nn.functional.softsign({0})",
    "sqrt": "torch.sqrt({0})",
    "stack": "torch.stack({0})",
    "sum": "torch.sum({0})",
    "tanh": "torch.tanh({0})",
    "transpose": "torch.permute({0})",
    "where": "torch.where({0})",
}

#: The same beside a bare number, which PyTorch's own function does not take.
BESIDE_A_NUMBER = {"maximum": "torch.clamp({a}, min={b})", "minimum": "torch.clamp({a}, max={b})"}
_OF_A_NUMBER = {f"float{n}": f"torch.tensor({{a}}, dtype=torch.float{n})" for n in (32, 64)}

#: A normalisation as it is printed, in one or two lines before ``z2 = γ2 * n2 + β2``.
_BATCH = re.compile(r"\((?P<x>.+) - (?P<mean>\w+)\) / sqrt\((?P<var>\w+) \+ (?P<eps>[\d.e-]+)\)")
_CENTRED = re.compile(r"(?P<x>\w+) - mean\((?P=x), axis=(?P<axis>\d+)\)\[(?:slice|:|, |None)+\]")
_LAYER = re.compile(
    r"(?P<v>\w+) / sqrt\(mean\((?P=v) \*\* 2, axis=(?P<axis>\d+)\) \+ (?P<eps>[\d.e-]+)\)\[(?::|, |None)+\]"
)
_SCALED = re.compile(r"(?P<gamma>\w+) \* (?P<n>\w+) \+ (?P<beta>\w+)")


def files(found: Contents) -> dict[str, bytes]:
    """``model.py`` and ``weights.safetensors``, whose names and shapes are those of the module."""
    from safetensors.numpy import save

    module = translated(found)
    about = header(
        [
            found.summary,
            f"Written by backpass {__version__}. Needs PyTorch, safetensors and, beside this file,",
            "weights.safetensors; not backpass.",
            "",
            *usage(found, "model"),
            "For more training: model.load() gives the module.",
        ]
    )
    imports = [*STANDARD, "import torch", "from torch import nn"]
    parts = [constants(found), "\n", module.source(), "\n", _NETWORK, "\n", shared(found)]
    text = "\n".join([about, "", *imports, "", *parts])
    return {"model.py": text.encode(), "weights.safetensors": save(module.state), **beside(found)}


_NETWORK = '''\
def load():
    """The module with its weights, ready to predict."""
    from safetensors.torch import load_file

    model = Model().to(getattr(torch, DTYPE))
    model.load_state_dict(load_file(Path(__file__).with_name("weights.safetensors")))
    return model.eval()


def network(x):
    """The outputs for prepared rows."""
    with torch.no_grad():
        return load()(torch.from_numpy(x)).numpy()'''


@dataclass
class Module:
    """An `nn.Module` being written.

    Attributes
    ----------
    made : dict of str to str
        The attributes, in order, and the lines that make them.
    state : dict of str to array
        The state dict.
    body : list of str
        The lines of ``forward``.
    functions : list of str
        Definitions that the body calls.
    """

    made: dict[str, str] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)

    def source(self) -> str:
        made = [f"        {line}" for line in self.made.values()]
        return "\n".join(
            [
                *(f"{definition}\n\n" for definition in self.functions),
                "class Model(nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                *made,
                "",
                "    def forward(self, x):",
                *(f"        {line}" for line in self.body),
            ]
        )


def translated(found: Contents) -> Module:
    """The printed program of a network as a module."""
    text = found.graph.text()
    notes = [line.partition("  # ")[2] for line in text.split("\n")]
    whole = ast.parse(text)
    defined = {f.name: f for f in whole.body if isinstance(f, ast.FunctionDef)}
    program = [s for s in whole.body if isinstance(s, ast.Assign)]
    module = Module()
    norms, dropped = _norms(program, found)
    translator = _Translator(found, module, program, defined)
    lines = []
    for statement in program:
        if _name(statement) in dropped:
            continue
        if _name(statement) in norms:
            statement.value = translator.norm(norms[_name(statement)])
        else:
            statement.value = translator.visit(statement.value)
        lines.append((ast.unparse(statement), notes[statement.lineno - 1]))
    width = max(len(line) for line, _ in lines)
    module.body += [f"{line:<{width}}  # {note}" if note else line for line, note in lines]
    module.body.append(f"return {found.output}")
    return module


def _name(statement: ast.Assign) -> str:
    return ast.unparse(statement.targets[0])


@dataclass(frozen=True)
class _Norm:
    """A normalisation of the program: what goes in, and the names of its arrays."""

    x: str
    gamma: str
    beta: str
    eps: float
    mean: str = ""
    var: str = ""


def _uses(program: list[ast.Assign]) -> Counter[str]:
    """How often each name is read in the program, its functions apart: they have names of their own."""
    nodes = [n for statement in program for n in ast.walk(statement.value)]
    return Counter(n.id for n in nodes if isinstance(n, ast.Name))


def _norms(program: list[ast.Assign], found: Contents) -> tuple[dict[str, _Norm], set[str]]:
    """The normalisations by the name of their value, and the lines that they make superfluous."""
    lines = {_name(s): ast.unparse(s.value) for s in program}
    uses = _uses(program)
    norms: dict[str, _Norm] = {}
    dropped: set[str] = set()
    for name, written in lines.items():
        scaled = _SCALED.fullmatch(written)
        if scaled is None or uses[scaled["n"]] != 1 or len(found.graph[name].shape) != 2:
            continue
        gamma, beta, n = scaled["gamma"], scaled["beta"], scaled["n"]
        if not {gamma, beta} <= found.weights.keys():
            continue
        inner = lines.get(n, "")
        if (batch := _BATCH.fullmatch(inner)) and {batch["mean"], batch["var"]} <= found.weights.keys():
            norms[name] = _Norm(batch["x"], gamma, beta, float(batch["eps"]), batch["mean"], batch["var"])
            dropped.add(n)
        elif (layer := _LAYER.fullmatch(inner)) and layer["axis"] == "1" and uses[layer["v"]] == 2:
            centred = _CENTRED.fullmatch(lines.get(layer["v"], ""))
            if centred is not None and centred["axis"] == "1":
                norms[name] = _Norm(centred["x"], gamma, beta, float(layer["eps"]))
                dropped |= {n, layer["v"]}
    return norms, dropped


def _linear(node: ast.AST) -> tuple[ast.expr, str, str | None] | None:
    """The parts of ``h @ W + b`` or ``h @ W``: h, and the names of W and b."""
    bias: str | None = None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and isinstance(node.right, ast.Name):
        bias, node = node.right.id, node.left
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and isinstance(node.right, ast.Name):
        return node.left, node.right.id, bias
    return None


def _whole_layers(program: list[ast.Assign], found: Contents) -> dict[str, str | None]:
    """The weights that are used as a linear layer wherever they are used, with their biases."""
    uses = _uses(program)
    pairs: Counter[tuple[str, str | None]] = Counter()
    inside: set[int] = set()
    for node in (
        n for s in program for n in ast.walk(s.value)
    ):  # outer nodes first, so h @ W + b is seen before its h @ W
        part = _linear(node) if id(node) not in inside else None
        if part is None:
            continue
        _, weight, bias = part
        shapes = [found.weights[name].ndim if name in found.weights else 0 for name in (weight, bias) if name]
        if bias is not None and shapes != [2, 1]:
            continue  # a sum with something that is no bias: its product is seen by itself
        if bias is not None:
            inside.add(id(node.left))  # type: ignore[attr-defined]
        if shapes[0] == 2:
            pairs[weight, bias] += 1
    return {
        weight: bias
        for (weight, bias), times in pairs.items()
        if times == uses[weight] and (bias is None or times == uses[bias])
    }


class _Translator(ast.NodeTransformer):
    """Writes expressions of NumPy as expressions of PyTorch, and notes the layers that they need."""

    def __init__(
        self,
        found: Contents,
        module: Module,
        program: list[ast.Assign],
        defined: dict[str, ast.FunctionDef],
    ) -> None:
        self.found, self.module, self.defined = found, module, defined
        self.whole = _whole_layers(program, found)
        self.trained = found.graph.inputs_of_kind("parameter")
        self.layers: dict[str, str] = {}

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        part = _linear(node)
        if part is not None and part[1] in self.whole and self.whole[part[1]] == part[2]:
            h, weight, bias = part
            return _expression(f"self.{self.layer(weight, bias)}({{0}})", self.visit(h))
        self.generic_visit(node)
        return node

    def layer(self, weight: str, bias: str | None) -> str:
        """The name of the linear layer with this weight, which is made when it is first met."""
        W = self.found.weights[weight]
        rest = "" if bias is not None else ", bias=False"
        arrays = {"weight": (weight, np.ascontiguousarray(W.T))}
        if bias is not None:
            arrays["bias"] = (bias, self.found.weights[bias])
        return self.made("layer", f"nn.Linear({W.shape[0]}, {W.shape[1]}{rest})", arrays)

    def norm(self, norm: _Norm) -> ast.expr:
        """A normalisation layer, called."""
        arrays = {key: (name, self.found.weights[name]) for key, name in
                  (("weight", norm.gamma), ("bias", norm.beta))}  # fmt: skip
        kind = "LayerNorm"
        if norm.mean:
            kind = "BatchNorm1d"
            arrays["running_mean"] = (norm.mean, self.found.weights[norm.mean])
            arrays["running_var"] = (norm.var, self.found.weights[norm.var])
        how = f"nn.{kind}({self.found.weights[norm.gamma].size}, eps={norm.eps!r})"
        name = self.made("norm", how, arrays)
        if norm.mean:
            self.module.state[f"{name}.num_batches_tracked"] = np.array(0)
        x = self.visit(ast.parse(norm.x, mode="eval").body)
        return _expression(f"self.{name}({{0}})", x)

    def made(self, kind: str, how: str, arrays: dict[str, tuple[str, Array]]) -> str:
        """The attribute that holds these arrays; made when it is first met, so shared weights stay shared."""
        first = arrays["weight"][0]
        if first not in self.layers:
            number = "".join(c for c in first if c.isdigit()) or str(len(self.layers) + 1)
            name = self.layers[first] = f"{kind}{number}"
            frozen = ".requires_grad_(False)" if first not in self.trained else ""
            names = ", ".join(printed for printed, _ in arrays.values())
            self.module.made[name] = f"self.{name} = {how}{frozen}  # {names}"
            for key, (_, array) in arrays.items():
                self.module.state[f"{name}.{key}"] = array
        return self.layers[first]

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        table, index = node.value, node.slice
        if isinstance(table, ast.Name) and ast.unparse(index).startswith("int64("):
            E = self.found.weights.get(table.id)
            if E is not None and E.ndim == 2:
                how = f"nn.Embedding({E.shape[0]}, {E.shape[1]})"
                name = self.made("embedding", how, {"weight": (table.id, E)})
                return _expression(f"self.{name}({{0}})", self.visit(index))
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.found.weights:
            return node
        if node.id not in self.module.made:
            array = self.found.weights[node.id]
            zeros = f"torch.zeros({array.shape})"
            if node.id in self.trained:
                self.module.made[node.id] = f"self.{node.id} = nn.Parameter({zeros})"
            else:  # running statistics, and weights that do not learn
                self.module.made[node.id] = f'self.register_buffer("{node.id}", {zeros})'
            self.module.state[node.id] = array
        return _expression(f"self.{node.id}")

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not isinstance(node.func, ast.Name):
            self.generic_visit(node)
            return node
        name = node.func.id
        for keyword in node.keywords if name in FUNCTIONS else ():
            keyword.arg = {"axis": "dim", "keepdims": "keepdim"}.get(str(keyword.arg), keyword.arg)
        node.args = [self.visit(a) for a in node.args]
        node.keywords = [self.visit(k) for k in node.keywords]
        if name in FUNCTIONS:
            form = FUNCTIONS[name]
            if any(_is_number(a) for a in node.args[-1:]):
                form = BESIDE_A_NUMBER.get(name, _OF_A_NUMBER.get(name, form))
            first, *others = (ast.unparse(a) for a in [*node.args, *node.keywords])
            form = form.replace("{0}", ", ".join([first, *others]))
            return _expression(form.replace("{a}", first).replace("{b}", "".join(others)))
        if name in self.defined:
            definition = self.defined.pop(name)
            self.module.functions.append(ast.unparse(self.generic_visit(definition)))
            return node
        if any(f.startswith(f"def {name}(") for f in self.module.functions):
            return node
        raise UsageError(
            f"the program calls {name}, for which PyTorch's export has no form yet:\n  {ast.unparse(node)}\n"
            "  Export as 'numpy', which can write every network."
        )


def _is_number(node: ast.expr) -> bool:
    """Whether an expression is a bare number, negative ones too."""
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _expression(text: str, *parts: ast.expr) -> ast.expr:
    """The expression of a text, with other expressions in its places."""
    for number, part in enumerate(parts):
        text = text.replace(f"{{{number}}}", ast.unparse(part))
    return ast.parse(text, mode="eval").body
