"""SIGTERM and Ctrl-C: ask the training to save and stop; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from alexnet_cli.console import Talk


class StopRequest:
    """Which signal came, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_requests(talk: Talk) -> Iterator[StopRequest]:
    """Catch SIGTERM and SIGINT while the block lasts. Only the main thread gets signals: elsewhere none is caught.

    Where SIGINT is ignored it stays so: there a parent decides what Ctrl-C means.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            talk.say("saving, then stopping; Ctrl-C again stops at once")

    wanted = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        wanted.append(signal.SIGINT)
    before = {number: signal.signal(number, on_signal) for number in wanted}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
