"""The command line ``backpass``: one file a command.

Nothing heavy is imported here or at the top of a command's file. What `backpass` says of itself needs not
even the parser, so that a person who asks for help is not made to wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from backpass.version import __version__

#: Each command: an example, and what it does.
EXAMPLES = {
    "train": ("backpass train digits", "train and test a network"),
    "show": ("backpass show digits --layers 30 --backward", "read how the error flows back"),
    "check": ("backpass check digits --layers 30,10", "compare its gradient"),
    "why": ("backpass why runs/digits-1 'W2[3,1]' --step 1000", "ask why a weight moved"),
    "value": ("backpass value runs/digits-1 'a1[0,7]' --step 1", "see what a number is made of"),
    "delta": ("backpass delta runs/digits-1 'δ1[0,7]' --step 1", "ask where an error came from"),
    "paths": ("backpass paths runs/digits-1 'W1[20,7]' --step 1", "follow it from cost to weight"),
    "flow": ("backpass flow runs/digits-1", "see it vanish or explode"),
    "blame": ("backpass blame runs/digits-1 'W2[3,1]'", "ask what made a weight what it is"),
    "influence": ("backpass influence runs/digits-1", "find labels that may be wrong"),
    "whatif": ("backpass whatif runs/digits-1 'W2[3,1]' --set 0.5", "change a number, compare"),
    "replay": ("backpass replay runs/digits-1 --verify", "compute it again, and compare"),
    "diff": ("backpass diff runs/digits-1 runs/digits-2", "see where two runs part"),
    "branch": ("backpass branch runs/digits-1 --at 500 --lr 0.001", "leave its way in a step"),
    "report": ("backpass report runs/digits-1", "write all of this on one page"),
    "predict": ("backpass predict runs/digits-1 new.npy", "use what was learned"),
    "export": ("backpass export runs/digits-1 --format numpy", "take the network elsewhere"),
    "race": ("backpass race xor", "race it against what it replaced"),
    "reproduce": ("backpass reproduce sonar", "check a published result"),
}


def example(command: str) -> str:
    """The example of a command, in a line."""
    words, what = EXAMPLES[command]
    return f"  {words:<50}   {what}"


HELP = "\n".join(
    [
        "Usage: backpass COMMAND RUN-OR-DATA [TARGET] [OPTIONS]",
        "",
        "Train neural networks by backpropagation, and ask what each number did.",
        "",
        *map(example, EXAMPLES),
        "",
        "backpass COMMAND --help tells the options of a command; --json, which all of them have, prints",
        "the result as one object in the last line. backpass --version prints the version.",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process if left out.

    Returns
    -------
    int
        The exit code: 0 done, 1 unexpected or not passed, 2 usage, 3 data, 4 model or run file, 5 diverged,
        6 disk, 130 interrupted, 143 terminated.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words in ([], ["--help"], ["-h"], ["help"]):
        print(HELP)
        return 0
    if words == ["--version"]:
        print(__version__)
        return 0
    from backpass.cli.app import run

    return run(words)


__all__ = ["EXAMPLES", "HELP", "example", "main"]
