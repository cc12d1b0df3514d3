"""Ctrl-C and SIGTERM while a command works."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from backpass.cli.output import Stopped


class Stop:
    """Ctrl-C and SIGTERM: the first one asks the training to stop, a second one leaves at once."""

    def __init__(self) -> None:
        self.signal = 0
        self.stepping = False  # then the training is asked; before it, nothing needs to be finished
        self.told = "before the first step; nothing was kept"
        self._before: dict[int, Any] = {}

    @property
    def code(self) -> int:
        return 128 + (self.signal or signal.SIGINT)

    def check(self) -> None:
        """Stop here if that was asked for."""
        if self.signal:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            if sys.stderr is not None and sys.stderr.isatty():
                os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # the bar had hidden the cursor
            os._exit(128 + number)
        self.signal = number
        if not self.stepping:
            raise KeyboardInterrupt

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if isinstance(error, KeyboardInterrupt):
            raise Stopped(self.told, self.code) from None
