"""The language of kernels against Python, which runs the same source; their cache; which BLAS they call."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import interpreted
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.errors import UsageError
from backpass.exec.compiled import blas, kernels, target
from backpass.exec.compiled.compiler import Argument

FLOATS = {"f32": np.float32, "f64": np.float64}
dtypes = pytest.mark.parametrize("dtype", FLOATS)

# ---- the language


def arguments(dtype: str) -> list[Argument]:
    return [Argument("x", dtype), Argument("y", dtype), Argument("k", "int64"), Argument("b", "boolean"),
            Argument("n", "int64", False)]  # fmt: skip


SPECIAL = [0.0, -0.0, 1.5, -1.5, 0.1, 3.0, np.inf, -np.inf, np.nan, 1e30, -1e-30, 2.0]


def memory(dtype: str) -> tuple[Any, ...]:
    """x: all pairs of special values meet in (x[i], x[j]); y, k, b: to be written."""
    x = np.array(SPECIAL, FLOATS[dtype])
    size = len(x) ** 2
    return x, np.zeros(size, x.dtype), np.arange(size) - 5, np.zeros(size, bool)


SOURCES = """
# sum
for i in range(n):
    for j in range(n):
        y[i*n + j] = x[i] + x[j]
# difference
for i in range(n):
    for j in range(n):
        y[i*n + j] = x[i] - x[j]
# product
for i in range(n):
    for j in range(n):
        y[i*n + j] = x[i] * x[j]
# quotient
for i in range(n):
    for j in range(n):
        y[i*n + j] = x[i] / x[j]
# no product is merged with an addition
for i in range(n):
    for j in range(n):
        y[i*n + j] = x[i] * x[j] + x[4]
# no sum is reordered
s = real(0.0)
for i in range(n):
    for j in range(6):
        s = s + x[j] * 0.3
    y[i] = s
# minus
for i in range(n):
    for j in range(n):
        y[i*n + j] = -(x[i] - x[j])
# a number that is known
for i in range(n):
    for j in range(n):
        y[i*n + j] = (x[i] + 2) * K0 - 3 * 4 + 1 / 8 + 2 ** 3 - 7 // 2
# ==
for i in range(n):
    for j in range(n):
        b[i*n + j] = x[i] == x[j]
# !=
for i in range(n):
    for j in range(n):
        b[i*n + j] = x[i] != x[j]
# <
for i in range(n):
    for j in range(n):
        b[i*n + j] = x[i] < x[j]
# <=
for i in range(n):
    for j in range(n):
        b[i*n + j] = x[i] <= x[j]
# >
for i in range(n):
    for j in range(n):
        b[i*n + j] = x[i] > x[j]
# >=
for i in range(n):
    for j in range(n):
        b[i*n + j] = x[i] >= x[j]
# not
for i in range(n):
    for j in range(n):
        b[i*n + j] = not x[i] < x[j]
# and, or
for i in range(n):
    for j in range(n):
        b[i*n + j] = x[i] < x[j] and x[i] > 0.0 or x[j] != x[j]
# a boolean from memory
b[1] = True
for i in range(n):
    b[i + 2] = b[i + 1] or x[i] > 1.0 and not b[i]
    k[i] = int64(b[i])
    y[i] = real(b[i])
# a boolean in a variable
found = False
for i in range(n):
    found = found or x[i] > 2.5
    b[i] = found
# if else
for i in range(n):
    for j in range(n):
        if x[i] < x[j]:
            y[i*n + j] = x[i]
        else:
            y[i*n + j] = x[j] + 1.0
# if
count = 0
for i in range(n):
    if x[i] > 1.0:
        count = count + 1
        y[i] = real(count)
k[0] = count
# conditional expression
for i in range(n):
    for j in range(n):
        y[i*n + j] = x[i] if x[i] > x[j] else x[j]
# inside each other
for i in range(n):
    for j in range(n):
        y[i*n + j] = (x[i] if x[j] > 0.0 else 0.5) if x[i] != 0.0 else -x[j]
# abs
for i in range(n):
    y[i] = abs(x[i])
    k[i] = abs(k[i])
# integers
for i in range(n):
    k[i] = (k[i] * 3 - i) * 2 + (i * 7) // 3 - (-i)
# bits
for i in range(n):
    k[i] = ((k[i] << 3) >> 1 ^ i) + (k[i] >> 1) + (k[i] & 6) - (i | 9)
# to an integer and back
for i in range(6):
    k[i] = int64(x[i] * 10.0)
    y[i] = real(k[i]) / 2.0
# increments
for i in range(n):
    y[0] += x[4]
    k[1] -= i
    y[2] *= 0.5
