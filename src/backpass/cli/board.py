"""A race while it runs: a table on a terminal, plain lines elsewhere; both on standard error."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from backpass.cli.output import Output, duration

if TYPE_CHECKING:
    from rich.table import Table

    from backpass.rivals.race import Lane, Race

#: Seconds between two drawings, and between two plain lines.
_DRAWN, _TOLD = 0.2, 10.0
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDE, _BAR = 24, 12


class Board:
    """Shows how far each method has come.

    Parameters
    ----------
    output : Output
    name : str
        The task.
    """

    def __init__(self, output: Output, name: str) -> None:
        self.output, self.name = output, name
        self.live: Any = None
        self.began = self.shown = time.monotonic()

    def __enter__(self) -> Board:
        console = self.output.console(stderr=True)
        if console.is_terminal and not self.output.quiet:
            from rich.live import Live

            self.live = Live(console=console, transient=True, auto_refresh=False)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, race: Race) -> None:
        """Take in where the race is."""
        now = time.monotonic()
        if self.output.quiet or now - self.shown < (_DRAWN if self.live is not None else _TOLD):
            return
        self.shown = now
        head = f"{self.name}: {race.share:.0%} of the budget"
        if race.share > 0.02:
            left = (now - self.began) * (1 - race.share) / race.share
            head += f", about {duration(left)} left"
        if self.live is not None:
            self.live.update(_table(head, race), refresh=True)
        else:
            costs = (
                f"{method.title} {_best(lanes).points[-1].cost:.3g}" for method, lanes in race.lanes.items()
            )
            self.output.console(stderr=True).print(f"{head}; cost: {', '.join(costs)}")


def _best(lanes: list[Lane]) -> Lane:
    """The lane with the lowest cost now."""
    return min(lanes, key=lambda lane: math.inf if lane.diverged else lane.points[-1].cost)


def _table(head: str, race: Race) -> Table:
    from rich.table import Table

    table = Table(title=head, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("method", "spent", "", "best size"):
        table.add_column(name, no_wrap=True)
    table.add_column("passes", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    goal = race.problem.task.goal
    for method, lanes in race.lanes.items():
        best = _best(lanes)
        cost = best.points[-1].cost
        done = sum(min(1.0, lane.spent / lane.share.amount) for lane in lanes) / len(lanes)
        table.add_row(
            method.title,
            "█" * round(done * _BAR) + "░" * (_BAR - round(done * _BAR)),
            sparkline([point.cost for point in best.points], goal),
            f"{best.method.size:g}",
            f"{best.passes:,.0f}",
            f"{cost:.4g}",
            f"learned, {_reached(best, goal):,.0f}" if cost <= goal else "",
            style="green" if cost <= goal else None,
        )
    return table


def _reached(lane: Lane, goal: float) -> float:
    """After how many passes the goal was reached."""
    return next(point.passes for point in lane.points if point.cost <= goal)


def sparkline(costs: list[float], goal: float, wide: int = _WIDE) -> str:
    """Costs as a row of blocks, on a logarithmic scale from the goal (and less) to the start (and more).

    Examples
    --------
    >>> sparkline([1.0, 0.5, 0.25, 0.1, 0.05], goal=0.1)
    '█▆▄▁▁'
    """
    some = costs if len(costs) <= wide else [costs[k * (len(costs) - 1) // (wide - 1)] for k in range(wide)]
    high, low = math.log(max(costs[0], 1.001 * goal)), math.log(goal)

    def block(cost: float) -> str:
        if not math.isfinite(cost):
            return "!"
        height = (math.log(max(cost, 1e-300)) - low) / (high - low)
        return _BLOCKS[round(min(1.0, max(0.0, height)) * (len(_BLOCKS) - 1))]

    return "".join(map(block, some))
