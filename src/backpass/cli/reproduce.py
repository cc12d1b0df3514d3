"""``backpass reproduce``: published results, their figure beside ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backpass.cli.asking import Form, show
from backpass.cli.output import Output, Stopped
from backpass.cli.progress import Shares
from backpass.cli.signals import Stop
from backpass.errors import BackpassError, DataError

if TYPE_CHECKING:
    from backpass.classics import Classic, Reproduction, Reproductions


def reproduce(*names: str, runs: Path | None = None, form: Form | None = None) -> int:
    """Reproduce published results of backpropagation, and put ours beside the published figure.

    Without a name, all of them are listed with what each shows. The exit code is 1 where a figure differs
    that was not known to differ, and 3 where data are missing.

    Parameters
    ----------
    names
        Names or marks of the list: sonar, W2; a group of it; or all.
    runs
        Keep the runs that are made, for the commands that ask, in a folder for each classic in this one.
    """
    form = form or Form()
    output = Output(form.json)
    if not names:
        return _list(output, form)
    from backpass.classics import named
    from backpass.cli.asking import check_form

    check_form(form)
    return _run(output, named(names), runs, form)


def _list(output: Output, form: Form) -> int:
    """What there is, under its headings."""
    from backpass.classics.catalogue import group_name, groups

    if form.json:
        output.result({"classics": [_entry(c) for some in groups().values() for c in some]})
        return 0
    for group, some in groups().items():
        output.say(f"{group}   (backpass reproduce {group_name(group)})", "bold")
        wide = max(len(c.name) for c in some)
        for classic in some:
            left = f"  {classic.id:<4} {classic.name:<{wide}}  "
            after = ", ".join([_time(classic.minutes), *(_needs(name) for name in classic.data)])
            for number, line in enumerate(_wrapped(output, f"{classic.shows} ({after})", len(left))):
                output.say((left if number == 0 else " " * len(left)) + line)
        output.say()
    output.say("To run some: backpass reproduce NAME NAME, or all; --out page.html has the pictures.")
    return 0


def _wrapped(output: Output, text: str, before: int) -> list[str]:
    from backpass.cli.output import wrapped

    return wrapped(text, output.width(stderr=False) - before)


def _time(minutes: float) -> str:
    return "seconds" if minutes < 0.5 else f"about {max(1, round(minutes))} min"


def _needs(name: str) -> str:
    from backpass.classics.places import is_there

    return f"needs {name}" + ("" if is_there(name) else ", which is not there")


def _entry(classic: Classic) -> dict[str, Any]:
    from backpass.classics.places import is_there

    return {
        "name": classic.name,
        "id": classic.id,
        "group": classic.group,
        "title": classic.title,
        "shows": classic.shows,
        "minutes": classic.minutes,
        "data": {name: is_there(name) for name in classic.data},
        "source": classic.source,
        "sure": classic.sure,
    }


def _run(output: Output, classics: list[Classic], runs: Path | None, form: Form) -> int:
    """Run them one after another; what is finished is told, whatever becomes of the others."""
    from backpass.classics import reproduce as run

    done: list[Reproduction] = []
    missing: list[str] = []
    plain = form.out is None and form.format in (None, "text") and not form.json
    try:
        with Stop() as stop:
            for number, classic in enumerate(classics, start=1):
                stop.told = f"in {classic.name}; {_finished(done)}"
                count = f"{number} of {len(classics)}, " if len(classics) > 1 else ""
                with Shares(output) as shares:

                    def told(share: float, words: str, which: str = f"{count}{classic.name}") -> None:
                        shares.show(share, f"{which}: {words}")

                    try:
                        found = run(classic, told, runs)
                    except DataError as error:
                        missing.append(f"{classic.name}: {error}")
                        continue
                done.append(found)
                if plain:
                    _print(output, found, several=len(classics) > 1)
                elif len(classics) > 1 or form.out is not None:
                    output.prose(f"{classic.id}: {found.claim}")
        if missing:
            raise DataError("\n".join(missing))
    except (Stopped, BackpassError) as error:
        if done:
            _write(output, done, missing, replace(form, json=False), plain)
            error.details = _all(done, missing).to_dict()  # type: ignore[attr-defined]  # for --json
        raise
    _write(output, done, missing, form, plain)
    _told_runs(output, runs)
    return 0 if all(one.agrees for one in done) else 1


def _all(done: list[Reproduction], missing: list[str]) -> Reproductions:
    from backpass.classics import Reproductions

    return Reproductions.of(done, missing)


def _told_runs(output: Output, runs: Path | None) -> None:
    """Where the runs are that were kept, with a question to one of them."""
    kept = sorted(path.parent for path in runs.rglob("run.json")) if runs is not None else []
    if kept:
        output.note(f"{len(kept):,} runs are in {runs}; to ask one: backpass flow {kept[0]}")
    elif runs is not None:
        output.note(f"nothing is kept in {runs}: none of these classics trains by backpass train")


def _finished(done: list[Reproduction]) -> str:
    return f"finished: {', '.join(one.classic.name for one in done)}" if done else "nothing is finished"


def _print(output: Output, found: Reproduction, several: bool) -> None:
    if several:
        output.say(f"== {found.classic.title} ({found.classic.id}) ==", "bold")
    output.program(found.text() + "\n" * several)


def _write(output: Output, done: list[Reproduction], missing: list[str], form: Form, plain: bool) -> None:
    """The file, the format or the object that was asked for, of what is finished."""
    if not plain and (form.json or form.out is not None or form.format is not None):
        alone = len(done) == 1 and not missing and not form.json
        show(output, done[0] if alone else _all(done, missing), form)
