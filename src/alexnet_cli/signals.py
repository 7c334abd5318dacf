"""SIGTERM, SIGHUP (a closed terminal) and Ctrl-C: end in order, or save first and then stop.

with ending_on_signals():                 # raises EndedBySignalError in the main thread
with stop_requests(talk) as stop:         # notes the signal; the work looks at `stop` where it can save
with signals_held():                      # what came meanwhile takes effect afterwards
with signals_to_children() as children:   # passes the signal on to commands that run in processes of their own

A signal that the caller ignores (nohup ignores SIGHUP) stays ignored. Signals reach the main thread only: in any other
thread these do nothing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from alexnet_cli.console import Talk

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a process to end."""


class EndedBySignalError(BaseException):
    """A signal ended the command. Not an Exception: no `except Exception` on the way may catch it."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"ended by {self.signal.name}")

    @property
    def exit_code(self) -> int:
        """As a shell tells it: 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal


class StopRequest:
    """Which signal came, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def ending_on_signals(error: Callable[[signal.Signals], BaseException] = EndedBySignalError) -> Iterator[None]:
    """SIGTERM and SIGHUP raise `error(signal)` while the block lasts: on the way out, work files are removed.

    Only the first one raises; later ones don't interrupt the cleaning up.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise error(signal.Signals(number))

    with handling(ENDING, on_signal):
        yield


@contextmanager
def stop_requests(talk: Talk) -> Iterator[StopRequest]:
    """Note SIGTERM, SIGHUP and Ctrl-C while the block lasts; a second Ctrl-C ends the work at once."""
    request = StopRequest()

    def on_signal(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            talk.say("saving, then stopping; Ctrl-C again stops at once")

    with handling((*ENDING, signal.SIGINT), on_signal):
        yield request


@contextmanager
def signals_held() -> Iterator[None]:
    """SIGTERM, SIGHUP and Ctrl-C wait until the block ends: for libraries that lose an exception, or break by one."""
    held: list[int] = []
    try:
        with handling((*ENDING, signal.SIGINT), lambda number, _: held.append(number)):
            yield
    finally:
        for number in held[:1]:
            signal.raise_signal(number)


class Children:
    """`alexnet` commands in processes of their own, which get the signals that come."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """Which signal came last, if any."""
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, words: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """Start `alexnet WORDS`; how: as Popen takes it."""
        child = subprocess.Popen([sys.executable, "-P", "-m", "alexnet_cli", *words], **how)
        self._started = [one for one in self._started if one.poll() is None] + [child]
        if self.signal is not None:  # it came while this one was starting
            self._pass_on()
        return child

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note a signal and pass it on. Ctrl-C reaches the children without us."""
        self.signal = signal.Signals(number)
        self._pass_on()

    def _pass_on(self) -> None:
        for child in self._started:
            if self.signal in ENDING and child.poll() is None:
                child.send_signal(self.signal)


@contextmanager
def signals_to_children() -> Iterator[Children]:
    """SIGTERM and SIGHUP go to the processes that are started from what this yields, while the block lasts."""
    children = Children()
    with handling((*ENDING, signal.SIGINT), children.on_signal):
        yield children


@contextmanager
def handling(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Handle signals while the block lasts, in the main thread; those that are ignored stay so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
