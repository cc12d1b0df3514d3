"""Pictures and the report: well-formed, honest about their numbers, and safe for any text."""

import base64
import dataclasses
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backpass as bp
from backpass.data import from_arrays
from backpass.errors import StorageError, UsageError
from backpass.ops import Sum, data, parameter
from backpass.pictures.axes import Axis, labels
from backpass.pictures.confusion import confusion_matrix
from backpass.pictures.curves import Line, Panel, line_chart, scatter
from backpass.pictures.images import weight_images
from backpass.pictures.nets import Layer, Link, net_picture
from backpass.pictures.svg import Svg, cut, plain, width
from backpass.report import Picture, plot, plot_rows, report_html, write_report
from backpass.report.facts import facts
from backpass.report.held import held
from backpass.report.weights import LINKS, UNITS, chain

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<img src=x onerror=alert(1)>"
VOID = {"meta", "br", "hr", "img", "input", "link"}


# ---- runs to look at


@pytest.fixture(scope="module")
def digits() -> bp.Run:
    net = bp.Network([bp.Dense(30, "sigmoid"), bp.Dense(10, "softmax")])
    return bp.train(net, "digits", optimizer=bp.SGD(0.5), epochs=4, test=0.2, validation=0.1)


@pytest.fixture(scope="module")
def xor() -> bp.Run:
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    net = bp.Network([bp.Dense(4, "tanh"), bp.Dense(1, "sigmoid")])
    return bp.train(net, (X, y), optimizer=bp.SGD(1.0), batch=4, epochs=100)


@pytest.fixture(scope="module")
def quantities() -> bp.Run:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = np.stack([X @ [1.0, -2.0, 0.5], X[:, 0] ** 2], axis=1)
    net = bp.Network([bp.Dense(8, "tanh"), bp.Dense(2)])
    return bp.train(net, (X[:300], y[:300]), optimizer=bp.SGD(0.05), epochs=5, validation=(X[300:], y[300:]))


def classes_named(names: list[str]) -> bp.Run:
    X = np.eye(len(names)).repeat(3, axis=0)
    net = bp.Network([bp.Dense(len(names), "softmax")])
    dataset = from_arrays(X, np.repeat(names, 3), name=f"data of {NASTY}")
    return bp.train(net, dataset, optimizer=bp.SGD(2.0), epochs=30, batch=4)


# ---- reading them


def texts(svg: str) -> list[str]:
    """What can be read in a picture, tooltips left out."""
    return [node.text or "" for node in ET.fromstring(svg).iter(f"{SVG}text")] + [
        (node[0].tail or "") for node in ET.fromstring(svg).iter(f"{SVG}text") if len(node)
    ]


def tips(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter(f"{SVG}title")]


