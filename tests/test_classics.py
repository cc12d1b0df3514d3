"""Classics: the list, how figures are compared; and the page that is made of it."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import REPO

from backpass.classics import Classic, Compared, Measured, Published, catalogue, named, ours, reproduce
from backpass.classics.catalogue import group_name, groups, read
from backpass.classics.places import folder_of, is_there
from backpass.classics.recipes.options import variants_of
from backpass.classics.recipes.tracking import check_measure
from backpass.classics.recipes.training import examples_of
from backpass.classics.reproduce import recipe_of
from backpass.classics.reproduction import Reproduction, Reproductions, claim
from backpass.errors import DataError, UsageError

# ------------------------------------------------------------------------------------------------ the list


@pytest.mark.parametrize("classic", catalogue(), ids=lambda c: c.name)
def test_an_entry_is_whole(classic: Classic) -> None:
    assert callable(recipe_of(classic))
    for text in (classic.title, classic.shows, classic.setup, classic.source):
        assert text.strip()
    for name in classic.data:
        is_there(name)  # a place that is known
    if classic.recipe == "training.train":
        variants = variants_of(classic)
        for figure in classic.figures:
            variant, _, measure = figure.key.rpartition(".")
            assert variant in variants
            check_measure(measure)


def test_names_marks_and_groups_do_not_collide() -> None:
    names = [c.name.lower() for c in catalogue()]
    marks = [c.id.lower() for c in catalogue()]
    kinds = [group_name(group) for group in groups()]
    every = [*names, *marks, *kinds, "all"]
    assert len(every) == len(set(every))


def test_classics_are_found_by_name_mark_and_group() -> None:
    (sonar,) = named(["D1"])
    assert named(["SONAR", "d1", "sonar"]) == [sonar]
    assert sonar in named(["real-data"])
    assert named(["Real data"]) == named(["real-data"])
    assert named(["all"]) == list(catalogue())
    with pytest.raises(UsageError, match="Did you mean sonar"):
        named(["sonnar"])


ENTRY = """
[[classic]]
name = "a"
id = "A1"
group = "g"
title = "t"
shows = "s"
setup = "s"
source = "s"
sure = "primary"
recipe = "training.train"
{more}
[[classic.figures]]
key = "k"
what = "w"
{figure}
"""


def entry(more: str = "", figure: str = 'rule = "identical"\nvalue = 1') -> str:
    return ENTRY.format(more=more, figure=figure)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (entry(figure='rule = "identical"'), "needs a published value"),
        (entry(figure='rule = "within"\nvalue = 1'), "needs a tolerance"),
        (entry(figure='rule = "sd"\nvalue = 1\nsd = 2.0'), "needs a tolerance"),
        (entry(figure='rule = "identical"\nvalue = 1\ntolerance = 1'), "no use for a tolerance"),
        (entry(figure='rule = "equal"\nvalue = 1'), "rule"),
        (entry(figure='rule = "holds"\nvalu = 1'), "valu"),
        (entry(more="minuts = 3"), "minuts"),
        (entry(more='minutes = "three"'), "minutes"),
        (entry().replace('"training.train"', '"train"'), "file.function"),
        (entry().replace('"primary"', '"certain"'), "sure"),
        (entry() + '[[classic.figures]]\nkey = "k"\nwhat = "w"\nrule = "holds"\n', "more than one figure k"),
        (entry().split("[[classic.figures]]")[0], "figures"),
        (entry() + entry(), "more than one classic"),
        ("[[classic]\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_torn_entry_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(text)


def test_a_whole_entry_is_read() -> None:
    (found,) = read(entry())
    assert found.figures[0].value == 1


def test_data_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_DATA", str(tmp_path))
    (tmp_path / "sonar").mkdir()
    (tmp_path / "sonar" / "sonar.mines").touch()
    with pytest.raises(DataError, match=r"has no sonar\.rocks") as told:
        folder_of("sonar")
    assert "UCI" in str(told.value)
    with pytest.raises(DataError, match="sonar is needed"):
        reproduce(named(["sonar"])[0])


# ------------------------------------------------------------------------------------------- the comparison


def compared(rule: str, value: float | None, *values: float, **more: Any) -> Compared:
    return Compared(Published(key="k", what="w", rule=rule, value=value, **more), ours(*values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "agrees"),
    [
        (compared("identical", 3, 3.0, 3.0), True),
        (compared("identical", 3, 3.0, 3.0000000000000004), False),
        (compared("within", 3.0, 3.4, 3.5, tolerance=0.5), True),
        (compared("within", 3.0, 3.51, tolerance=0.5), False),
        (compared("sd", 10.0, 13.9, sd=2.0, tolerance=2), True),
        (compared("sd", 10.0, 14.1, sd=2.0, tolerance=2), False),
        (compared("sd", 100.0, 100.0, 100.0, sd=0.0, tolerance=2), True),
        (compared("range", 5, 4.0, 6.0), True),
        (compared("range", 5, 5.5, 6.0), False),
        (compared("at least", 90, 90.0), True),
        (compared("at least", 90, 89.9), False),
        (compared("at most", 1e-10, 2e-11), True),
        (compared("at most", 1e-10, 2e-10), False),
        (compared("holds", None, 1, 1), True),
        (compared("holds", None, 1, 0), False),
        (compared("shown", 5, 7.0), None),
        (compared("within", 3.0, 3.0, math.nan, tolerance=9.0), False),
        (compared("at most", 3.0, -math.inf), False),
    ],
)
def test_a_figure_agrees_by_its_rule(one: Compared, agrees: bool | None) -> None:
    assert one.agrees is agrees
    assert one.failed is (agrees is False)


def test_what_was_known_to_differ_is_no_failure() -> None:
    one = compared("identical", 3, 4.0, known="no seed")
    assert (one.verdict, one.failed) == ("differs, as known", False)


def test_figures_in_words() -> None:
    assert compared("sd", 85.7, 84.0, 85.0, sd=6.3, tolerance=2, unit="%").theirs == "85.7 ± 6.3 %"
    assert compared("sd", 85.7, 84.0, 85.0, sd=6.3, tolerance=2, unit="%").ours == "84.50 % (sd 0.71, n = 2)"
    assert compared("range", 5, 4.0, 7.0).ours == "5.5 (4 to 7, n = 2)"
    assert compared("holds", None, 1, 0, 1).ours == "holds in 2 of 3"
    assert compared("shown", 558, 400.0, math.nan).ours == "400 (1 of 2 runs)"
    assert compared("shown", 558, math.nan).ours == "never"
    assert compared("identical", 1.8433647860328504, 1.8433647860328504).ours == "1.8433647860328504"
    assert compared("at most", 1e-10, 1.8e-14).ours == "1.8e-14"
    assert compared("within", 3.0, 2.0, tolerance=2).apart == "-1.00"
    assert compared("identical", 400, 400).apart == "0"


def reproduction(*figures: tuple[str, float, float, str], title: str = "A title") -> Reproduction:
    """A classic with figures (rule, value, ours, known)."""
    listed = tuple(
        Published(key=str(k), what=f"figure {k}", rule=rule, value=value, known=known)  # type: ignore[arg-type]
        for k, (rule, value, _, known) in enumerate(figures)
    )
    classic = Classic(
        name="a", id="A1", group="g", title=title, shows="s", setup="The set-up.", source="Somebody (1990)",
        sure="secondary", recipe="a.b", figures=listed,
    )  # fmt: skip
    found = Measured({str(k): ours(f[2]) for k, f in enumerate(figures)}, notes=("A note.",))
    return Reproduction.of(classic, found, 3.0)


@pytest.mark.parametrize(
    ("figures", "verdict", "words"),
    [
        ([("identical", 5, 5, "")], "identical", "A title: identical. Figure 0: 5 here, 5 published."),
        ([("at least", 5, 6, ""), ("identical", 5, 5, "")], "agrees", "A title: reproduced."),
        ([("at least", 5, 6, "")] * 5, "agrees", "5 of 5 figures agree"),
        ([("at least", 5, 6, ""), ("identical", 5, 4, "chaos")], "agrees in part", "1 of 2 figures agrees"),
        ([("identical", 5, 4, "chaos")], "differs, as known", "not reproduced as printed, as is known"),
        ([("identical", 5, 4, ""), ("identical", 5, 5, "")], "differs", "not reproduced. 1 of 2"),
        ([("shown", 5, 4, "")], "shown", "nothing is claimed. Figure 0: 4 here, 5 published."),
    ],
)  # fmt: skip
def test_a_claim_has_the_verdict(figures: list[Any], verdict: str, words: str) -> None:
    found = reproduction(*figures)
    assert found.verdict == verdict
    assert words in found.claim
    assert found.agrees is (verdict != "differs")


def test_a_title_that_is_a_question_needs_no_colon() -> None:
    found = reproduction(("identical", 5, 5, ""), title="Mine or rock?")
    assert found.claim.startswith("Mine or rock? Identical. ")
    assert claim(found.classic, found.compared) == found.claim


def test_a_reproduction_says_set_up_source_and_why_it_differs() -> None:
    text = reproduction(("identical", 5, 4, "it is chaotic"), ("identical", 7, 8, "it is chaotic")).text()
    for words in (
        "The set-up.",
        "Somebody (1990) (quoted in another text)",
        "A note.",
        "It took 3.0 seconds",
    ):
        assert words in text
    assert "Figure 0; figure 1: it is chaotic" in " ".join(text.split())
    both = Reproductions.of([reproduction(("identical", 5, 4, "")), reproduction(("identical", 5, 5, ""))])
    assert "Not reproduced: a" in both.claim
    assert json.dumps(both.to_dict())


# --------------------------------------------------------------------------------------------- real data


def test_sonar_is_parted_by_the_stars(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_DATA", str(data_folder))
    found = examples_of("real.sonar")
    X, y = found.train
    held, t = found.held["test"]
    assert X.shape == held.shape == (104, 60)
    assert (y.sum(), t.sum()) == (49, 62)  # mines, of 111
    assert X.min() >= 0
    assert X.max() <= 1


def test_vowels_are_parted_by_the_speaker(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_DATA", str(data_folder))
    found = examples_of("real.vowels")
    assert found.train[0].shape == (528, 10)
    assert np.bincount(found.held["test"][1]).tolist() == [42] * 11


@pytest.mark.slow
def test_sonar_is_reproduced(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_DATA", str(data_folder))
    found = reproduce(named(["sonar"])[0])
    assert found.agrees
    assert [c.verdict for c in found.compared] == ["differs, as known"] * 2 + ["agrees"] * 10


@pytest.mark.slow
def test_vowels_are_reproduced(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_DATA", str(data_folder))
    assert reproduce(named(["vowel"])[0]).agrees


# ------------------------------------------------------------------------------------------------ the page


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("classics_page", REPO / "benchmarks" / "classics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_list_and_the_stored_figures_make(generator: ModuleType) -> None:
    made = generator.page(generator.read())
    assert made == (REPO / "docs" / "classics.md").read_text(encoding="utf-8"), (
        "run: python benchmarks/classics.py"
    )


def test_the_page_shows_what_is_stored(generator: ModuleType) -> None:
    (sonar,) = named(["sonar"])
    figures = {figure.key: [figure.value, figure.value] for figure in sonar.figures}
    kept = {
        "mark": generator.mark(sonar),
        "figures": figures,
        "notes": ["A *note*."],
        "seconds": 3.0,
        "picture": "",
    }
    page = generator.page({"D1": kept})
    assert "| D1 | [Sonar: a mine or a rock?](#sonar) | agrees | 12 of 12 |" in page
    assert "A \\*note\\*." in page
    assert "has been changed since" not in page
    assert "has been changed since" in generator.page({"D1": kept | {"mark": "other"}})
    del figures["h2.test_accuracy"]
    assert "| D1 | [Sonar: a mine or a rock?](#sonar) | not run yet |" in generator.page({"D1": kept})


def test_the_stored_figures_hold_no_paths() -> None:
    text = (REPO / "docs" / "classics.json").read_text(encoding="utf-8")
    assert not any(word in text for word in ("/home", "/work", "/tmp", "C:\\\\"))


def test_the_list_and_its_data_are_part_of_the_package() -> None:
    from hatchling.builders import wheel

    packed = {Path(f.path) for f in wheel.WheelBuilder(str(REPO)).recurse_included_files()}
    package = REPO / "src" / "backpass" / "classics"
    needed = [*package.glob("*.toml"), *(p for p in (package / "data").rglob("*") if p.is_file())]
    assert len(needed) > 8
    assert set(needed) <= packed
    for folder in (package / "data").iterdir():
        assert {p.name for p in folder.iterdir()} & {"LICENSE.txt", "SOURCE.txt"}, f"{folder} says no licence"
