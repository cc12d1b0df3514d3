"""The compiled executor beside its peers: seconds a step, to compile, to start, and to learn MNIST.

    python benchmarks/peers.py                # all of it, and writes docs/performance.md
    python benchmarks/peers.py --rows 1,5     # only these nets
    python benchmarks/peers.py --quick        # a few steps of each, to see that it works

Peers come with `pip install -e '.[bench]'`; one that is not there is left out and named. Data: the folder
"mnist" in $BACKPASS_DATA, or in shared/data beside the repository; random numbers of that size without it.
What each competitor does is said at the end of the page, in `peers/page.py`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

# The folder "peers", which Python prefers to this file of the same name.
from peers.accuracy import learn
from peers.cases import CASES, Case
from peers.fresh import memory, starts
from peers.job import say
from peers.measure import Plan, measure
from peers.page import Results, as_json, page

ROUNDS = 5
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
FULL = {"seconds": 0.5, "peer_seconds": 0.3}
QUICK = {"seconds": 0.03, "peer_seconds": 0.01}
MEMORY_ROWS = (5, 7)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="1,2,3,4,5,6,7", help="which nets, such as 1,5")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {ROUNDS}, the default")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/performance.md")
    parser.add_argument("--quick", action="store_true", help="few steps and two rounds; writes no page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    return parser.parse_args()


def chosen(rows: str) -> list[Case]:
    known = {str(case.row) for case in CASES}
    wanted = {part.strip() for part in rows.split(",")}
    if not wanted <= known:
        raise SystemExit(f"--rows: there are the rows {', '.join(sorted(known))}, got {rows!r}")
    return [case for case in CASES if str(case.row) in wanted]


def run(cases: list[Case], plan: Plan, quick: bool) -> Results:
    results = Results(plan, wanted_accuracy=0.9 if quick else 0.97)
    say("Fresh processes")
    for case in cases:
        results.starts.append(starts(case, 1 if quick else 3))
        say(f"  {results.starts[-1]}")
        if case.row in MEMORY_ROWS and case.optimiser == "SGD":
            results.memory.append(memory(case))
            say(f"  {results.memory[-1]}")
    say("Steps")
    results.cases += [measure(case, plan) for case in cases]
    if any(case.row == 5 for case in cases):
        say("Learning MNIST")
        results.learned += learn(results.wanted_accuracy, 1 if quick else 3)
    return results


def main() -> None:
    given = options()
    cases = chosen(given.rows)
    plan = Plan(2, **QUICK) if given.quick else Plan(max(ROUNDS, given.rounds), **FULL)
    with tempfile.TemporaryDirectory(prefix="backpass-peers-") as cache:
        os.environ["BACKPASS_CACHE"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # compiling is seen
        results = run(cases, plan, given.quick)
    text = page(results)
    print(text)
    if given.json:
        given.json.write_text(as_json(results) + "\n", encoding="utf-8")
    if not (given.quick or given.no_page):
        PAGE.write_text(text, encoding="utf-8")
        say(f"written: docs/{PAGE.name}")


if __name__ == "__main__":
    main()
