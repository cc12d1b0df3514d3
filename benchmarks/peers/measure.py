"""All competitors of a case: made, checked against each other, and run in rounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from peers.by_hand import by_hand
from peers.cases import Array, Case, Data, Weights, cost, has, rows_for
from peers.job import Job, best_of_each, interleave, say, steps_in, worth_measuring
from peers.ours import libraries, order_of, ours
from peers.products import products_alone
from peers.scikit import scikit_learn

_SAME_STEPS, _SAME = 100, 1e-3  # after so many steps all costs must agree so well


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float  #: of a call of backpass, and of JAX's scan over as many steps where that takes longer
    peer_seconds: float  #: of a call of the others


@dataclass
class Result:
    case: Case
    data: str
    ours: list[Job]  #: with SciPy's BLAS first
    peers: list[Job]  #: the best variant of each product
    products: list[Job]
    same_steps: int  #: after these, the costs agreed
    apart: float  #: by this, relatively
    left_out: list[str] = field(default_factory=list)

    @property
    def best(self) -> Job:
        return min(self.peers, key=lambda job: job.median)


def measure(case: Case, plan: Plan) -> Result:
    say(f"  {case.name}")
    data, start = rows_for(case), case.start()
    mine = [ours(case, data, start, library) for library in libraries()]
    steps = steps_in(mine[0], plan.seconds)
    order = order_of(case, data, steps)
    others, left_out = _others(case, data, start, order)
    products = worth_measuring(products_alone(case)) if _bound(case) else []
    for job in mine + others + products:
        as_ours = job.kind == "ours" or not job.any_steps
        job.steps = steps if as_ours else steps_in(job, plan.peer_seconds, most=steps)
    same_steps = min(_SAME_STEPS, steps)
    apart = _disagreement(case, data, mine + others, same_steps)
    interleave(mine + others + products, plan.rounds)
    return Result(
        case, data.name, mine, best_of_each(others), best_of_each(products), same_steps, apart, left_out
    )


def _bound(case: Case) -> bool:
    return case.product_bound and case.optimiser == "SGD"


def _others(case: Case, data: Data, start: Weights, order: Array) -> tuple[list[Job], list[str]]:
    """Who is installed, in the variants that may be the fastest, and why something is not there."""
    left_out = []
    jobs = worth_measuring(by_hand(case, data, start, order))
    jobs += worth_measuring(scikit_learn(case, data))
    if has("torch"):
        from peers import pytorch

        eager = worth_measuring(pytorch.eager(case, data, start, order))
        compiled, why = pytorch.compiled(case, data, start, order, like=eager[0])
        jobs += [*eager, *([compiled] if compiled else [])]
        left_out += [why] if why else []
    if has("jax"):
        from peers.jax_peer import jax_jobs

        jobs += jax_jobs(case, data, start, order)
    return jobs, left_out


def _disagreement(case: Case, data: Data, jobs: list[Job], steps: int) -> float:
    """How far the costs are apart after so many steps; too far ends the benchmark."""
    costs = {job.name: cost(job.run(steps).weights, case, data) for job in jobs if job.same_start}
    wanted = costs[jobs[0].name]
    for name, found in costs.items():
        if not abs(found - wanted) <= _SAME * wanted:
            raise SystemExit(
                f"{case.name}: after {steps} steps the cost of {name} is {found:.6f}, of {jobs[0].name} "
                f"{wanted:.6f}: they do not do the same work"
            )
    return max(costs.values()) / min(costs.values()) - 1
