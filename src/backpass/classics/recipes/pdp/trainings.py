"""The nets of 1986 trained again: exclusive or, symmetry, addition, negation; `codes` has those that code.

What was not printed, mostly the range of the random weights to start from, is an option of the entry.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.recipes.pdp.printed import TRUTHS, mirrored
from backpass.classics.recipes.pdp.sweeps import (
    Floats,
    Task,
    Trained,
    median_told,
    of_solved,
    soft,
    sweep,
    unit_layer,
    words,
)
from backpass.classics.recipes.training import Examples
from backpass.explain.answer import Figure, Table
from backpass.nn import Inputs, Network, Wire, join
from backpass.pictures.curves import Line, Panel
from backpass.pictures.nets import Layer as Column
from backpass.pictures.nets import Link, net_picture

XOR = Task(words(2), soft(words(2).sum(axis=1, keepdims=True) % 2))
_LEARNED = 0.01  # the loss of a pattern below which Chauvin's runs, and those here, call it learned


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the nets of an entry are trained.

    Attributes
    ----------
    rates, momenta, starts : list of float
        η, the momentum, and the ranges ±start of the random weights and biases; where a recipe has figures
        for one setting only, it is the first of each.
    presentations : int
        Of each pattern, at most.
    seeds : int
        So many runs, from seed 0 on.
    learned : float
        A pattern is learned once its loss is below this.
    shuffled : bool
        Each sweep has an order of its own; else the patterns come as they are listed.
    """

    rates: list[float]
    momenta: list[float]
    starts: list[float]
    presentations: int
    seeds: int
    learned: float = _LEARNED
    shuffled: bool = True

    @staticmethod
    def of(classic: Classic) -> Training:
        return msgspec.convert(classic.options, type=Training)

    def runs(
        self,
        network: Callable[[float], Network],
        task: Task,
        name: str,
        told: Callable[[float, str], None],
        *,
        rate: float | None = None,
        momentum: float | None = None,
        start: float | None = None,
        together: bool = False,
    ) -> list[Trained]:
        """A run for each seed; `network` gets the range to start from."""
        rate = self.rates[0] if rate is None else rate
        momentum = self.momenta[0] if momentum is None else momentum
        start = self.starts[0] if start is None else start
        found = []
        for seed in range(self.seeds):
            told(seed / self.seeds, f"{name}, seed {seed + 1} of {self.seeds}")
            found.append(
                sweep(
                    network(start), task, rate=rate, momentum=momentum, presentations=self.presentations,
                    seed=seed, name=f"{name} seed {seed}", together=together,
                    shuffled=self.shuffled,
                )
            )  # fmt: skip
        return found

    def counts(self, runs: Sequence[Trained]) -> list[int | None]:
        """When each run had learned its patterns."""
        return [run.met(self.learned) for run in runs]


def negation() -> Examples:
    """All words of four bits; the last three are to be turned round where the first one is on."""
    rows = words(4)
    return Examples((rows, TRUTHS["negation"](rows).astype(np.float64)))


def _part(told: Told, number: int, of: int) -> Callable[[float, str], None]:
    """Tells of one part of several as its share of the whole."""
    return lambda share, words: told((number + share) / of, words)


def layered(*units: int) -> Callable[[float], Network]:
    return lambda start: Network([unit_layer(count, start) for count in units])


def _with_links_past(hidden: int, outputs: int) -> Callable[[float], Network]:
    """The inputs are wired to the output units, too."""

    def network(start: float) -> Network:
        x = Inputs()
        h = unit_layer(hidden, start)(x)
        return Network(unit_layer(outputs, start)(join(x, h)))

    return network


def _chained(hidden: int, outputs: int) -> Callable[[float], Network]:
    """Each hidden unit listens to the inputs and the hidden units before it, the outputs to all of them."""

    def network(start: float) -> Network:
        listened: list[Wire] = [Inputs()]
        for _ in range(hidden):
            listened.append(unit_layer(1, start)(join(*listened)))
        return Network(unit_layer(outputs, start)(join(*listened)))

    return network


# ------------------------------------------------------------------------------------------ exclusive or


