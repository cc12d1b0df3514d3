"""The update of a step read backwards: from what a later loss feels, to what each example did to it.

The new weights and velocities are sums: of old ones, and of gradients, each times a coefficient. So an
adjoint of the new values becomes one of the old values and of the gradients by the same coefficients, and
the adjoint of a gradient is the direction along which an example's share is taken. A coefficient is as it
was in the run: what divides a gradient, as the root of Adam's mean square, counts as given.
"""

from __future__ import annotations

from backpass.explain.tracing.inspection import dot_of, penalty_along, shares_along, sum_of
from backpass.explain.updates.terms import Term, gradients_of, terms_of_new, update_terms
from backpass.ir import Graph, Node
from backpass.ops import Abs, Sum, constant, data
from backpass.ops import functions as F
from backpass.passes import simplify


def slots_of(step: Graph) -> dict[str, list[Term]]:
    """The carried values that updates are linear in (velocities, running means), and what replaces each.

    Raises
    ------
    UsageError
        An update is no sum of parts.

    Examples
    --------
    >>> from backpass.nn import Dense, Network
    >>> from backpass.training.step import step_graph
    >>> from backpass.training.optimisers import Adam
    >>> step = step_graph(Network([Dense(1)]), "squared_error", Adam(), 3)
    >>> list(slots_of(step))
    ['m_W1', 'm_b1']
    """
    parameters = step.inputs_of_kind("parameter")
    found: dict[str, list[Term]] = {}
    waiting = [term for name in parameters for term in update_terms(step, name)]
    while waiting:
        term = waiting.pop(0)
        name = str(term.value.name)
        if term.value.op.feeds and name not in parameters and name not in found:
            found[name] = terms_of_new(step, name)
            waiting += found[name]
    return found


def step_backwards(step: Graph) -> Graph:
    """The program that goes back over one step.

    Parameters
    ----------
    step : Graph
        Of a run.

    Returns
    -------
    Graph
        Inputs: those of the step; ``after_s_W1``, carried values after it, where a coefficient reads them;
        ``felt_W1``, what a later loss feels of a move of W1, for each parameter; ``felt_v_W1``, the same of
        the new velocity. Outputs: ``shares``, shape (B,), what each example moved that loss by, now and
        through the new velocities; ``by_penalty``, ``by_decay`` and ``by_clipping``, what these did, where
        there are any; ``gross``, the sum of the absolute parts of clipping; ``before_v_W1``, what is felt of
        the velocity before the step.
    """
    parameters, slots = step.inputs_of_kind("parameter"), slots_of(step)
    gradients, read = gradients_of(step), _After(step)
    along: dict[str, list[Node]] = {name: [] for name in parameters}
    before: dict[str, list[Node]] = {name: [] for name in slots}
    parts: dict[str, list[Node]] = {}
    for name, terms in [(name, update_terms(step, name)) for name in parameters] + list(slots.items()):
        felt = data(f"felt_{name}", step.inputs[name].array_type)
        for term in terms:
            sent, source = read.sent(term, felt), str(term.value.name)
            if term.clipped is not None:
                cut = sent * (read(term.clipped) - read(term.value))
                parts.setdefault("by_clipping", []).append(Sum()(cut))
                parts.setdefault("gross", []).append(Sum()(Abs()(cut)))
            elif term.value in gradients:
                along[gradients[term.value]].append(sent)
            elif source in slots:
                before[source].append(sent)
            else:
                parts.setdefault("by_decay", []).append(dot_of([(sent, term.value)]))
    directions = {name: sum_of(sent) for name, sent in along.items()}
    outputs = {"shares": shares_along(step, directions)} | {k: sum_of(nodes) for k, nodes in parts.items()}
    penalty = penalty_along(step, directions)
    if penalty is not None:
        outputs["by_penalty"] = penalty
    outputs |= {f"before_{name}": sum_of(nodes) for name, nodes in before.items()}
    return simplify(Graph(outputs), fold=True)


def scales(step: Graph) -> dict[str, Node]:
    """How far a gradient of 1 moves each weight down, now and through what is carried on, as of one step.

    η for gradient descent, η / (1 − μ) with momentum, η / (√(s / c_s) + ε) / c_m for Adam. Inputs are those
    of the step, and ``after_s_W1`` as in `step_backwards`.
    """
    parameters, slots = step.inputs_of_kind("parameter"), slots_of(step)
    gradients, read = gradients_of(step), _After(step)

    def factors(terms: list[Term], value: Node, like: Node) -> Node | None:
        one = F.broadcast_to(constant(1.0, like.dtype), like.shape)
        found = [read.sent(t, one) for t in terms if t.value is value and t.clipped is None]
        return sum_of(found) if found else None

    found: dict[str, Node] = {}
    for gradient, name in gradients.items():
        like, terms = parameters[name], update_terms(step, name)
        ways = [factors(terms, gradient, like)]
        for slot, of_slot in slots.items():
            now, fresh, kept = (
                factors(terms, step.inputs[slot], like),
                factors(of_slot, gradient, like),
                factors(of_slot, step.inputs[slot], like),
            )
            if now is not None and fresh is not None:
                ways.append(now * fresh if kept is None else now * fresh / (1.0 - kept))
        found[name] = -sum_of([way for way in ways if way is not None])
    return found


class _After:
    """Values of a step's update, with what the step carries on as inputs: the run's kernel has them."""

    def __init__(self, step: Graph) -> None:
        names = {step.outputs[new]: old for new, old in step.carry.items()}
        self._known = {n: data(f"after_{old}", n.array_type) for n, old in names.items()}

    def __call__(self, node: Node) -> Node:
        if node not in self._known:
            inputs = tuple(self(x) for x in node.inputs)
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            self._known[node] = node if same else Node(node.op, inputs, node.type)
        return self._known[node]

    def sent(self, term: Term, felt: Node) -> Node:
        """A coefficient times an adjoint."""
        for factor in term.factors:
            felt = felt * self(factor)
        for divisor in term.divisors:
            felt = felt / self(divisor)
        return -felt if term.negative else felt
