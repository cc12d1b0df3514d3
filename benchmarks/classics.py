"""The page *Classics* of the documents, from the list of classics and from what came out when they were run.

    python benchmarks/classics.py all          # run every classic whose data are there, and write the page
    python benchmarks/classics.py sonar N1     # run these only; of the others, what is stored stays
    python benchmarks/classics.py              # run nothing: write the page from what is stored

What came out is stored in docs/classics.json: the figures of each seed, notes and seconds. The page takes the
words from the list. So a changed word needs no run; a changed recipe or option does, and the page says so
until it is run again. Pictures are kept of those classics that have a published curve.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from backpass.classics import Classic, Measured, Reproduction, named, ours, reproduce
from backpass.classics.catalogue import group_name, groups
from backpass.classics.places import is_there
from backpass.classics.reproduction import SURE, known, pictures

DOCS = Path(__file__).resolve().parents[1] / "docs"
STORED, PAGE = "classics.json", "classics.md"

Stored = Mapping[str, Mapping[str, Any]]

_HEAD = """# Classics

Published results of backpropagation, run again: the published figure beside ours. This page is made by
`python benchmarks/classics.py` from the list of classics and from what came out; each of them runs here, too:

```text
backpass reproduce                      the list
backpass reproduce sonar                one of them
backpass reproduce sonar vowel --out page.html --runs runs/classics
```

With `--runs`, the runs that are made are kept, and each of their numbers can be asked for: see [why](why.md).

What a verdict means: *identical*, equal to the last digit; *agrees*, as near as the figure itself allows
(within its published spread, within the range of our seeds, within what is stated with it); *holds*, a
statement that is true; *differs, as known*, not reached, and why is said; *shown*, both are shown and nothing
is claimed. Of several runs *ours* is the mean, with their standard deviation (sd) or the least and the
largest. Each source says how sure the published figure is.

To add a classic is to add an entry to the list, `src/backpass/classics/classics.toml`. An entry
with the recipe `training.train` needs no code: its options are a net, its data, the rule of learning and the
seeds, and the keys of its figures say what is measured.