class Page(HTMLParser):
    """The elements, the text and the attributes of a page; every element must be closed where it stands."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if "style" not in self.open:
            self.text += text


def check_drawing(svg: str) -> None:
    """Well-formed, and no text reaches out of the picture."""
    root = ET.fromstring(svg)
    wide, high = float(root.get("width", "0")), float(root.get("height", "0"))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    for node in root.iter(f"{SVG}text"):
        if node.get("transform"):
            continue
        words, kind = "".join(node.itertext()) if not len(node) else node[0].tail or "", node.get("class", "")
        size = 15 if "h" in kind.split() else 11 if "s" in kind.split() else 12
        x, y, w = float(node.get("x", 0)), float(node.get("y", 0)), width(words, size)
        start = x - w if "e" in kind.split() else x - w / 2 if "m" in kind.split() else x
        assert start >= -1, f"{words!r} begins at {start}"
        assert start + w <= wide + 1, f"{words!r} ends at {start + w} of {wide}"
        assert 0 <= y <= high


# ---- one picture at a time


def test_every_picture_of_every_run(digits: bp.Run, xor: bp.Run, quantities: bp.Run) -> None:
    for run, kinds in (
        (digits, ["curves", "confusion", "net", "weights"]),
        (xor, ["curves", "confusion", "net"]),
        (quantities, ["curves", "scatter", "net"]),
    ):
        for kind in kinds:
            check_drawing(plot(run, kind).svg)


def test_a_small_picture_is_as_it_was(golden) -> None:
    line = [
        Line("training", [1, 2, 3], [0.9, 0.5, 0.3]),
        Line("validation", [1, 2, 3], [1, None, 0.6], "validation"),
    ]
    golden("curve.svg", line_chart("Curve", [Panel("Cost", "epoch", "cost", line, mark=(3, "best"))]))
    layers = [Layer("x", 2, [("a", "input a"), ("b", "")]), Layer("y", 1, [("y", "b1[0] = 0")])]
    links = [Link(0, 0, 0, "W1[0,0]", 1.5, 1.0), Link(0, 1, 0, "W1[1,0]", -0.5, 1 / 3)]
    golden("net.svg", net_picture("Net", layers, links))


def test_points_lie_where_their_numbers_say() -> None:
    values = [4.0, 1.0, 2.5]
    root = ET.fromstring(
        line_chart("", [Panel("", "epoch", "cost", [Line("a", [1, 3, 4], values)], log=False)])
    )
    dots = [node for node in root.iter(f"{SVG}circle") if len(node)]
    x, y = ([float(d.get(k, "")) for d in dots] for k in ("cx", "cy"))
    assert [d[0].text for d in dots] == ["a, epoch 1: 4", "a, epoch 3: 1", "a, epoch 4: 2.5"]
    assert (x[1] - x[0]) / (x[2] - x[1]) == pytest.approx(2, abs=0.01)
    assert (y[1] - y[0]) / (y[1] - y[2]) == pytest.approx(2, abs=0.01)
    assert y[1] > y[0], "larger is higher"


def test_a_logarithmic_axis_has_equal_factors_at_equal_distances() -> None:
    line = Line("a", [1, 2, 3], [1.0, 100.0, 10_000.0])
    svg = line_chart("", [Panel("", "epoch", "cost", [line])])
    y = [float(node.get("cy", "")) for node in ET.fromstring(svg).iter(f"{SVG}circle") if len(node)]
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.02)
    assert "cost (log)" in texts(svg)
    assert "cost" in texts(line_chart("", [Panel("", "epoch", "cost", [line], log=False)]))


def test_a_gap_stays_a_gap_and_long_lines_have_few_dots() -> None:
    gap = Line("a", range(5), [1.0, 2.0, float("nan"), 3.0, 4.0])
    (drawn,) = re.findall(
        r'd="(M[^"]*)" class="line one"><title>', line_chart("", [Panel("", "", "", [gap])])
    )
    assert (drawn.count("M"), drawn.count("L")) == (2, 2)
    many = Line("a", range(1000), np.linspace(1, 2, 1000).tolist())
    assert line_chart("", [Panel("", "", "", [many])]).count("<circle") == 2  # the legend's, and the last


@pytest.mark.parametrize("values", [[], [None], [5.0], [0.0, 0.0], [float("inf"), 1.0], [-1e-300, 1e300]])
def test_strange_values_are_still_drawn(values: list) -> None:
    line = Line("a", list(range(len(values))), values)
    for log in (None, False, True):
        check_drawing(line_chart("t", [Panel("p", "x", "y", [line], log=log)]))
    finite = [v for v in values if v is not None]
    check_drawing(scatter("t", finite, finite, "money", "some rows"))


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(4, 9), st.booleans())
def test_ticks_are_within_few_and_told_apart(low: float, span: float, most: int, log: bool) -> None:
    span = max(span, 1e-8 * abs(low))  # closer together, f64 cannot tell round numbers apart
    axis = Axis.of([low, low + span], 0, 100, log=log)
    found = axis.ticks(most)
    slack = 1e-6 * (axis.high - axis.low) + 4 * np.spacing(abs(axis.high))
    assert all(axis.low - slack <= v <= axis.high + slack for v in found)
    assert len(found) <= most + 1
    assert found == sorted(set(found))
    assert len(found) >= 2
    if span > 1e-5 * abs(low):  # else the figures of f64 and of a label run out
        assert len(set(labels(found))) == len(found)


def test_the_confusion_matrix_shows_its_counts() -> None:
    counts = np.array([[8, 2, 0], [0, 1234, 1], [0, 0, 0]])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    svg = confusion_matrix("c", counts.tolist(), ["no", "yes", "never"], shares=shares.tolist(), note="n")
    check_drawing(svg)
    shown = [t for t in texts(svg) if re.fullmatch(r"[\d,]+", t)]
    assert shown == ["8", "2", "0", "0", "1,234", "1", "0", "0", "0"]
    assert "no taken for yes: 2 (20.00 % of no)" in tips(svg)
    assert [t for t in texts(svg) if t.endswith(" %") or t == "–"] == ["80.0 %", "99.9 %", "–"]


@pytest.mark.parametrize("count", [1, 2, 12, 30])
def test_long_names_of_classes_fit(count: int) -> None:
    names = [f"a class with a really long name, number {k}" for k in range(count)]
    counts = (1000 * np.eye(count, dtype=int)).tolist()
    svg = confusion_matrix("A title", counts, names, shares=np.eye(count).tolist(), note="rows")
    check_drawing(svg)
    assert names[0] in tips(svg), "the whole name is in the tooltip"
    assert any(t.endswith("…") for t in texts(svg))


def test_a_cloud_has_every_point_and_says_which() -> None:
    few = scatter("t", [1.0, 2.0], [1.5, 2.5], "price", "2 test rows")
    assert "true 1, predicted 1.5" in tips(few)
    assert "2 test rows; dashed: predicted = true" in texts(few)
    many = scatter("t", np.arange(1000.0).tolist(), np.arange(1000.0).tolist())
    assert many.count("h0") == 1000
    x, y = np.array(re.findall(r"M([\d.]+) ([\d.]+)h0", many), dtype=float).T
    slope = np.diff(y) / np.diff(x)
    np.testing.assert_allclose(slope, (64 - 504) / 440, rtol=0.05, err_msg="all on the diagonal")


@pytest.mark.parametrize("size", [1.0, 5e5, 1.234e-7, 9e12])
def test_the_name_of_an_axis_stands_clear_of_its_numbers(size: float) -> None:
    line = Line("a", [1, 2], [size, 1.3 * size])
    panels = [Panel("p", "x", "yyy", [line]), Panel("q", "x", "yyy", [line])]
    for svg in (scatter("t", [size, 2 * size], [size, 3 * size], "yyy"), line_chart("t", panels)):
        check_drawing(svg)
        found = list(ET.fromstring(svg).iter(f"{SVG}text"))
        turned = [n for n in found if n.get("transform")]
        names = [float(re.search(r"translate\(([\d.]+)", n.get("transform", "")).group(1)) for n in turned]
        numbers = [n for n in found if n.get("class") == "e s"]
        starts = [float(n.get("x", 0)) - width(n.text or "", 11) for n in numbers]
        assert len(starts) >= 2 * len(names)
        for k, name in enumerate(names):
            left = [s for s in starts if s > name - 60 and (k + 1 == len(names) or s < names[k + 1])]
            assert min(left) >= name + 3, "the foot of a text is up to 3 pixels below its line"
            assert name >= 12


# ---- weights


def test_the_links_of_a_small_net_are_its_weights(xor: bp.Run) -> None:
    picture = plot(xor, "net").svg
    told = dict(t.split(" = ") for t in tips(picture) if t.startswith("W"))
    assert len(told) == 12
    for name, value in told.items():
        matrix, row, column = re.fullmatch(r"(W\d)\[(\d),(\d)\]", name).groups()
        weight = xor.weights[matrix][int(row), int(column)]
        assert float(value.replace("−", "-")) == pytest.approx(weight, rel=1e-3, abs=1e-4)
    assert f"unit 2 of layer 1: b1[2] = {xor.weights['b1'][2]:.4g}".replace("-", "−") in tips(picture)
    assert [t for t in texts(picture) if t in ("x0", "x1", "is 1")] == ["x0", "x1", "is 1"]
    thick = {
        node[0].text.split(" = ")[0]: float(node.get("stroke-width", ""))
        for node in ET.fromstring(picture).iter(f"{SVG}path")
        if len(node)
    }
    top = np.unravel_index(np.argmax(np.abs(xor.weights["W1"])), (2, 4))
    assert max(thick, key=thick.__getitem__) in (f"W1[{top[0]},{top[1]}]", *(k for k in thick if k[1] == "2"))
    assert thick[f"W1[{top[0]},{top[1]}]"] == 4.5


def test_large_layers_are_elided_and_the_page_stays_small() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (60, 784), dtype=np.uint8)
    W = rng.normal(size=(784, 100))
    W[500, 77] = 40.0
    net = bp.Network([bp.Dense(100, "relu", weights=W), bp.Dense(10, "softmax")])
    dataset = dataclasses.replace(from_arrays(X, np.arange(60) % 10), image_shape=(28, 28))
    run = bp.train(net, dataset, epochs=1, optimizer=bp.SGD(1e-9))
    picture = plot(run, "net").svg
    check_drawing(picture)
    assert {"… 769 more", "… 85 more", "784 units", "10 units"} <= set(texts(picture))
    assert f"between two layers, the {LINKS} largest links of the shown units are drawn" in texts(picture)
    named = [t for t in tips(picture) if t.startswith("W")]
    assert len([t for t in named if t.startswith("W1")]) == LINKS
    assert any(t.startswith("W1[500,77] = ") for t in named), "the largest weight is shown"
    assert ET.fromstring(picture).findall(f"{SVG}circle").__len__() == 2 * (UNITS - 1) + 10
    check_drawing(plot(run, "weights").svg)
    assert len(report_html(run, baselines={})) < 1_000_000


def test_the_images_are_the_weights(digits: bp.Run) -> None:
    picture = plot(digits, "weights").svg
    rows = [decoded(node.get("href", "")) for node in ET.fromstring(picture).iter(f"{SVG}image")]
    assert len(rows) == 3
    W = digits.weights["W1"].astype(float)
    largest = np.quantile(np.abs(W), 0.999)
    for unit in (0, 13, 29):
        tile = rows[unit // 10][:, (unit % 10) * 9 : (unit % 10) * 9 + 8]
        weights = W[:, unit].reshape(8, 8)
        opacity = np.clip(np.abs(weights) / largest, 0, 1)
        np.testing.assert_allclose(tile[..., 3] / 255, opacity, atol=0.003)
        seen = tile[..., 3] > 0
        orange = tile[..., 0] > tile[..., 2]
        np.testing.assert_array_equal(orange[seen], weights[seen] >= 0)
    assert f"unit 3: weights from {W[:, 3].min():.3g}".replace("-", "−") in " ".join(tips(picture))


def decoded(href: str) -> np.ndarray:
    """A PNG without filters, as an array of shape (h, w, 4)."""
    raw = base64.b64decode(href.removeprefix("data:image/png;base64,"))
    wide, high = struct.unpack(">II", raw[16:24])
    size = struct.unpack(">I", raw[33:37])[0]
    lines = np.frombuffer(zlib.decompress(raw[41 : 41 + size]), np.uint8).reshape(high, 1 + 4 * wide)
    assert not lines[:, 0].any()
    for at in (8, 33):  # each chunk ends with the checksum of its kind and body
        length = struct.unpack(">I", raw[at : at + 4])[0]
        body = raw[at + 4 : at + 8 + length]
        assert struct.unpack(">I", raw[at + 8 + length : at + 12 + length])[0] == zlib.crc32(body)
    return lines[:, 1:].reshape(high, wide, 4).astype(int)


def test_colour_images_are_the_mean_of_their_channels() -> None:
    images = np.zeros((1, 2, 2))
    images[0, 0, 1] = -1.0
    svg = weight_images("w", images, ["0"], ["unit 0"], largest=2.0)
    check_drawing(svg)
    (tile,) = (decoded(node.get("href", "")) for node in ET.fromstring(svg).iter(f"{SVG}image"))
    assert tile[0, 1].tolist() == [30, 132, 200, 255]
    assert not tile[1, :2].any()


def test_only_a_chain_of_layers_is_drawn_as_one() -> None:
    x = data("x", "f64[B,3]")
    W1, W2, W3 = (parameter(f"W{k}", "f64[3,3]") for k in (1, 2, 3))
    a = (x @ W1).named("a1")
    assert chain(bp.Graph({"y": (a * 2.0 + a) @ W2 @ W3})) == ["W1", "W2", "W3"]
    assert chain(bp.Graph({"y": (a + x) @ W2})) == [], "a link around the first layer"
    assert chain(bp.Graph({"y": a @ W2 + x @ W3})) == [], "side by side"
    assert chain(bp.Graph({"y": a @ W1})) == [], "the same weights twice"
    assert chain(bp.Graph({"y": Sum((0,))(x)})) == []


# ---- the page


def test_the_page_is_whole_safe_and_loads_nothing(digits: bp.Run, xor: bp.Run, quantities: bp.Run) -> None:
    for run in (digits, xor, quantities):
        text = report_html(run)
        page = Page(text)
        assert not {"script", "iframe", "link", "object", "embed", "img", "form", "base"} & set(page.tags)
        names = {name for name, _ in page.attributes}
        assert not [n for n in names if n.startswith("on") or n in ("src", "action", "xlink:href")]
        assert all(v.startswith("data:image/png;base64,") for n, v in page.attributes if n == "href")
        assert "url(" not in text
        assert "@import" not in text
        assert ("http-equiv", "Content-Security-Policy") in page.attributes
        (policy,) = (v for n, v in page.attributes if n == "content" and "default-src" in v)
        assert policy.startswith("default-src 'none'; ")
        assert "script" not in policy
        assert text == report_html(run), "the same run gives the same page"
        assert len(text) < 400_000
        for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            check_drawing(svg)


def test_the_figures_of_the_page(digits: bp.Run) -> None:
    found = facts(digits)
    known = held(digits)
    assert set(known.parts) == {"train", "validation", "test"}
    # The rows that were read again are those that the run itself was scored on.
    for part, metrics in digits.metrics.items():
        assert known.scores[part]["accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-12)
        assert known.scores[part]["log_loss"] == pytest.approx(metrics["loss"], rel=1e-4)
    rows = {row[0]: row[1:] for row in found.metrics.rows}
    accuracy = [known.scores[p]["accuracy"] for p in ("train", "validation", "test")]
    assert list(rows["accuracy"][:3]) == [f"{100 * a:.2f} %" for a in accuracy]
    assert found.metrics.head[:4] == ("", "train", "validation", "test")
    assert found.metrics.head[4].endswith("the most frequent (test)")
    assert found.metrics.head[5] == "logistic regression (test)"
    page = Page(report_html(digits))
    assert f"Accuracy on the test part of 359 rows: {100 * accuracy[2]:.2f} %." in page.text
    assert found.confusion.counts == known.scores["test"]["confusion"]
    for expected in (digits.settings.data.fingerprint, "64 - 30 sigmoid - 10 softmax", "run.verify()"):
        assert expected in page.text
    assert digits.text(section="backward", prelude=False) in page.text
    assert "δ1" in page.text


def test_the_backward_program_alone_is_not_the_whole_step(digits: bp.Run) -> None:
    found = facts(digits, baselines={})
    assert "W1_new" not in found.backward
    assert "W1_new" in found.step
    assert len(found.metrics.head) == 4, "baselines that are left out"


def test_curves_are_the_history(digits: bp.Run) -> None:
    cost, accuracy = facts(digits, baselines={}).panels
    assert [line.part for line in cost.lines] == ["train", "validation"]
    assert cost.lines[0].y == [row["cost"] for row in digits.history]
    assert accuracy.lines[0].y == [row["validation_accuracy"] for row in digits.history]
    best = min(digits.history, key=lambda row: row["validation_loss"])["epoch"]
    assert cost.mark == (best, f"lowest validation cost: epoch {best:.0f}")


def test_with_too_few_epochs_the_curve_is_of_steps(digits: bp.Run) -> None:
    net = bp.Network([bp.Dense(10, "softmax")])
    run = bp.train(net, "digits", epochs=2, batch=2)
    (panel,) = facts(run, baselines={}).panels
    assert len(panel.lines[0].x) == 400
    assert panel.lines[0].x[-1] == run.steps
    assert np.average(panel.lines[0].y, weights=np.diff([0, *panel.lines[0].x])) == pytest.approx(
        run.costs.mean()
    )


def test_quantities_are_shown_against_the_truth(quantities: bp.Run) -> None:
    found = facts(quantities)
    assert [c.name for c in found.clouds] == ["target 0", "target 1"]
    assert found.clouds[0].part == "validation"
    np.testing.assert_allclose(found.clouds[1].true, quantities.parts["validation"][1][:, 1])
    x, t = (quantities.rows.arrays[k][:50] for k in ("x", "t"))
    given = facts(quantities, parts={"train": (x, t), "test": (x, t)})
    assert given.clouds[0].part == "test"
    np.testing.assert_allclose(given.clouds[0].predicted, quantities.predict_raw(x)[:, 0], rtol=1e-5)
    assert given.details.head[0] == "target (test)"
    assert given.metrics.head[-2:] == ("always the mean (test)", "ridge regression (test)")


def test_quantities_in_the_units_of_the_data(quantities: bp.Run) -> None:
    class Thousands:
        columns, warnings = ("a", "b", "c"), ("a column is constant",)

        def in_units(self, values):
            return 1000.0 * np.asarray(values, np.float64)

        def summary(self):
            return ["Quantities are divided by 1,000."]

    class Renamed:
        preparation, answers_named = Thousands(), ("price", "size")

        def __getattr__(self, name: str) -> object:
            return getattr(quantities, name)

    run = Renamed()
    of = {name: quantities.parts[name] for name in ("train",)}
    plain_scores, scores = held(quantities, of).scores["train"], held(run, of).scores["train"]
    assert scores["mae"] == pytest.approx(1000 * plain_scores["mae"])
    assert scores["r2"] == pytest.approx(plain_scores["r2"])
    found = facts(run, parts=of)
    assert [c.name for c in found.clouds] == ["price", "size"]
    assert np.ptp(found.clouds[0].true) > 1000
    page = Page(report_html(run, parts=of)).text
    for expected in ("Quantities are divided by 1,000.", "a column is constant", "price"):
        assert expected in page
    assert {"a", "b", "c", "price", "size"} <= set(texts(plot(run, "net").svg))


def test_text_of_users_stays_text() -> None:
    names = [NASTY, "a & b", 'say "hi"', "nul\x01\ud800"]
    run = classes_named(names[:3])
    text = report_html(run, preparation_summary=[NASTY], command=f"backpass train {NASTY}")
    page = Page(text)
    assert "img" not in page.tags
    assert not [n for n, _ in page.attributes if n.startswith("on")]
    assert page.text.count(NASTY) >= 4
    assert "a & b" in page.text
    for kind in ("confusion", "net", "curves"):
        picture = plot(run, kind)
        assert NASTY in " ".join([picture.title, *texts(picture.svg), *tips(picture.svg)])
        assert "<img" not in picture.svg
    svg = Svg(names[3], 100, 50)
    svg.text(0, 20, names[3], tip=names[3])
    assert "nul\ufffd\ufffd" in texts(str(svg)) + tips(str(svg))
    assert plain("\x00<") == "\ufffd&lt;"


def test_texts_are_cut_to_their_room() -> None:
    assert cut("short", 100) == "short"
    for room in (20, 60, 120):
        assert width(cut("a long name of something " * 4, room)) <= room
        assert width(cut("漢字" * 40, room)) <= room
    assert cut("two\nlines", 200) == "two lines"


# ---- runs that lack something


def test_a_run_whose_rows_are_gone_still_has_a_report(tmp_path, quantities: bp.Run) -> None:
    path = quantities.save(tmp_path / "run")
    (path / "rows.safetensors").unlink()
    run = bp.load(path)
    found = facts(run)
    assert found.clouds == ()
    assert found.metrics.head == ("", "train", "validation")
    assert "R²" in {row[0] for row in found.metrics.rows}
    assert dict(found.reproduce)["run folder"] == str(path)
    Page(report_html(run))
    with pytest.raises(UsageError, match="cannot be had again"):
        plot(run, "scatter")


def test_given_scores_are_shown_as_given(digits: bp.Run) -> None:
    given = {"test": held(digits).scores["test"] | {"accuracy": 0.12345}}
    page = Page(report_html(digits, scores=given, baselines={}, parts={}))
    assert "12.35 %" in page.text or "12.34 %" in page.text


def test_a_run_that_diverged_says_so() -> None:
    X = np.array([[1.0], [2.0], [3.0]])
    with pytest.raises(bp.errors.NonFinite) as caught:
        bp.train(bp.Network([bp.Dense(1)]), (X, X[:, 0] * 1e3), optimizer=bp.SGD(1e9), epochs=50, dtype="f32")
    run = caught.value.run
    page = Page(report_html(run))
    assert "training diverged at step" in page.text
    assert ", diverged" in page.text


def test_what_cannot_be_drawn_is_refused_with_reasons(digits: bp.Run, xor: bp.Run, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"no picture 'curve'.*curves"):
        plot(digits, "curve")
    with pytest.raises(UsageError, match="'scatter' is for regression"):
        plot(digits, "scatter")
    with pytest.raises(UsageError, match="where the inputs are pixels"):
        plot(xor, "weights")
    with pytest.raises(UsageError, match="needs results"):
        plot_rows([{"rows": 3}])
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(xor, tmp_path / "no" / "such" / "folder.html")


# ---- keeping them


def test_a_picture_is_shown_and_saved(xor: bp.Run, tmp_path) -> None:
    picture = plot(xor)
    assert picture._repr_svg_() == picture.svg == picture._repr_html_()
    assert picture.save(tmp_path / "a.svg").read_text(encoding="utf-8") == picture.svg
    page = Page(picture.save(tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "svg" in page.tags
    with pytest.raises(UsageError, match=r"\.svg or \.html"):
        picture.save(tmp_path / "a.png")
    assert repr(picture).startswith("<Picture 'Learning curves: ")
    assert isinstance(picture, Picture)


def test_the_report_is_written(xor: bp.Run, tmp_path) -> None:
    path = write_report(xor, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == report_html(xor)


def test_more_rows() -> None:
    results = [
        {
            "rows": 1000,
            "train": {"accuracy": 0.97, "loss": 0.1},
            "validation": {"accuracy": 0.95, "loss": 0.2},
        },
        {"rows": 100, "train": {"accuracy": 1.0, "loss": 0.01}, "validation": {"accuracy": 0.8, "loss": 0.9}},
    ]
    picture = plot_rows(results, "digits")
    check_drawing(picture.svg)
    assert "validation, training rows 100: 80.00 %" in tips(picture.svg)
    assert "Against the number of training rows: digits" in texts(picture.svg)


def test_pictures_have_colours_for_light_and_dark(xor: bp.Run) -> None:
    """Text and lines stand out from the ground: at least 4.5 to 1 for text, 3 to 1 for lines (WCAG 2.1)."""
    style = re.findall(r"\.bp\{([^}]*)\}", plot(xor).svg)
    assert len(style) == 2
    for block in style:
        colours = dict(re.findall(r"--([\w-]+):(#[0-9a-f]+)", block))
        ground = luminance(colours["page"])
        for name, least in (("ink", 7), ("soft", 4.5), ("one", 3), ("two", 3), ("three", 3), ("plus", 3)):
            assert contrast(luminance(colours[name]), ground) >= least, name
        assert contrast(luminance(colours["on"]), luminance(colours["minus"])) >= 4.5


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = np.array([int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
