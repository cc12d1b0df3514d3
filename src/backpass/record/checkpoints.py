"""Checkpoints: how far apart they are, which of them stay, and where their values lie.

Each costs a write and room on the disk, and saves the steps that a visit would have to compute again. With S
steps, a write that takes as long as w of them, and m visits to come, writes and visits together take
S w / s + m s / 2 steps at a spacing of s, which is least at s = √(2 S w / m). (Young, A first order
approximation to the optimum checkpoint interval, CACM 17, 1974: there m s / 2 is the work lost to failures.)
Two bounds come before it: a write every 50 w steps costs 2 % of a run, and more is never spent; and all that
is kept must fit the budget.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from backpass.exec.base import Array
from backpass.ir import Graph
from backpass.passes import work

State = dict[str, Array]

#: Speeds that few machines pass, so that recording costs at most what is planned here: floating-point
#: operations a second, bytes moved a second by a kernel, and seconds a node by executor.
_FLOPS, _MOVED, _NODE = 100e9, 100e9, {"reference": 3e-6, "compiled": 0.1e-6}
#: What writing a checkpoint takes: flushing its file and ``run.json``; hash, copy and write, bytes a second.
_FLUSHES, _WRITTEN = 4e-3, 300e6
#: At most one part in so many of a run goes into writing checkpoints.
_SHARE = 50
#: Visits that a run is expected to have.
_VISITS = 100

#: Bytes of checkpoints in memory that are on the disk as well.
_IN_MEMORY = 32_000_000


@dataclass(frozen=True)
class Spacing:
    """Which steps have a checkpoint, the start and the end aside.

    Multiples of `first` at the beginning. Whenever more than `kept` of them would stay, every second one
    goes: a run that ends early, or has no planned end, has them as near to each other as the budget allows,
    and one that comes to its planned end has them where they are cheapest. The newest multiple of `first`
    stays until the next one is there, for a run that is killed.

    Attributes
    ----------
    first : int
        Steps from one to the next at the beginning; 0 for none.
    kept : int
        How many stay, beside the newest.

    Examples
    --------
    >>> plan = Spacing(first=10, kept=3)
    >>> [plan.at(done) for done in (10, 30, 40, 79, 80)]
    [10, 10, 20, 20, 40]
    >>> [mark for mark in range(10, 71, 10) if plan.stays(mark, 70)]
    [20, 40, 60, 70]
    """

    first: int
    kept: int

    def at(self, done: int) -> int:
        """Steps from one checkpoint that stays to the next, after so many completed steps; 0 for none."""
        if self.first < 1 or self.kept < 1:
            return 0
        over = done // self.first // (self.kept + 1)  # how often too many there are
        return self.first << over.bit_length()

    def next(self, done: int) -> int | None:
        """The first step after `done` that has a checkpoint when it is reached."""
        return (done // self.first + 1) * self.first if self.first > 0 else None

    def stays(self, mark: int, done: int) -> bool:
        """Whether the checkpoint of a step is kept after `done` completed steps."""
        spacing = self.at(done)
        if mark == 0 or (spacing and mark % spacing == 0):
            return True
        return self.first > 0 and mark == done // self.first * self.first


def step_seconds(step: Graph, batch: int, executor: str) -> float:
    """What a step takes at the least, by counted work: a pure function, of no clock."""
    counted = work(step, {"B": batch})
    node = _NODE.get(executor, min(_NODE.values()))
    return max(counted.flops / _FLOPS, counted.traffic / _MOVED) + node * len(counted.by_node)


def carried_bytes(step: Graph) -> int:
    """The size of a checkpoint."""
    return sum(step.inputs[name].array_type.nbytes for name in step.carry.values())


def spacing_for(step: Graph, batch: int, steps: int, executor: str, megabytes: float) -> Spacing:
    """Where the checkpoints of a run are cheapest; see the head of this file.

    Parameters
    ----------
    step : Graph
    batch, steps : int
        Rows of a step, and how many steps are planned.
    executor : str
    megabytes : float
        Of checkpoints on the disk: of the start, of the end, of the best, and those in between. 0 is for
        start and end alone; nothing is written in between.

    Returns
    -------
    Spacing
        A pure function of the program and its sizes.
    """
    if not megabytes or steps < 2:
        return Spacing(0, 0)
    size = max(carried_bytes(step), 1)
    write = (_FLUSHES + size / _WRITTEN) / step_seconds(step, batch, executor)  # in steps
    least = max(1, math.ceil(_SHARE * write))
    room = int(megabytes * 1e6) // size - 4  # beside the start, the best, the newest and the end
    if room < 1:
        return Spacing(min(least, steps), 0)  # only the newest, in whose place the end comes
    final = max(least, math.ceil(math.sqrt(2 * steps * write / _VISITS)), math.ceil(steps / (room + 1)))
    halvings = max(0, (final // least).bit_length() - 1)
    first = math.ceil(final / 2**halvings)
    return Spacing(first, max(1, min(room, steps // (first << halvings))))


def digest(state: Mapping[str, Array]) -> str:
    """The hash of carried values: sha256 over names, types and bytes, in the order of the names."""
    import numpy as np

    found = hashlib.sha256()
    for name in sorted(state):
        array = np.asarray(state[name])
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        found.update(f"{name}:{array.dtype.str}{list(np.shape(state[name]))};".encode())
        found.update(array.tobytes())
    return found.hexdigest()


class Checkpoints(MutableMapping[int, State]):
    """The carried values after some steps, by step; those that are on the disk are read when asked for.

    Those on the disk are in memory as well as long as they take no more than `memory` bytes there; the ones
    asked for longest ago leave it first.

    Examples
    --------
    >>> import numpy as np
    >>> marks = Checkpoints(memory=0)
    >>> marks[7] = {"W1": np.ones(2)}
    >>> marks.stored(7, lambda: {"W1": np.zeros(2)})  # as if from the disk
    >>> list(marks), marks[7]["W1"].tolist()
    ([7], [0.0, 0.0])
    """

    def __init__(self, memory: int = _IN_MEMORY) -> None:
        self.memory = memory
        self._held: dict[int, State] = {}
        self._files: dict[int, Callable[[], State]] = {}

    def stored(self, mark: int, read: Callable[[], State]) -> None:
        """Say that a checkpoint is on the disk: `read` gives it, or raises RecordError."""
        self._files[mark] = read
        self._trim()

    def _trim(self) -> None:
        """Let go of what can be read again, beyond the room that there is for it."""
        there = [mark for mark in self._held if mark in self._files]
        sizes = {mark: sum(array.nbytes for array in self._held[mark].values()) for mark in there}
        too_much = sum(sizes.values()) - self.memory
        for mark in there:
            if too_much <= 0:
                break
            too_much -= sizes[mark]
            del self._held[mark]

    def __getitem__(self, mark: int) -> State:
        state = self._held.pop(mark, None)
        if state is None:
            state = self._files[mark]()
        self._held[mark] = state  # the last to leave
        self._trim()
        return state

    def __setitem__(self, mark: int, state: State) -> None:
        self._files.pop(mark, None)
        self._held.pop(mark, None)
        self._held[mark] = state

    def __delitem__(self, mark: int) -> None:
        if mark not in self:
            raise KeyError(mark)
        self._files.pop(mark, None)
        self._held.pop(mark, None)

    def __contains__(self, mark: object) -> bool:
        return mark in self._held or mark in self._files

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._held.keys() | self._files.keys()))

    def __len__(self) -> int:
        return len(self._held.keys() | self._files.keys())
