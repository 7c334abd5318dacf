"""Each rank watches the others: when one dies, fails or hangs, all leave at once instead of waiting for it.

A thread in every rank writes a sign of life to the launcher's store each half second, with what the rank is doing and
how often it has ticked, and reads those of the others. Whoever finds something wrong says so in the store, and all
leave.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from alexnet_cli.parallel.meeting import serves_store, store_of_ranks

RECORDS = "ALEXNET_RANK_RECORDS"
"""Environment variable: the folder in which our own launcher wants to find what went wrong."""
PHASE = "phase-"
"""Beginning of the names of files there that hold what each rank is doing."""
LEFT_BEHIND = 61
"""Exit code of a rank that leaves because of another."""
_EVERY = 0.5
_NAP = 10 * _EVERY
"""The most seconds that count between two looks: a rank that was suspended (Ctrl-Z, Slurm) saw nothing for longer."""
_PATIENCE = 3.0
"""Seconds that a rank with a failed collective waits for the watch to name the peer that made it fail."""


@dataclass
class _Seen:
    """What was last seen of a peer, and when it changed."""

    beat: str = ""
    ticks: str = ""
    beat_at: float = 0.0
    ticks_at: float = 0.0
    text: str = "the start"


class Watch:
    """The thread. `tick` whenever the work moves on; `leave_in_order` when all is done."""

    def __init__(self, rank: int, world: int, device: str, *, timeout: float) -> None:
        self.rank, self.world, self.device, self.timeout = rank, world, device, timeout
        self.launched = RECORDS in os.environ
        self.phase = "the start"
        self.ticks = 0
        self._awake = 0.0
        """Seconds for which this rank has watched."""
        self._status: int | None = None
        if self.launched:
            self._status = os.open(Path(os.environ[RECORDS]) / f"{PHASE}{rank}", os.O_WRONLY | os.O_CREAT, 0o600)
        self._parent = os.getppid()
        self._stderr = os.dup(2)  # ranks other than the first send theirs to a log soon
        self._done = threading.Event()
        self.serves = serves_store(rank)
        """Whether this rank's process keeps the store: then the store exists only after the ranks have met."""
        self._store: Any = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; a rank that keeps the store has to meet the others first."""
        # An own connection: it serves one request at a time, and another thread's long one would block this thread.
        self._store = store_of_ranks("watch", self.timeout)
        self._store.set(f"who/{self.rank}", json.dumps([socket.gethostname(), os.getpid(), self.device]))
        self._thread.start()

    def tick(self, phase: str) -> None:
        """The work progressed; `phase` says what is being done."""
        self.phase = phase
        self.ticks += 1
        if self._status is not None:  # a killed process can no longer say what it was doing
            os.pwrite(self._status, f"{phase:<80}".encode(), 0)

    def leave_in_order(self) -> None:
        """All is done: the others need not look for this rank any more."""
        if self._thread.is_alive():
            self._done.set()
            self._thread.join(5)
            with suppress(Exception):
                self._store.set(f"done/{self.rank}", "1")

    def fail(self, cause: str, code: int, *, by_peer: bool, error: str = "") -> None:
        """Tell everyone that this rank fails. by_peer: a collective broke, and the peer behind it is to be named.

        error: the name of an AlexNetError, whose cause is a complete message.
        """
        if by_peer and self._thread.is_alive():
            time.sleep(_PATIENCE)  # the thread ends the process when it finds the culprit
        self._record(self.rank, cause, kind="collateral" if by_peer else "error", code=code, error=error)
        with suppress(Exception):
            self._store.compare_set("abort", "", json.dumps([self.rank, cause]))

    def _run(self) -> None:
        peers = {rank: _Seen() for rank in range(self.world) if rank != self.rank}
        beat, last = 0, time.monotonic()
        while not self._done.wait(_EVERY):
            beat += 1
            now = time.monotonic()
            self._awake += min(now - last, _NAP)
            last = now
            try:
                self._store.set(f"beat/{self.rank}", json.dumps([beat, self.ticks, self.phase]))
                if self._store.check(["abort"]):
                    self._leave()
                for rank, seen in peers.items():
                    self._look(rank, seen)
                self._look_for_standstill(peers)
            except Exception as error:  # the launcher, or the rank that kept the store, is gone
                if self._done.is_set():
                    return
                if os.environ.get("ALEXNET_DEBUG"):
                    os.write(self._stderr, f"rank {self.rank}: the watch ends: {error!r}\n".encode())
                self._record(self.rank, "its launcher is gone", kind="collateral")
                os._exit(LEFT_BEHIND)
            if os.getppid() != self._parent:
                os._exit(LEFT_BEHIND)

    def _look(self, rank: int, seen: _Seen) -> None:
        now = self._awake
        if self._store.check([f"done/{rank}"]):
            seen.beat_at = seen.ticks_at = now
            return
        if self._store.check([f"beat/{rank}"]):
            beat, ticks, phase = json.loads(self._store.get(f"beat/{rank}"))
            seen.text = phase
            if str(beat) != seen.beat:
                seen.beat, seen.beat_at = str(beat), now
            if str(ticks) != seen.ticks:
                seen.ticks, seen.ticks_at = str(ticks), now
        if now - seen.beat_at > self.timeout:
            self._accuse(rank, f"hangs at {seen.text}: no sign of life for {self.timeout:g} s")
        elif not self._alive(rank):
            time.sleep(_EVERY)  # a rank that fails with a reason leaves it in the store as it goes
            if not self._store.check(["abort"]) and not self._store.check([f"done/{rank}"]):
                self._accuse(rank, f"died at {seen.text}", died=True)

    def _look_for_standstill(self, peers: dict[int, _Seen]) -> None:
        """All ranks are alive and none ticks: the one that stopped first holds up the others."""
        now = self._awake
        if any(now - seen.ticks_at < self.timeout for seen in peers.values()) or not peers:
            return
        stuck = min(peers, key=lambda rank: (int(peers[rank].ticks or 0), rank))
        behind = int(peers[stuck].ticks or 0)
        if behind < self.ticks or (behind == self.ticks and self.rank < stuck):
            self._accuse(stuck, f"is stuck at {peers[stuck].text}: no progress for {self.timeout:g} s")

    def _who(self, rank: int) -> tuple[str, int, str] | None:
        if not self._store.check([f"who/{rank}"]):
            return None
        host, pid, device = json.loads(self._store.get(f"who/{rank}"))
        return str(host), int(pid), str(device)

    def _alive(self, rank: int) -> bool:
        """Whether a peer's process on this machine is alive; for one elsewhere only its signs of life tell."""
        who = self._who(rank)
        if who is None or who[0] != socket.gethostname():
            return True
        try:
            os.kill(who[1], 0)
        except ProcessLookupError:
            return False
        with suppress(OSError):  # a zombie is dead too; without /proc the launcher's reaping tells
            return Path(f"/proc/{who[1]}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return True

    def _accuse(self, rank: int, cause: str, *, died: bool = False) -> None:
        """Tell everyone which rank is lost, and kill it if it still exists."""
        who = self._who(rank)
        self._record(rank, cause, kind="died" if died else "lost")
        first = self._store.compare_set("abort", "", json.dumps([rank, cause]))
        if who and who[0] == socket.gethostname():
            with suppress(OSError):
                os.kill(who[1], signal.SIGKILL)
        mine = json.loads(first) == [rank, cause]
        if mine and not self.launched:
            name = f"rank {rank}" + (f" ({who[2]})" if who else "")
            os.write(self._stderr, f"alexnet: {name} {cause}\n".encode())
        os._exit(LEFT_BEHIND)

    def _leave(self) -> NoReturn:
        rank, _ = json.loads(self._store.get("abort"))
        if rank == self.rank:
            time.sleep(2 * _PATIENCE)  # our own main thread is about to end the process, and says why
        os._exit(LEFT_BEHIND)

    def _record(self, rank: int, cause: str, *, kind: str, code: int = 6, error: str = "") -> None:
        """What went wrong, for our own launcher: a small file for each accused rank, from each rank that accuses it."""
        folder = os.environ.get(RECORDS)
        if folder is None:
            return
        record = {"rank": rank, "kind": kind, "cause": cause, "code": code, "error": error, "time": time.time()}
        with suppress(OSError):
            path = Path(folder) / f"{kind}-{rank}-by-{self.rank}.json"
            path.write_text(json.dumps(record), encoding="utf-8")