s = 1.0
s += x[2]
y[3] = s
# several at once
p, q = x[2], x[4]
p, q = q, p
y[0], y[1] = p, q
# a part of an array
for i in range(4):
    y[i*3:][2] = x[2:][i]
    y[40:45][i] = x[i:n][1]
# a range with a start
for i in range(2, n - 1):
    y[i] = x[i]
for i in range(5, 5):
    y[0] = 1.0
for i in range(7, 2):
    y[1] = 1.0
# a loop that does nothing
for i in range(n - n):
    y[i] = 1.0
# a name of a loop is used again
for i in range(3):
    y[i] = x[i]
    for j in range(2):
        y[i + 5] = real(j)
for i in range(2):
    k[i] = i
# infinite numbers
y[0] = real(float('inf'))
y[1] = -real(float('inf'))
y[2] = real(float('nan'))
"""

STATEMENTS = dict(part.split("\n", 1) for part in SOURCES.strip().removeprefix("# ").split("\n# "))


def assert_alike(source: str, dtype: str, usual: dict[str, int] | None = None, n: int = len(SPECIAL)) -> None:
    """What native code leaves in memory and gives is what Python leaves and gives, bit for bit."""
    if "return" not in source.splitlines()[-1]:
        source = f"{source}\nreturn n + 1\n"
    constants, results = {"K0": 0.7}, []
    for build in (kernels.build, interpreted.build):
        kernel = build(source, dtype, arguments(dtype), constants, usual)
        arrays = memory(dtype)
        results.append((kernel(*arrays, n), *arrays))
    (code, *got), (wanted_code, *wanted) = results
    assert code == wanted_code
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
        if a.dtype.kind == "f":
            known = ~np.isnan(a)
            np.testing.assert_array_equal(np.signbit(a[known]), np.signbit(b[known]))


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_mean_what_they_mean_in_python(name: str) -> None:
    assert_alike(STATEMENTS[name], "f64")


@dtypes
def test_all_statements_in_one_kernel(dtype: str) -> None:
    """In each type, and with the optimiser free to mix them."""
    assert_alike("\n".join(STATEMENTS.values()), dtype)


def test_a_kernel_stops_where_it_returns() -> None:
    source = "for i in range(n):\n    y[i] = x[i]\n    if not x[i] - x[i] == 0.0:\n        return i\nreturn n"
    assert_alike(source, "f64")
    assert_alike("if n > 3:\n    return 7\nelse:\n    return 8\nreturn 9", "f64")


@dtypes
def test_a_usual_size_changes_nothing(dtype: str) -> None:
    """What follows is written twice: for the usual size, and for any other."""
    source = """\
for t in range(2):
    m = n // 2 + t
    s = real(0.0)
    for i in range(m):
        s = s + x[i] * 0.1
        y[i*2 + t] = s
    if m > 3:
        s = s + 1.0
    y[40 + t] = s
    k[t] = m * 2
return n
"""
    for n in (0, 4, 8, 12):  # 4 is not usual
        for usual in (None, {"m": 4}, {"m": 0}):
            assert_alike(source, dtype, usual, n)


EXPRESSION = st.recursive(
    st.sampled_from(["x[0]", "x[1]", "x[2]", "x[i]", "x[j]", "K0", "real(k[i])", "real(b[i])", "0.5", "3"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"(-{e})"),
        inner.map(lambda e: f"abs(real({e}))"),
        inner.map(lambda e: f"sqrt(abs(real({e})))"),
        st.tuples(inner, inner, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), inner, inner).map(
            lambda t: (
                f"(real({t[0]}) if real({t[1]}) {t[2]} real({t[3]}) and not x[i] > 2.0 else real({t[4]}))"
            )
        ),
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(EXPRESSION, min_size=3, max_size=3), st.sampled_from(list(FLOATS)))
def test_random_expressions(expressions: list[str], dtype: str) -> None:
    lines = ["for i in range(n):", "    for j in range(n):"]
    lines += [f"        y[i*{k + 1} + j] = real({e})" for k, e in enumerate(expressions)]
    assert_alike("\n".join(lines), dtype)


def test_kinds_that_meet_are_refused() -> None:
    with pytest.raises(TypeError, match="f64 and int64 meet"):
        kernels.build("y[0] = x[0] + k[0]\nreturn 0\n", "f64", arguments("f64"), {})


# ---- the cache

COUNT = "for i in range(n):\n    y[i] = {} + x[i]\nreturn n\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing that was loaded before."""
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "loaded", {})
    return tmp_path / "cache"


def works(number: float = 1.0) -> None:
    """A kernel is built, and does what it says."""
    x, y, k, b = memory("f64")
    assert kernels.build(COUNT.format(number), "f64", arguments("f64"), {})(x, y, k, b, 5) == 5
    np.testing.assert_array_equal(y[:5], number + x[:5])


