"""How many threads a step is divided among, and that all of them begin or none."""

from __future__ import annotations

import threading

import pytest

from backpass.errors import UsageError
from backpass.exec import threads
from backpass.exec.threads import Pace, Together, cores, threads_for
from backpass.nn import Dense, Network
from backpass.training.optimisers import SGD
from backpass.training.step import step_graph


def run(pace: Pace, steps: int, seconds: dict[int, float]) -> list[int]:
    """The threads of each of so many steps, where a step of n threads takes ``seconds[n]``."""
    taken: list[int] = []
    while len(taken) < steps:
        count, stretch = pace.next(steps - len(taken))
        assert 1 <= stretch <= steps - len(taken)
        pace.saw(count, stretch, stretch * seconds[count])
        taken += [count] * stretch
    return taken


def in_turns(pace: Pace, calls: int, steps: int, seconds: dict[int, float]) -> list[int]:
    return [count for _ in range(calls) for count in run(pace, steps, seconds)]


def test_the_faster_way_is_taken_and_the_other_tried_seldom() -> None:
    for seconds, best in (({1: 2e-4, 2: 1e-4}, 2), ({1: 1e-4, 2: 3e-4}, 1)):
        taken = in_turns(Pace(1, 2), 40, 1000, seconds)
        later = taken[2000:]
        assert later.count(best) > 0.95 * len(later)
        assert later.count(3 - best) > 0


def test_it_turns_round_when_the_processor_is_wanted_and_back() -> None:
    pace = Pace(1, 2)
    free, busy = {1: 2e-4, 2: 1e-4}, {1: 2e-4, 2: 9e-4}
    for seconds, best in ((free, 2), (busy, 1), (free, 2)):
        taken = in_turns(pace, 60, 500, seconds)
        assert taken[-5000:].count(best) > 4500


def test_one_slow_start_decides_nothing() -> None:
    pace = Pace(1, 2)
    run(pace, 32, {1: 2e-4, 2: 5e-3})  # memory is touched for the first time
    assert in_turns(pace, 10, 500, {1: 2e-4, 2: 1e-4})[1000:].count(2) > 3800


def test_where_bits_depend_on_it_the_number_stays() -> None:
    assert set(in_turns(Pace(2, 2), 20, 500, {2: 1e-3})) == {2}
    assert set(in_turns(Pace(1, 1), 20, 500, {1: 1e-3})) == {1}


def test_all_begin_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    Together(begun.append, range(1, 4)).join()
    assert sorted(begun) == [1, 2, 3]

    started: list[threading.Thread] = []

    class OnlyOne(threading.Thread):
        def start(self) -> None:
            if started:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr(threads, "Thread", OnlyOne)
    begun.clear()
    with pytest.raises(UsageError, match="BACKPASS_THREADS to 1"):
        Together(begun.append, range(1, 4))
    started[0].join()
    assert begun == []


def test_sizes_decide_and_the_environment_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(hidden: int) -> int:
        net = Network([Dense(hidden, "relu"), Dense(10, "softmax")])
        return threads_for(step_graph(net, "cross_entropy", SGD(0.1), 784, "f32"), {"B": 32})

    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.delenv("BACKPASS_THREADS", raising=False)
    assert (cores(), step(2), step(1000)) == (6, 1, 6)
    monkeypatch.setenv("BACKPASS_THREADS", "3")
    assert (cores(), step(1000)) == (3, 3)
    monkeypatch.setenv("BACKPASS_THREADS", "many")
    assert cores() == 6
