"""One process at a time writes a run folder: a file ``lock`` in it, with a process and its machine.

The system holds the lock for the process and lets go of it however that ends. What the file says is for
people; and for a folder that two machines share, where a system may not know of the other's locks.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from backpass.errors import StorageError

_AT = 1 << 20  # the byte that Windows locks: what comes before it can be read


class Lock:
    """The right to write a folder, until `release`.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    StorageError
        Another process has it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        try:
            self._file = self._taken()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"cannot write {self.path}: {error}") from None

    def _taken(self) -> int:
        while True:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            file = os.open(self.path, flags, 0o644)
            try:
                told = os.pread(file, 300, 0) if hasattr(os, "pread") else os.read(file, 300)
                holder = told.decode("utf-8", "replace").strip()
                if not _held(file):
                    raise StorageError(
                        f"another process is writing {self.path.parent}: {holder or 'unknown'}.\n"
                        "  Wait until it ends, or stop it with Ctrl-C; the run is whole either way."
                    )
                if holder and not holder.endswith(f" on {platform.node()}"):
                    raise StorageError(
                        f"{self.path.parent} is locked by {holder}, another machine, which cannot be asked "
                        f"from here.\n  If that no longer writes it, remove {self.path}"
                    )
                there = os.stat(self.path)
                if (there.st_dev, there.st_ino) == (os.fstat(file).st_dev, os.fstat(file).st_ino):
                    os.ftruncate(file, 0)
                    os.lseek(file, 0, os.SEEK_SET)
                    os.write(file, f"process {os.getpid()} on {platform.node()}\n".encode())
                    return file
                os.close(file)  # its holder has just removed it: once more
            except FileNotFoundError:
                os.close(file)
            except BaseException:
                os.close(file)
                raise

    def release(self) -> None:
        """Let others write the folder."""
        if self._file < 0:
            return
        file, self._file = self._file, -1
        if sys.platform != "win32":  # while it is held: nobody can have taken it
            self.path.unlink(missing_ok=True)
        os.close(file)
        if sys.platform == "win32":
            self.path.unlink(missing_ok=True)


def _held(file: int) -> bool:
    """Take the system's lock of an open file, unless another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _AT, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Windows says PermissionError. A file system without locks says something else: it is not refused.
        return not isinstance(error, (BlockingIOError, PermissionError))
    return True
