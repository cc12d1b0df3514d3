"""The help of a command, from its signature and its docstring.

Written here and not by the parser's own help, which takes as long again as everything before it and ends
the lines of a docstring where they end in the source.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from backpass.cli import EXAMPLES
from backpass.cli.output import wrapped

_ORDER = ("Data", "Network", "Learning", "Options")
_KINDS = {int: "N", float: "X", str: "TEXT"}


class Entry(NamedTuple):
    """An option or an argument in the help."""

    group: str  # "" for an argument
    name: str
    about: str


def command_help(name: str, command: Callable[..., Any], width: int | None = None) -> str:
    """What ``backpass NAME --help`` prints."""
    width = width or min(100, shutil.get_terminal_size((100, 24)).columns)
    about, _ = _docstring(command)
    entries = [*_entries(command), Entry("Options", "--help", "Print this.")]
    arguments = [entry for entry in entries if not entry.group]
    lines = [f"Usage: backpass {name} {' '.join(entry.name for entry in arguments)} [OPTIONS]", ""]
    for paragraph in about:
        lines += [*wrapped(paragraph, width), ""]
    lines += [f"For example: {EXAMPLES[name][0]}", "", *_listed(arguments, width)]
    for group in _ORDER:
        listed = [entry for entry in entries if entry.group == group]
        if listed:
            lines += ["", group, *_listed(listed, width)]
    return "\n".join(lines)


def _listed(entries: list[Entry], width: int) -> list[str]:
    """Names to the left, what they mean to the right."""
    left = max(len(entry.name) for entry in entries)
    lines = []
    for entry in entries:
        first, *rest = wrapped(entry.about, width - left - 4)
        lines.append(f"  {entry.name:<{left}}  {first}")
        lines += [" " * (left + 4) + line for line in rest]
    return lines


def _entries(command: Any, group: str = "Options") -> Iterator[Entry]:
    """The arguments and options of a command; those of a dataclass are options of their own."""
    _, about = _docstring(command)
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        settings, kind = _settings(hints[name])
        if dataclasses.is_dataclass(kind):
            told: Any = kind
            groups = told.__cyclopts__.parameters[0].group
            yield from _entries(kind, groups[0].name if groups else group)
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            yield Entry("", settings.get("name") or name.upper(), about[name])
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield Entry("", f"[{name.upper().removesuffix('S')} ...]", about[name])
            continue
        words = [about[name]]
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        if len(choices) > 1:
            words.append(f"One of {', '.join(choices)}.")
        usual = settings.get("show_default", parameter.default)
        if usual not in (None, False, parameter.empty):
            words.append(f"[{usual}]")
        value = "" if kind is bool else " " + (choices[0] if len(choices) == 1 else _KINDS.get(kind, "NAME"))
        yield Entry(
            settings.get("group", group), f"--{name.rstrip('_').replace('_', '-')}{value}", " ".join(words)
        )


def _settings(hint: Any) -> tuple[dict[str, Any], Any]:
    """What the parser was told of a parameter, and its type without None."""
    found: dict[str, Any] = {}
    if hasattr(hint, "__metadata__"):
        for told in hint.__metadata__:
            if told.show_default is not None:
                found["show_default"] = told.show_default
            if told.group:
                found["group"] = told.group[0].name
            if told.name:
                found["name"] = told.name[0]
        hint = hint.__origin__
    if get_origin(hint) is not Literal and type(None) in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    return found, hint


def _docstring(documented: Any) -> tuple[list[str], dict[str, str]]:
    """The paragraphs before the sections of a docstring, and what it says of each parameter."""
    before, _, parameters = (inspect.getdoc(documented) or "").partition("\n\nParameters\n----------\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in before.split("\n\n")]
    found = re.findall(r"^(\w+)\n((?: {4}.*\n?)+)", parameters, re.MULTILINE)
    return paragraphs, {name: " ".join(text.split()) for name, text in found}
