"""The app, and what becomes of its errors: a message and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from cyclopts import (
    App,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnusedCliTokensError,
)

from backpass import __version__
from backpass.cli import HELP, example
from backpass.cli.blame import blame
from backpass.cli.branch import branch
from backpass.cli.check import check
from backpass.cli.delta import delta
from backpass.cli.diff import diff
from backpass.cli.export import export
from backpass.cli.flow import flow
from backpass.cli.influence import influence
from backpass.cli.output import Output, Stopped, clean
from backpass.cli.paths import paths
from backpass.cli.predict import predict
from backpass.cli.race import race
from backpass.cli.replay import replay
from backpass.cli.report import report
from backpass.cli.reproduce import reproduce
from backpass.cli.show import show
from backpass.cli.train import train
from backpass.cli.value import value
from backpass.cli.whatif import whatif
from backpass.cli.why import why
from backpass.errors import BackpassError, nearest

_COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "show": show,
    "check": check,
    "why": why,
    "value": value,
    "delta": delta,
    "paths": paths,
    "flow": flow,
    "blame": blame,
    "influence": influence,
    "whatif": whatif,
    "replay": replay,
    "diff": diff,
    "branch": branch,
    "report": report,
    "predict": predict,
    "export": export,
    "race": race,
    "reproduce": reproduce,
}


def make_app() -> App:
    """The app with its commands."""
    app = App(
        name="backpass",
        help=HELP.split("\n\n")[1],
        help_format="plaintext",
        version=__version__,
        default_parameter=Parameter(negative=()),
        group_parameters=Group("Options", sort_key=2),
        group_commands=Group("Commands", sort_key=1),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    app["--help"].group = app["--version"].group = "Options"
    for number, (name, command) in enumerate(_COMMANDS.items()):
        app.command(command, name=name, help=_description(command.__doc__ or ""), sort_key=number)
    return app


def _description(doc: str) -> str:
    """The part of a docstring before its sections, each paragraph on one line for the terminal to wrap."""
    before = doc.split("\n    Parameters\n")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in before.split("\n\n"))


def run(words: list[str]) -> int:
    """Run a command; see `backpass.cli.main`."""
    debug = os.environ.get("BACKPASS_DEBUG", "") not in ("", "0")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without δ shows ?, and goes on
    if words[0] in _COMMANDS and {"--help", "-h"} & set(words):
        from backpass.cli.help import command_help

        print(command_help(words[0], _COMMANDS[words[0]]))
        return 0
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            code = make_app()(words, exit_on_error=False, print_error=False)
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # The reader has gone (head, a pager): no more output, and none when Python closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except CycloptsError as error:
        return _fail(words, "UsageError", _usage(error, words), 2)
    except Stopped as stop:
        return _fail(words, "Interrupted", str(stop), stop.code, stop, prefix="stopped")
    except BackpassError as error:
        if debug:
            raise
        return _fail(words, type(error).__name__, str(error), error.exit_code, error)
    except KeyboardInterrupt:
        return _fail(words, "Interrupted", "by Ctrl-C", 130, prefix="stopped")
    except MemoryError as error:
        if debug:
            raise
        return _fail(words, "MemoryError", f"there is not enough memory. {error}".strip(), 1)
    except Exception as error:
        if debug:
            raise
        said = f"{type(error).__name__}: {error}".strip().rstrip(":")
        message = f"backpass stumbled over something it did not expect: {said}"
        hint = "This is a bug. Please report it with what BACKPASS_DEBUG=1 prints before the same command."
        return _fail(words, type(error).__name__, f"{message}\n  {hint}", 1)


def _fail(
    words: list[str],
    kind: str,
    message: str,
    code: int,
    error: BaseException | None = None,
    prefix: str = "error",
) -> int:
    """Say it to the person, and under ``--json`` to the program."""
    json = "--json" in words
    out = Output(json=json)
    try:
        out.fail("\n".join([message, *getattr(error, "__notes__", [])]), prefix)
        if json:
            told = {"type": kind, "message": message, "exit_code": code}
            out.result(clean({"error": told, **getattr(error, "details", {})}))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _usage(error: CycloptsError, words: list[str]) -> str:
    """A usage error, with the nearest right word and where to look."""
    command = next((w for w in words if not w.startswith("-")), "")
    error.verbose = False
    if isinstance(error, UnknownCommandError):
        if not command:
            return f"which command? {nearest('', _COMMANDS)}"
        hint = (
            ""
            if not os.path.exists(command) and command != "digits"
            else f"\n  To train on it: backpass train {command}"
        )
        return f"there is no command {command!r}. {nearest(command, _COMMANDS)}{hint}"
    known = command if command in _COMMANDS else ""
    if isinstance(error, MissingArgumentError) and known and not str(error).count("--"):
        said = f"something is missing after {known}. For example:\n{example(known)}"
        return f"{said}\n  All options: backpass {known} --help"
    if isinstance(error, UnusedCliTokensError):
        said = f"{known} does not know what to do with {' '.join(error.unused_tokens or [])!r}."
    else:
        said = str(error).strip()
        said = said[:1].lower() + said[1:]
    return f"{said}\n  All options: backpass {known + ' ' if known else ''}--help"


def _show_warning(message: Warning | str, *_: object) -> None:
    """A warning of ours or of a library, as one line."""
    Output(json=True).note(f"note: {message}")