def xor_minima(classic: Classic, told: Told) -> Measured:
    """How many random starts end in a local minimum, for the two nets of the chapter.

    Figures: for "2-2-1" and "2-1-1", ``… stuck`` (% of the starts) and ``… presentations``; ``only 2-2-1``
    (1: no start of the other net is stuck).
    """
    training = Training.of(classic)
    nets = {"2-2-1": layered(2, 1), "2-1-1": _with_links_past(1, 1)}
    figures, rows = {}, []
    for i, start in enumerate(training.starts):
        for k, (name, network) in enumerate(nets.items()):
            part = _part(told, 2 * i + k, 2 * len(training.starts))
            runs = training.runs(network, XOR, f"{name}, start {start:g}", part, start=start)
            counts = training.counts(runs)
            stuck = sum(count is None for count in counts)
            rows.append((name, f"±{start:g}", stuck, median_told(counts)))
            if i == 0:
                figures[f"{name} stuck"] = ours(100.0 * stuck / len(runs))
                figures[f"{name} presentations"] = of_solved(counts)
    figures["only 2-2-1"] = ours(all(row[2] == 0 for row in rows if row[0] == "2-1-1"))
    told(1.0, "done")
    head = (
        "net",
        "start",
        f"not learned, of {training.seeds}",
        "presentations of each pattern, median (range)",
    )
    return Measured(figures, blocks=(Table("by the range of the start", head, tuple(rows)),))


def xor_time(classic: Classic, told: Told) -> Measured:
    """How long exclusive or takes with more hidden units, and with other rates.

    Figures, one for each range to start from: ``slope`` of a line through the medians over log2 H;
    ``slope from 4``, the same without H = 2; ``straight`` (1: the line explains 80 % of the variance); the
    medians ``H = 2`` and ``H = 32``; ``slowest`` and ``quickest``, those of 8 hidden units with the least and
    the largest rate.
    """
    training = Training.of(classic)
    sizes, parts = (2, 4, 8, 16, 32), len(training.starts) * 7
    x = np.log2(sizes)
    lines, rows, slopes, late, fits = [], [], [], [], []
    ends: list[tuple[float, float]] = []
    by_rate: dict[float, list[float]] = {rate: [] for rate in training.rates[1:]}
    done = 0
    for start in training.starts:
        medians, shown = [], []
        for size in sizes:
            name = f"2-{size}-1, start {start:g}"
            runs = training.runs(layered(size, 1), XOR, name, _part(told, done, parts), start=start)
            counts = training.counts(runs)
            medians.append(statistics.median(of_solved(counts).values))
            shown.append(median_told(counts))
            done += 1
        for rate, found in by_rate.items():
            name, note = f"2-8-1, start {start:g}, rate {rate:g}", _part(told, done, parts)
            runs = training.runs(layered(8, 1), XOR, name, note, start=start, rate=rate)
            found.append(statistics.median(of_solved(training.counts(runs)).values))
            done += 1
        slope, offset = np.polyfit(x, medians, 1)
        y = np.array(medians)
        left = np.sum((offset + slope * x - y) ** 2) / np.sum((y - y.mean()) ** 2)
        slopes.append(float(slope))
        late.append(float(np.polyfit(x[1:], medians[1:], 1)[0]))
        fits.append(1 - float(left))
        ends.append((medians[0], medians[-1]))
        lines.append(Line("ours", sizes, medians, "ours"))
        rows.append((f"±{start:g}", *shown, f"{offset:.0f} {slope:+.0f} log2 H, R² {fits[-1]:.2f}"))
    law = [280 - 33 * float(v) for v in x]
    published = Line("280 − 33 log2 H", sizes, law, "published")
    rows.append(("published", *(f"{v:.0f}" for v in law), "280 −33 log2 H"))
    told(1.0, "done")
    panels = tuple(
        Panel(
            f"start ±{start:g}, median", "hidden units", "presentations of each pattern", [line, published],
            x_log=True, log=False,
        )
        for start, line in zip(training.starts, lines, strict=True)
    )  # fmt: skip
    head = ("start", *(f"H = {size}" for size in sizes), "line")
    figures = {
        "slope": ours(*slopes),
        "H = 2": ours(*(first for first, _ in ends)),
        "H = 32": ours(*(last for _, last in ends)),
        "slope from 4": ours(*late),
        "straight": ours(*(fit > 0.8 for fit in fits)),
        "slowest": ours(*by_rate[min(by_rate)]),
        "quickest": ours(*by_rate[max(by_rate)]),
    }
    table = Table("presentations of each pattern: median (range; learned)", head, tuple(rows))
    return Measured(figures, panels=panels, blocks=(table,))


# --------------------------------------------------------------------------------- symmetry, addition


