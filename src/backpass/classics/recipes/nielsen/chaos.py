"""How far rounding carries: two runs of one program that differ in nothing but the order of their sums."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.recipes.mnist import Digits, digits
from backpass.classics.recipes.nielsen.curves import Net, Program, run_program
from backpass.classics.recipes.nielsen.process import Plan, Process, trained
from backpass.exec.base import Array
from backpass.pictures.curves import Line, Panel
from backpass.running.loop import Progress

#: How often two runs are compared; the batches of each case are a multiple of it.
_LOOKS = 100


class Case(Net, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A net that both executors train.

    Attributes
    ----------
    decay : float
        λ.
    batches : int
        How many it learns from.
    """

    decay: float
    batches: int


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A program of Nielsen, and the cases in which two executors are compared."""

    program: Program
    cases: tuple[Case, ...]


def chaos(classic: Classic, told: Told) -> Measured:
    """Run a program of his; then train its net with both executors, and watch how far apart they come."""
    options = msgspec.convert(classic.options, type=Options)
    whole = run_program(options.program, lambda share, words: told(0.5 * share, words))
    rows = digits("train", options.program.rows)
    panels, notes, figures = list(whole.panels), list(whole.notes), dict(whole.figures)
    for k, case in enumerate(options.cases):

        def part(share: float, words: str, k: int = k, name: str = case.name) -> None:
            told(0.5 + 0.5 * (k + share) / len(options.cases), f"{name}, {words}")

        gaps = apart(case, options.program, rows, part)
        batches = [case.batches // _LOOKS * (i + 1) for i in range(_LOOKS)]
        line = Line("two executors", batches, gaps, "ours")
        panels.append(Panel(f"{case.name}: apart by rounding", "batches", "largest |ΔW|", [line], log=True))
        figures[f"{case.name}: apart"] = ours(gaps[-1])
        notes.append(
            f"{case.name}: two of our own runs, equal but for rounding, differ by {gaps[0]:.1g} in a weight "
            f"after {batches[0]:,} batches and by {gaps[-1]:.1g} after {batches[-1]:,}."
        )
    return Measured(figures, tuple(panels), notes=tuple(notes))


def apart(case: Case, program: Program, rows: Digits, told: Told) -> list[float]:
    """The largest difference of any weight between the two executors, at each look."""
    executors: tuple[Literal["compiled", "reference"], ...] = ("compiled", "reference")
    both, used = [], case.batches * program.batch
    for k, executor in enumerate(executors):
        process, seen = Process(program.seed, program.rows), list[dict[str, Array]]()
        net = [process.net(program.sizes, start) for start in case.starts][-1]
        orders = process.orders(-(-used // program.rows)).reshape(-1)[:used].reshape(_LOOKS, -1)

        def keep(now: Progress, seen: list[dict[str, Array]] = seen) -> None:
            seen.append(dict(now.values))

        def part(share: float, words: str, k: int = k, executor: str = executor) -> None:
            told((k + share) / 2, f"{executor} executor, part {words.removeprefix('epoch ')}")

        plan = Plan(case.rate, case.decay, program.batch, executor)
        trained(net, rows, orders, plan, keep, told=part, name=f"{case.name}, {executor}")
        both.append(seen)
    return [max(float(np.max(np.abs(a[W] - b[W]))) for W in a) for a, b in zip(*both, strict=True)]