```text
[[classic]]
name = "my-result"
id = "X1"
group = "Real data"
title = "..."        # and shows, setup, source, sure = "primary", "secondary" or "memory"
recipe = "training.train"
[classic.options]
data = "iris"
layers = [[8, "tanh"], [3, "softmax"]]
loss = "cross_entropy"
optimiser = { name = "sgd", lr = 0.1 }
epochs = 100
seeds = 5
[[classic.figures]]
key = "train_accuracy"
what = "training"
rule = "within"      # or identical, sd, range, at least, at most, holds, shown
value = 98.0
tolerance = 1.0
unit = "%"
```
"""


def mark(classic: Classic) -> str:
    """What stays the same while the recipe and its options do."""
    told = json.dumps([classic.recipe, msgspec.to_builtins(classic.options)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def stored(found: Reproduction, picture: str) -> dict[str, Any]:
    """What is kept of a classic that ran."""
    return {
        "mark": mark(found.classic),
        "figures": {c.published.key: list(c.found.values) for c in found.compared},
        "notes": list(found.measured.notes),
        "seconds": round(found.seconds, 1),
        "picture": picture,
    }


def again(classic: Classic, kept: Mapping[str, Any]) -> Reproduction:
    """The classic as it came out, without its curves; NaN is stored as null."""
    values = {
        key: ours(*(float("nan") if v is None else v for v in some)) for key, some in kept["figures"].items()
    }
    return Reproduction.of(classic, Measured(values, notes=tuple(kept["notes"])), kept["seconds"])


def fits(classic: Classic, kept: Mapping[str, Any] | None) -> bool:
    """Whether what is stored has every figure of the entry."""
    return kept is not None and {figure.key for figure in classic.figures} <= kept["figures"].keys()


def page(found: Stored) -> str:
    """The page, in Markdown."""
    parts = [_HEAD.rstrip(), _summary(found)]
    for group, some in groups().items():
        parts.append(f"## {group}")
        parts += [_section(classic, found.get(classic.id)) for classic in some]
    return "\n\n".join(parts) + "\n"


def _summary(found: Stored) -> str:
    rows = ["| | classic | verdict | figures that agree |", "|---|---|---|---|"]
    for some in groups().values():
        for classic in some:
            kept = found.get(classic.id)
            verdict, counted = "not run yet", ""
            if kept is not None and fits(classic, kept):
                one = again(classic, kept)
                claimed = [c for c in one.compared if c.agrees is not None]
                verdict = one.verdict
                counted = f"{sum(bool(c.agrees) for c in claimed)} of {len(claimed)}" if claimed else ""
            link = f"[{plain(classic.title)}](#{classic.name})"
            rows.append(f"| {classic.id} | {link} | {verdict} | {counted} |")
    return "\n".join(rows)


def _section(classic: Classic, kept: Mapping[str, Any] | None) -> str:
    parts = [
        f'<a id="{classic.name}"></a>\n\n### {plain(classic.title)} ({classic.id})',
        plain(classic.shows),
    ]
    if kept is not None and fits(classic, kept):
        one = again(classic, kept)
        rows = ["| figure | published | ours | difference | verdict |", "|---|---|---|---|---|"]
        rows += [
            f"| {plain(c.published.what)} | {c.theirs} | {c.ours} | {c.apart} | {c.verdict} |"
            for c in one.compared
        ]
        parts.append("\n".join(rows))
        if kept["mark"] != mark(classic):
            parts.append("*Its entry has been changed since it was run.*")
        if kept["picture"]:
            parts.append(f"![{plain(classic.title)}: ours over the published curve]({kept['picture']})")
        parts += [plain(why) for why in known(one.compared)]
        parts += [plain(note) for note in kept["notes"]]
        took = f"; it took {kept['seconds']:g} s" if kept["seconds"] >= 1 else ""
    else:
        parts.append("*Not run yet.*")
        took = ""
    parts.append(f"**What was done.** {plain(classic.setup.strip())}")
    if classic.note:
        parts.append(plain(classic.note.strip()))
    parts.append(f"Published: {plain(classic.source)} ({SURE[classic.sure]}).")
    parts.append(
        f"`backpass reproduce {classic.name}`{took}. All of this kind: `{group_name(classic.group)}`."
    )
    return "\n\n".join(parts)


def plain(text: str) -> str:
    """Text whose signs mean nothing to Markdown."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def draw(found: Reproduction, folder: Path) -> str:
    """Write the picture of a classic with a published curve, if there is one, and say where it is."""
    panels = [p for p in found.measured.panels if any(line.part == "published" for line in p.lines)]
    if not panels:
        return ""
    name = f"pictures/classics-{found.classic.id.lower()}.svg"
    (folder / name).write_text(pictures(found.classic.title, panels[:2])[0].svg + "\n", encoding="utf-8")
    return name


def read(folder: Path = DOCS) -> dict[str, dict[str, Any]]:
    """What is stored."""
    path = folder / STORED
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def main(names: list[str], folder: Path = DOCS) -> int:
    found = read(folder)
    for classic in named(names):
        missing = [name for name in classic.data if not is_there(name)]
        if missing:
            print(f"{classic.id} {classic.name}: not run, {', '.join(missing)} is missing")
            continue
        one = reproduce(classic)
        found[classic.id] = stored(one, draw(one, folder))
        print(f"{classic.id} {classic.name}: {one.verdict}, {one.seconds:.1f} s. {one.claim}", flush=True)
        text = json.dumps(_finite(found), indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True)
        (folder / STORED).write_text(text + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(found), encoding="utf-8")
    return 0


def _finite(value: Any) -> Any:
    """The same with null for what is not finite, which JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and value - value != 0 else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