def again(monkeypatch: pytest.MonkeyPatch, may_compile: bool) -> None:
    """As a new process has it."""
    monkeypatch.setattr(kernels, "loaded", {})
    made = []
    compiled = kernels.compiled
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "compiled", lambda *given: (made.append(1), compiled(*given))[1])
        works()
    assert bool(made) == may_compile


def test_a_kernel_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works()
    (file,) = cache.iterdir()
    assert file.suffix == ".kernel"
    data = file.read_bytes()
    assert data[:32] == hashlib.sha256(data[32:]).digest()
    again(monkeypatch, may_compile=False)
    works(2.0)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "short", "cut", "changed", "longer", "other"])
def test_a_damaged_file_is_made_again(damage: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works()
    (file,) = cache.iterdir()
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes({
        "empty": b"", "short": data[:20], "cut": data[:-1], "longer": data + b"\0",
        "other": b"no kernel" * 99, "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
    }[damage])  # fmt: skip
    again(monkeypatch, may_compile=True)
    assert file.read_bytes() == data
    again(monkeypatch, may_compile=False)


@pytest.mark.parametrize("obstacle", ["a file", "under a file", "a folder of that name", "a full disk"])
def test_where_nothing_can_be_kept(obstacle: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the superuser can write into no file as if it were a folder."""
    if obstacle == "a file":
        cache.write_text("")
    elif obstacle == "under a file":
        cache.write_text("")
        monkeypatch.setenv("BACKPASS_CACHE", str(cache / "deeper"))
    elif obstacle == "a folder of that name":
        works()
        (file,) = cache.iterdir()
        file.unlink()
        file.mkdir()
    else:
        write = Path.write_bytes

        def full(path: Path, data: bytes) -> int:
            write(path, data[:100])
            raise OSError(errno.ENOSPC, "no space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
    again(monkeypatch, may_compile=True)
    assert not [
        p for p in cache.parent.rglob("*") if p.is_file() and p.stat().st_size
    ]  # nothing half-written


AT_ONCE = """
import sys
import numpy as np
from backpass.exec.compiled import kernels
from backpass.exec.compiled.compiler import Argument
print("ready", flush=True)
sys.stdin.readline()
arguments = [Argument("y", "f64"), Argument("n", "int64", False)]
source, y = "for i in range(n):\\n    y[i] = exp(real(i))\\nreturn 5\\n", np.zeros(9)
assert kernels.build(source, "f64", arguments, {})(y, 9) == 5
print(y.tobytes().hex())
"""


def test_two_processes_that_make_the_same_kernel_at_once(cache: Path) -> None:
    environment = os.environ | {"BACKPASS_CACHE": str(cache)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    both = [subprocess.Popen([sys.executable, "-c", AT_ONCE], **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60)[0] for process in both]
    assert all(process.returncode == 0 for process in both)
    assert results[0] == results[1] != ""
    (file,) = cache.iterdir()
    data = file.read_bytes()
    assert data[:32] == hashlib.sha256(data[32:]).digest()


def test_what_a_kernel_depends_on_is_in_its_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = blas.chosen()

    def name(source: str = COUNT.format(1), real: str = "f64", constants: Any = (), usual: Any = None,
             used: blas.Blas = used) -> str:  # fmt: skip
        before = set(kernels.loaded)
        kernels.build(source, real, arguments(real), dict(constants), usual, used=used)
        (new,) = set(kernels.loaded) - before or {""}
        return new

    first = name()
    assert first != ""
    assert name() == ""  # nothing new
    names = {first, name(COUNT.format(2)), name(real="f32"), name(constants=[("K0", 1.0)]),
             name(constants=[("K0", 2.0)]), name(usual={"m": 3})}  # fmt: skip
    other = blas.Blas("other", used.version, used.addresses, used.alone)
    newer = blas.Blas(used.name, "99", used.addresses, used.alone)
    names |= {name(used=other), name(used=newer)}
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "cpu_name", lambda: "another processor")
        names.add(name())
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "versions", lambda: {"llvmlite": "99"})
        names.add(name())
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "_own_source", lambda: "another compiler")
        names.add(name())
    features = target.features()
    with monkeypatch.context() as patch:
        patch.setattr(target, "features", lambda: features + ",-another")
        names.add(name())
    assert "" not in names
    assert len(names) == 12
    assert len(list(cache.iterdir())) == 12


def test_all_that_decides_native_code_is_in_its_name() -> None:
    """The modules that `kernels` makes code with: a change of any of them makes other kernels."""
    folder = Path(kernels.__file__).parent
    for module in ("compiler", "mathematics", "products", "barrier", "target", "kernels", "source"):
        text = (folder / f"{module}.py").read_text(encoding="utf-8")
        assert text in kernels._own_source(), module


def test_the_folder_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path / "here"))
    assert kernels.cache_folder() == tmp_path / "here"
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("BACKPASS_CACHE")
        else:
            monkeypatch.setenv("BACKPASS_CACHE", value)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert kernels.cache_folder() == tmp_path / "xdg" / "backpass"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert kernels.cache_folder() == Path("~/.cache/backpass").expanduser()
        monkeypatch.setattr(sys, "platform", "darwin")
        assert kernels.cache_folder() == Path("~/Library/Caches/backpass").expanduser()
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
        assert kernels.cache_folder() == tmp_path / "local" / "backpass"


# ---- BLAS


@pytest.fixture
def mkl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets which version of MKL there is, as it were, and which files it has."""

    def install(version: str | None, files: Any = ()) -> None:
        def version_of(name: str) -> str:
            if name != "mkl":
                return "1.0"
            if version is None:
                raise PackageNotFoundError(name)
            return version

        monkeypatch.setattr(blas, "version", version_of)
        monkeypatch.setattr(blas, "files", lambda name: list(files))
        blas._mkl.cache_clear()

    monkeypatch.delenv("BACKPASS_BLAS", raising=False)
    yield install
    blas._mkl.cache_clear()


class Located:
    """A file of a package."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path

    def locate(self) -> Path:
        return self._path


def test_a_name_that_is_no_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_BLAS", "mlk")
    with pytest.raises(UsageError, match=r"BACKPASS_BLAS is 'mlk'\. .*mkl"):
        blas.chosen()


def test_without_mkl_it_is_scipy(mkl: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libmkl_rt.so.2"
    broken.write_bytes(b"no library")
    problems = {
        "the package mkl is not installed": (None, []),
        r"mkl 2023\.2\.0 is too old \(2024\.0 or newer is needed\)": ("2023.2.0", []),
        r"mkl 2024\.1\.0 cannot be loaded: its library mkl_rt is not where": ("2024.1.0", []),
        r"mkl 2025\.0\.0 cannot be loaded: .*libmkl_rt": ("2025.0.0", [Located(broken)]),
    }
    for problem, (version, files) in problems.items():
        mkl(version, files)
        for wanted in ("", " SciPy ", "scipy"):
            monkeypatch.setenv("BACKPASS_BLAS", wanted)
            assert blas.chosen().name == "scipy"
        monkeypatch.setenv("BACKPASS_BLAS", "MKL")
        with pytest.raises(UsageError, match=problem) as caught:
            blas.chosen()
        assert "BACKPASS_BLAS is 'mkl', but" in str(caught.value)
        assert "pip install 'backpass[mkl]'" in str(caught.value)


def test_mkl_is_told_to_stay_in_its_thread(mkl: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And to count in 32 bits; its own file is loaded, not one of a similar name."""
    told = []

    class Library:
        def __init__(self, path: str) -> None:
            told.append(Path(path).name)
            self.sgemm = self.dgemm = ctypes.CFUNCTYPE(None)(lambda: None)

        def MKL_Set_Threading_Layer(self, layer: int) -> None:
            told.append(("threads", layer))

        def MKL_Set_Interface_Layer(self, layer: int) -> None:
            told.append(("integers", layer))

    monkeypatch.setattr(blas.ctypes, "CDLL", Library)
    names = ("libmkl_rt.so.2.txt", "libmkl_core.so.2", "libmkl_rt.so.2")
    mkl("2024.0", [Located(tmp_path / name) for name in names])
    used = blas.chosen()
    assert (used.name, used.version) == ("mkl", "2024.0")
    assert all(used.addresses())
    assert told == ["libmkl_rt.so.2", ("threads", 1), ("integers", 0)]
    monkeypatch.setenv("BACKPASS_BLAS", "scipy")
    assert blas.chosen().name == "scipy"


@pytest.mark.parametrize("first", ["", "import scipy.linalg", "import scipy.linalg.cython_blas"])
def test_the_table_of_scipy_before_and_after_its_package(first: str) -> None:
    code = f"""
import sys
{first}
from backpass.exec.compiled import blas
before = "scipy.linalg" in sys.modules
table = blas._cython_blas()
assert ("scipy.linalg" in sys.modules) == before, "all of scipy.linalg was loaded"
addresses = blas._scipy().addresses()
import scipy.linalg.blas
from scipy.linalg import cython_blas
assert scipy.linalg.blas.dgemm(1.0, [[2.0]], [[3.0]]).tolist() == [[6.0]]
assert blas._cython_blas() is cython_blas
assert blas._cython_blas().__pyx_capi__["sgemm"] is not None
print(len({{*addresses, 0}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "3\n", done.stderr
