"""``backpass race``: what backpropagation replaced, side by side with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from backpass.cli.asking import Form, check_form, show
from backpass.cli.board import Board
from backpass.cli.options import FLAG, WHOLE, check_whole, default
from backpass.cli.output import Output
from backpass.cli.progress import Shares
from backpass.cli.signals import Stop
from backpass.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backpass.explain import Answer
    from backpass.rivals.method import Method
    from backpass.rivals.problem import Problem


def race(
    task: str,
    /,
    *,
    methods: Annotated[str | None, default("all that can take part")] = None,
    budget: Annotated[str | None, default("what takes a minute or two, with mnist three")] = None,
    seed: Annotated[int | None, WHOLE, default("one with which backpropagation gets there")] = None,
    mnist: Annotated[bool, FLAG] = False,
    form: Form | None = None,
) -> int:
    """Race backpropagation against what it replaced: same net, same start, same rows in the same order.

    Each method has seven step sizes, which share its budget equally; the best is charted. It pays for each
    program that it runs, in passes: the work of a forward pass over a batch.

    Parameters
    ----------
    task
        What is learned: xor, parity-4, iris, digits, company or mnist. Or scaling: how the passes to the goal
        grow with the number of weights (three minutes). Or a lesson: one-weight, batch, noise.
    methods
        Which methods, as in backprop,one-weight,spsa.
    budget
        What each method may spend: seconds, as in 60s, or passes, as in 20000.
    seed
        Of the start, the order of the rows, and what the methods draw.
    mnist
        With scaling: MNIST, too, which takes minutes.
    """
    check_whole("--seed", seed, 0)
    form = form or Form()
    check_form(form)
    output = Output(form.json)
    with Stop() as stop:
        stop.told = "before there was anything to show"
        answer, stopped = _answer(output, task, methods, budget, seed, mnist)
        show(output, answer, form)
    if stopped:
        output.note("note: stopped by Ctrl-C; this is how far they had come")
    return stop.code if stopped else 0


def _answer(
    output: Output, name: str, methods: str | None, budget: str | None, seed: int | None, mnist: bool
) -> tuple[Answer, bool]:
    """The answer, and whether it was stopped on the way."""
    from backpass.rivals.lessons import LESSONS, lesson_named
    from backpass.rivals.tasks import TASKS

    given = {"--methods": methods, "--budget": budget, "--mnist": mnist or None}
    if name in LESSONS:
        _refuse(name, {option for option, value in given.items() if value is not None})
        with Shares(output) as bar:
            return lesson_named(name)(seed=seed or 0, told=bar.show), False
    if name == "scaling":
        from backpass.rivals.scaling import scaling

        _refuse(name, {"--budget"} if budget is not None else set())
        tasks = [task for task in TASKS if task != "company" and (mnist or task != "mnist")]
        with Shares(output) as bar:
            grown = scaling(tasks, _named(methods), seed, _folder, bar.show)
        return grown, grown.stopped
    if name not in TASKS:
        raise UsageError(f"there is no race {name!r}. {nearest(name, [*TASKS, *LESSONS, 'scaling'])}")
    _refuse(name, {"--mnist"} if mnist else set())
    return _race(output, name, methods, budget, seed)


def _race(
    output: Output, name: str, methods: str | None, budget: str | None, seed: int | None
) -> tuple[Answer, bool]:
    from backpass.rivals.budget import Budget
    from backpass.rivals.budget import budget as read
    from backpass.rivals.outcome import outcome
    from backpass.rivals.problem import Problem
    from backpass.rivals.race import Race, entrants
    from backpass.rivals.tasks import task_named, usual_passes

    spend = Budget(usual_passes(name)) if budget is None else read(budget)
    chosen = _named(methods)
    problem = Problem(task_named(name, seed, _folder))
    taking_part, left_out = entrants(problem, chosen)
    if spend.unit == "seconds" or len(taking_part) > 1:
        _announce(output, problem, taking_part, str(spend))
    running = Race(problem, taking_part, spend, problem.task.seed)
    try:
        with Board(output, name) as board:
            results, stopped = running.run(board.show), False
    except KeyboardInterrupt:
        results, stopped = running.results(), True
    return outcome(problem, spend, results, left_out, stopped), stopped


def _announce(output: Output, problem: Problem, methods: Sequence[type[Method]], spend: str) -> None:
    if output.console(stderr=True).is_terminal:
        output.note(f"{problem.task.words}: {len(methods)} methods, {spend} each, for seven step sizes")


def _named(methods: str | None) -> list[type[Method]] | None:
    """The methods that were asked for, each once."""
    from backpass.rivals.methods import method_named

    if methods is None:
        return None
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise UsageError("--methods names none. For example: --methods backprop,one-weight")
    return [method_named(name) for name in dict.fromkeys(names)]


def _refuse(name: str, options: set[str]) -> None:
    if options:
        raise UsageError(f"{', '.join(sorted(options))} is no option of backpass race {name}.")


def _folder(name: str) -> Path:
    from backpass.classics.places import folder_of

    return folder_of(name)
