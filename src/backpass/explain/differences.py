"""What two runs were told, field by field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from backpass.record.settings import Settings

#: Fields that tell how a run was made and not what it is, or that follow from others.
_LEFT_OUT = {"executor_why", "spacing", "kept", "record_mb", "rules", "data.fingerprint", "data.preparation"}
#: Fields with parts of their own that are told in one line.
_WHOLE = {"data.options", "data.preparation", "optimiser.lr"}
Row = tuple[str, str, str]


def settings_of(settings: Settings) -> dict[str, Any]:
    """All settings, flat, by names for people.

    A run that left another's way has a "branch" beside what holds from there on.
    """
    plain = msgspec.to_builtins(settings)
    branches = plain.pop("branches")
    found = {name: value for name, value in _flat(plain) if name not in _LEFT_OUT}
    found["data.contents"] = settings.data.fingerprint[:12]
    found["data.prepared"] = _digest(plain["data"]["preparation"])
    for i, branch in enumerate(branches):
        told = f"after step {branch['step']:,} of {branch['run'] or 'a run'}"
        if branch["rows"]:
            told += f", without the rows {branch['rows'][:60]}"
        found[f"branch {i + 1}"] = told
    return found


def _digest(value: Any) -> str:
    import hashlib

    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:12]


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = f"{before}{key}"
        if isinstance(inner, Mapping) and inner and name not in _WHOLE:
            yield from _flat(inner, f"{name}.")
        else:
            yield name, inner


def differences(a: Settings, b: Settings) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The settings that differ, with both values; and the names of those that do not."""
    one, other = settings_of(a), settings_of(b)
    rows, same = [], []
    for name in [*one, *(name for name in other if name not in one)]:
        if name in one and name in other and one[name] == other[name]:
            off = one[name] is None or one[name] is False or one[name] in ("", [], {})
            same += [] if off else [name]
        else:
            rows.append((name, _told(one.get(name)), _told(other.get(name))))
    return tuple(rows), tuple(same)


def _told(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, Mapping) and "name" in value:  # a schedule
        rest = ", ".join(f"{k} {_told(v)}" for k, v in value.items() if k != "name" and v not in (None, 0))
        return f"{value['name']} ({rest})"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def lines_apart(a: str, b: str) -> tuple[str, ...]:
    """The lines of two programs that differ, as a diff has them.

    Examples
    --------
    >>> lines_apart("z = x @ W\\na = relu(z)", "z = x @ W\\na = tanh(z)")
    ('- a = relu(z)', '+ a = tanh(z)')
    """
    one, other = ([re.sub(r"\s+(=|#)", r" \1", line) for line in text.splitlines()] for text in (a, b))
    found = difflib.ndiff(one, other)  # the columns of a program are as wide as its longest line
    return tuple(line.rstrip() for line in found if line[:2] in ("- ", "+ ") and line[2:].strip())