def symmetry(classic: Classic, told: Told) -> Measured:
    """Symmetry of six bits with two hidden units, whole sweeps.

    Figures: ``solved`` (%), ``presentations``; of the solved nets ``1:2:4`` (%: both ratios within 10 %), and
    of these ``ratio 2``, ``ratio 4``, ``uneven mirror`` (see `printed.mirrored`); of all that are solved
    ``signs`` (hidden biases negative, the output's positive) and ``flipped`` (the two units have opposite
    signs throughout).
    """
    training = Training.of(classic)
    rows = words(6)
    task = Task(rows, (rows == rows[:, ::-1]).all(axis=1, keepdims=True).astype(np.float64))
    runs = training.runs(layered(2, 1), task, "6-2-1", told, together=True)
    counts = training.counts(runs)
    good = [run.run.weights for run, count in zip(runs, counts, strict=True) if count and run.right]
    ratios = [mirrored(w["W1"].T) for w in good]
    doubled = [
        r for r in ratios if abs(r["ratio 2"].mean / 2 - 1) < 0.1 and abs(r["ratio 4"].mean / 4 - 1) < 0.1
    ]
    told(1.0, "done")
    figures = {
        "solved": ours(100.0 * len(good) / len(runs)),
        "presentations": of_solved(counts),
        "1:2:4": ours(100.0 * len(doubled) / max(1, len(good))),
        "signs": ours(*(bool((w["b1"] < 0).all() and (w["b2"] > 0).all()) for w in good)),
        "flipped": ours(*((np.sign(w["W1"][:, 0]) == -np.sign(w["W1"][:, 1])).all() for w in good)),
    }
    figures |= {key: ours(*(r[key].mean for r in doubled)) for key in ("ratio 2", "ratio 4", "uneven mirror")}
    curves = [Line("", *_thinned(run.losses[:, 0]), "seed") for run in runs]
    panel = Panel("a line for each start", "sweep", "summed loss of the 64 words", curves, log=True)
    first = next(k for k, r in enumerate(ratios) if r in doubled)
    return Measured(figures, panels=(panel,), blocks=(_symmetric_net(good[first]),))


def _thinned(losses: Floats) -> tuple[list[int], list[float]]:
    """At most 300 points of a curve."""
    steps = range(0, len(losses), max(1, len(losses) // 300))
    return [s + 1 for s in steps], [float(losses[s]) for s in steps]


def _symmetric_net(w: dict[str, Floats]) -> Figure:
    into, out = w["W1"], w["W2"]
    columns = [
        Column("word", 6, [(f"x{k}", "") for k in range(1, 7)]),
        Column("hidden", 2, [(f"bias {b:.1f}", f"bias {b:.2f}") for b in w["b1"]]),
        Column("symmetric?", 1, [(f"bias {w['b2'][0]:.1f}", "")]),
    ]
    links = [
        Link(
            0, i, j, f"x{i + 1} to {'AB'[j]}", float(into[i, j]), float(abs(into[i, j]) / np.abs(into).max())
        )
        for i in range(6)
        for j in range(2)
    ]
    links += [
        Link(1, j, 0, f"{'AB'[j]} to the output", float(out[j, 0]), float(abs(out[j, 0]) / np.abs(out).max()))
        for j in range(2)
    ]
    told = [
        f"{'AB'[j]}: {', '.join(f'{v:.2f}' for v in into[:, j])}; bias {w['b1'][j]:.2f}".replace("-", "−")
        for j in range(2)
    ]
    svg = net_picture("Symmetry: the weights of one run", columns, links, told)
    return Figure("the weights of one run", svg, "; ".join(told))


def addition(classic: Classic, told: Told) -> Measured:
    """Two numbers of two bits added, with two hidden units and with three; see `_chained`.

    Figures: for "4-2-3" and "4-3-3", ``… solved`` and ``… stuck`` (%: in the minimum where only 11 + 11 is
    wrong and gives 100), ``4-3-3 presentations``.
    """
    training = Training.of(classic)
    rows = words(4)
    sums = 2 * rows[:, 0] + rows[:, 1] + 2 * rows[:, 2] + rows[:, 3]
    task = Task(rows, soft((sums[:, None].astype(int) >> np.arange(3)[::-1]) & 1))
    minimum = task.yes.copy()
    minimum[15] = [True, False, False]
    figures, table = {}, []
    settings = [(momentum, hidden) for momentum in training.momenta for hidden in (2, 3)]
    for k, (momentum, hidden) in enumerate(settings):
        name, part = f"4-{hidden}-3", _part(told, k, len(settings))
        label = f"{name}, momentum {momentum:g}"
        runs = training.runs(_chained(hidden, 3), task, label, part, momentum=momentum)
        counts = training.counts(runs)
        solved = sum(run.right for run in runs)
        stuck = sum(bool(((run.outputs > 0.5) == minimum).all()) for run in runs)
        table.append((name, f"{momentum:g}", solved, stuck, len(runs) - solved - stuck, median_told(counts)))
        if k < 2:
            figures[f"{name} solved"] = ours(100.0 * solved / len(runs))
            figures[f"{name} stuck"] = ours(100.0 * stuck / len(runs))
            figures[f"{name} presentations"] = of_solved(counts)
    told(1.0, "done")
    head = ("net", "momentum", "solved", "11 + 11 = 100", "otherwise wrong", "presentations, median (range)")
    return Measured(figures, blocks=(Table(f"{training.seeds} starts each", head, tuple(table)),))
