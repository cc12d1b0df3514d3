"""The folder in which large tables lie as they were read and prepared, so that the next run need not again.

An entry is a folder with a ``made.json`` in it, written last: without that it is not used. Its name is the
hash of all that it depends on (path, size and time of the file, settings, version): it is right or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backpass.errors import StorageError
from backpass.version import __version__

#: An entry that was not used for so long is removed when another is made.
KEPT_DAYS = 30

_MARK = "made.json"


def cache_folder() -> Path:
    """``BACKPASS_CACHE``, else ``backpass`` in the user's cache folder."""
    if given := os.environ.get("BACKPASS_CACHE"):
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "backpass"


def clear_cache() -> int:
    """Remove all entries; the bytes that this gave back."""
    size = 0
    for entry in _entries():
        size += sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
        shutil.rmtree(entry, ignore_errors=True)
    return size


def size_of(source: str) -> int:
    """The bytes of the entries of a source."""
    size = 0
    for entry in _entries():
        with suppress(OSError, ValueError):
            if json.loads((entry / _MARK).read_text("utf-8")).get("source") == source:
                size += sum(file.stat().st_size for file in entry.iterdir())
    return size


def key_of(settings: Any) -> str:
    """The name of the entry that depends on these settings (plain JSON)."""
    text = json.dumps([__version__, settings], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def found(key: str) -> tuple[Path, dict[str, Any]] | None:
    """The folder of an entry and what was written down with it, if it is there and whole."""
    entry = cache_folder() / f"table-{key}"
    try:
        made: dict[str, Any] = json.loads((entry / _MARK).read_text("utf-8"))
        os.utime(entry / _MARK)
    except (OSError, ValueError):
        return None
    return entry, made


@contextmanager
def making(key: str, source: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Make an entry: fill the folder and the facts; it takes its name when the block ends well.

    Entries of the same source that no longer hold, those of `KEPT_DAYS` without use, and what a killed
    process left are removed first.

    Raises
    ------
    StorageError
        The cache folder cannot be written.
    """
    root = cache_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(source)
        work = Path(tempfile.mkdtemp(prefix=f"making-{os.getpid()}-", dir=root))
    except OSError as error:
        raise StorageError(
            f"the cache folder {root} cannot be written: {error.strerror}.\n"
            "  Give another in the environment variable BACKPASS_CACHE, or raise BACKPASS_MEMORY."
        ) from None
    made: dict[str, Any] = {"source": source}
    try:
        yield work, made
        text = json.dumps(made)
        with open(work / _MARK, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # another process made the same entry meanwhile: it is as good
            os.rename(work, root / f"table-{key}")
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"writing to the cache folder {root} failed: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _entries() -> list[Path]:
    root = cache_folder()
    return [p for p in root.glob("*-*") if p.name.startswith(("table-", "making-")) and p.is_dir()]


def _sweep(source: str) -> None:
    for entry in _entries():
        if entry.name.startswith("making-"):
            stale = not _alive(entry.name.split("-")[1])
        else:
            try:
                mark = entry / _MARK
                made = json.loads(mark.read_text("utf-8"))
                old = time.time() - mark.stat().st_mtime > KEPT_DAYS * 86400
                stale = old or (made.get("source") == source and made.get("stamp") != _stamp(source))
            except (OSError, ValueError):
                stale = True
        if stale:
            shutil.rmtree(entry, ignore_errors=True)


def _stamp(source: str) -> list[int] | None:
    try:
        now = os.stat(source)
    except OSError:
        return None
    return [now.st_size, now.st_mtime_ns]


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
