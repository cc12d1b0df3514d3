"""A network as a PyTorch module.

The printed program is read as Python and written again for PyTorch: a product with a weight and its bias
becomes an `nn.Linear`, functions of NumPy become those of torch, and whatever has no other form stays the
expression that it is. So every network that prints can be exported, and the module reads like the program.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.export.contents import Contents, header
from backpass.export.shared import STANDARD, constants, shared, usage
from backpass.version import __version__

#: Functions of a printed program, and what PyTorch has for them: {0} is the call's arguments.
FUNCTIONS = {
    "abs": "torch.abs({0})",
    "exp": "torch.exp({0})",
    "log": "torch.log({0})",
    "log1p": "torch.log1p({0})",
    "matmul": "torch.matmul({0})",
    "max": "torch.amax({0})",
    "mean": "torch.mean({0})",
    "relu": "torch.relu({0})",
    "reshape": "torch.reshape({0})",
    "sigmoid": "torch.sigmoid({0})",
    "softmax": "torch.softmax({0}, dim=-1)",
    "stack": "torch.stack({0})",
    "sum": "torch.sum({0})",
    "tanh": "torch.tanh({0})",
    "where": "torch.where({0})",
}


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
            *usage("model"),
            "For more training: model.load() gives the module.",
        ]
    )
    imports = [*STANDARD, "import torch", "from torch import nn"]
    parts = [constants(found), "\n", module.source(), "\n", _NETWORK, "\n", shared()]
    text = "\n".join([about, "", *imports, "", *parts])
    return {"model.py": text.encode(), "weights.safetensors": save(module.state)}


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
    tree = ast.parse(text)
    module = Module()
    whole = _whole_layers(tree, found)
    defined = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    translator = _Translator(found, module, whole, defined)
    lines = []
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            note = notes[statement.lineno - 1]
            lines.append((ast.unparse(translator.visit(statement)), note))
    width = max(len(line) for line, _ in lines)
    module.body += [f"{line:<{width}}  # {note}" if note else line for line, note in lines]
    module.body.append(f"return {found.output}")
    return module


def _linear(node: ast.AST) -> tuple[ast.expr, str, str | None] | None:
    """The parts of ``h @ W + b`` or ``h @ W``: h, and the names of W and b."""
    bias: str | None = None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and isinstance(node.right, ast.Name):
        bias, node = node.right.id, node.left
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and isinstance(node.right, ast.Name):
        return node.left, node.right.id, bias
    return None


def _whole_layers(tree: ast.Module, found: Contents) -> dict[str, str | None]:
    """The weights that are used as a linear layer wherever they are used, with their biases."""
    uses = Counter(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))
    pairs: Counter[tuple[str, str | None]] = Counter()
    inside: set[int] = set()
    for node in ast.walk(tree):  # outer nodes first, so h @ W + b is seen before its h @ W
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
        whole: dict[str, str | None],
        defined: dict[str, ast.FunctionDef],
    ) -> None:
        self.found, self.module, self.whole, self.defined = found, module, whole, defined
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
        if weight not in self.layers:
            name = self.layers[weight] = f"layer{len(self.layers) + 1}"
            W = self.found.weights[weight]
            rest = "" if bias is not None else ", bias=False"
            frozen = ".requires_grad_(False)" if weight not in self.trained else ""
            made = f"self.{name} = nn.Linear({W.shape[0]}, {W.shape[1]}{rest}){frozen}"
            self.module.made[name] = f"{made}  # {weight}" + (f", {bias}" if bias else "")
            self.module.state[f"{name}.weight"] = np.ascontiguousarray(W.T)
            if bias is not None:
                self.module.state[f"{name}.bias"] = self.found.weights[bias]
        return self.layers[weight]

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
            arguments = ", ".join(ast.unparse(a) for a in [*node.args, *node.keywords])
            return _expression(FUNCTIONS[name].replace("{0}", arguments))
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


def _expression(text: str, *parts: ast.expr) -> ast.expr:
    """The expression of a text, with other expressions in its places."""
    for number, part in enumerate(parts):
        text = text.replace(f"{{{number}}}", ast.unparse(part))
    return ast.parse(text, mode="eval").body
