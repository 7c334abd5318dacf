"""One process per device on this machine, through torch's elastic launcher; and one line when something goes wrong.

    run_ranks(work, config, find_team("cpu:2", timeout=300))      # work(config, ranks) in each process; rank 0's result

`work` and `config` travel to the processes by name and value, so they must live at a module's top level.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from alexnet_cli import errors
from alexnet_cli.errors import AlexNetError, InterruptedBySaveError, StoppedBySignalError, TrainingError
from alexnet_cli.memory import start_threads_where_there_is_room
from alexnet_cli.parallel.meeting import join, rank_of_environment
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.parallel.selftest import BrokenCopiesError, require_true_copies
from alexnet_cli.parallel.team import Team
from alexnet_cli.parallel.watch import LEFT_BEHIND, PHASE, RECORDS, Watch
from alexnet_cli.signals import ENDING, EndedBySignalError, ending_on_signals, handling
from alexnet_cli.streams import prepare_streams

Work = Callable[[Any, Ranks], Any]

_GRACE = 6.0
"""Seconds that ranks have to leave after one of them has died, before they are ended."""


def run_ranks(work: Work, config: Any, team: Team) -> Any:
    """Run `work(config, ranks)` in a process for each of the team's devices; the first rank's result.

    One device: here. Under a launcher such as torchrun this process is one rank of many. What a rank raises is raised
    here, in one line; a rank that dies or hangs is a TrainingError (code 6) that names it.
    """
    if rank_of_environment() is not None:
        return _run_as_rank(work, config, team)
    if len(team.devices) == 1:
        return work(config, Ranks.alone(torch.device(team.devices[0])))
    return _launch(work, config, team)


# ------------------------------------------------------------------------------------------------------ in each rank


def _run_as_rank(work: Work, config: Any, team: Team) -> Any:
    """This process is a rank: meet the others, work, leave in order."""
    environment = rank_of_environment()
    assert environment is not None
    rank, world, local = environment
    device = torch.device(team.devices[local])
    watch = Watch(rank, world, str(device), timeout=team.timeout)
    try:
        if not watch.serves:
            watch.start()
        with join(device, team.layout, timeout=team.timeout) as ranks:
            if watch.serves:
                watch.start()
            ranks.tick = watch.tick
            if device.type == "cuda":
                require_true_copies(rank, world, device)
            stop: AlexNetError | None = None
            result = None
            try:
                result = work(config, ranks)
            except (StoppedBySignalError, InterruptedBySaveError) as error:
                stop = error
            ranks.barrier("the end")
            watch.leave_in_order()
            if stop is not None:
                raise stop
            return result
    except (StoppedBySignalError, InterruptedBySaveError):
        raise
    except AlexNetError as error:
        watch.fail(str(error), error.exit_code, by_peer=False, error=type(error).__name__)
        raise
    except Exception as error:
        # A collective with a lost peer raises a RuntimeError: gloo has no error type of its own. So for any
        # RuntimeError the watch first looks for a lost peer.
        by_peer = isinstance(error, RuntimeError)
        watch.fail(f"failed at {watch.phase}: {type(error).__name__}: {_line(error)}", 6, by_peer=by_peer)
        raise TrainingError(f"rank {rank} ({device}) failed at {watch.phase}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _entry(work: Work, config: Any, team: Team) -> dict[str, Any]:
    """What the launcher starts in each process. A stop is a result like any other: nothing went wrong."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to all; the parent alone decides
        signal.signal(number, signal.SIG_IGN)
    prepare_streams()
    start_threads_where_there_is_room()
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    try:
        with ending_on_signals():
            return {"result": _run_as_rank(work, config, team)}
    except StoppedBySignalError as stop:
        return {"stopped": str(stop)}
    except BaseException:
        if "--debug" in sys.argv or os.environ.get("ALEXNET_DEBUG"):
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(LEFT_BEHIND)  # the reason is recorded; the launcher's own report would repeat it at length


# ------------------------------------------------------------------------------------------------------ in the parent


def _launch(work: Work, config: Any, team: Team) -> Any:
    try:
        return _launch_once(work, config, team)
    except BrokenCopiesError:
        if os.environ.get("NCCL_P2P_DISABLE") == "1":
            raise
    print("warning: copies between these GPUs are broken: going through host memory", file=sys.stderr, flush=True)
    os.environ["NCCL_P2P_DISABLE"] = "1"
    return _launch_once(work, config, team)


def _launch_once(work: Work, config: Any, team: Team) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    for name in ("torch.distributed", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="alexnet-ranks-") as folder:
        os.environ[RECORDS] = folder
        launch = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=len(team.devices),
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=0.1,
            start_method="spawn",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        outcome: dict[str, Any] = {}

        def run() -> None:
            try:
                outcome["results"] = elastic_launch(launch, _entry)(work, config, team)
            except BaseException as error:
                outcome["error"] = error

        # Not in the main thread: there the launcher would take the signals, and end ranks that are saving.
        thread = threading.Thread(target=run, name="launcher")
        guard = _Guard()
        with _without_current_folder(), handling((*ENDING, signal.SIGINT), lambda number, _: guard.receive(number)):
            thread.start()
            while thread.is_alive():
                guard.look()
                thread.join(0.1)
            guard.look()
        return _outcome(outcome, guard, team, Path(folder))


@contextlib.contextmanager
def _without_current_folder() -> Iterator[None]:
    """Keep what is started meanwhile from importing a user's types.py or random.py as Python's own."""
    before = os.environ.get("PYTHONSAFEPATH", "")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        os.environ["PYTHONSAFEPATH"] = before  # empty: as if it were not set


class _Guard:
    """Watches the ranks' processes, passes signals on, and kills those that do not leave by themselves."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.exits: dict[int, tuple[int, float]] = {}
        """Rank → exit code and when it was seen."""
        self._others = set(multiprocessing.active_children())
        """Child processes of the notebook or program that calls us."""
        self.ended: set[int] = set()
        """Ranks that were killed because they did not leave."""
        self._processes: list[Any] = []
        self._quit = False

    def look(self) -> None:
        """Note who has ended; some seconds after the first bad end, end the rest."""
        known = {*self._others, *self._processes}
        new = [child for child in multiprocessing.active_children() if child not in known]
        self._processes += sorted(new, key=lambda child: int(child.name.rpartition("-")[2]))  # in the ranks' order
        if self.signal is not None:  # it came before they had started
            _ask_to_stop(new)
        for rank, process in enumerate(self._processes):
            code = process.exitcode
            if code is not None and rank not in self.exits:
                self.exits[rank] = (code, time.monotonic())
        bad = [moment for code, moment in self.exits.values() if code]
        if self._quit or (bad and time.monotonic() - min(bad) > _GRACE):
            for rank, process in enumerate(self._processes):
                if process.exitcode is None:
                    self.ended.add(rank)
                    process.kill()

    def receive(self, number: int) -> None:
        """A signal for the whole command: the first asks the ranks to save and stop, a second Ctrl-C ends them."""
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            self._quit = True
            return
        if self.signal is None:
            self.signal = signal.Signals(number)
            if number == signal.SIGINT:
                print("saving, then stopping; Ctrl-C again stops at once", file=sys.stderr, flush=True)
            _ask_to_stop(self._processes)


def _ask_to_stop(processes: Sequence[Any]) -> None:
    for process in processes:
        with contextlib.suppress(OSError, AttributeError):
            os.kill(process.pid, signal.SIGTERM)


def _outcome(outcome: dict[str, Any], guard: _Guard, team: Team, folder: Path) -> Any:
    """The first rank's result, or the one error that explains everything."""
    results = outcome.get("results")
    if results is not None:
        first = results[0]
        if "stopped" not in first:
            return first["result"]
        if guard.signal == signal.SIGINT:
            raise InterruptedBySaveError(first["stopped"])
        raise StoppedBySignalError(first["stopped"])
    if guard.signal == signal.SIGINT and guard._quit:
        raise KeyboardInterrupt
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    error = outcome.get("error")
    # The SIGTERM that is passed on kills a rank that has no handler yet.
    killed = any(code < 0 and -code != signal.SIGTERM for code, _ in guard.exits.values())
    if guard.signal is not None and not killed and _own_error(folder) is None:  # the ranks had nothing to save
        raise EndedBySignalError(guard.signal)
    if isinstance(error, ChildFailedError):  # it has seen every end, also of processes that ended before we looked
        for rank, failure in error.failures.items():
            guard.exits[rank] = (failure.exitcode, 0.0)
    raise _explain(guard, team, folder) or TrainingError(f"the ranks could not be started: {error}")


def _explain(guard: _Guard, team: Team, folder: Path) -> AlexNetError | None:
    """What went wrong first, from the ranks' records and from how their processes ended."""
    if (own := _own_error(folder)) is not None:
        return own
    by_kind = _records(folder)
    killed = {
        rank: signal.Signals(-code) for rank, (code, _) in guard.exits.items() if code < 0 and rank not in guard.ended
    }
    for record in by_kind["error"] + by_kind["lost"]:
        rank, cause = record["rank"], record["cause"]
        if record["kind"] == "died":  # the peers' records of its phase lag behind its own
            how = f" ({killed[rank].name})" if rank in killed else ""
            cause = f"died at {_phase(folder, rank)}{how}"
        return _lost(rank, team, cause)
    for rank, number in killed.items():
        if number != signal.SIGTERM:  # with which the launcher ends the others
            return _lost(rank, team, f"died at {_phase(folder, rank)} ({number.name})")
    for record in by_kind["collateral"]:
        return _lost(record["rank"], team, record["cause"])
    for rank, (code, _) in sorted(guard.exits.items(), key=lambda entry: entry[1][1]):
        if code:
            return _lost(rank, team, f"ended with code {code} at {_phase(folder, rank)}")
    return None


def _records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the ranks recorded about one another, by kind, the earliest first. A rank that died counts as lost."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*-by-*.json")]
    records.sort(key=lambda record: float(record["time"]))
    kinds = {"error": ("error",), "lost": ("lost", "died"), "collateral": ("collateral",)}
    return {name: [record for record in records if record["kind"] in some] for name, some in kinds.items()}


def _own_error(folder: Path) -> AlexNetError | None:
    """The AlexNetError that a rank ended with, if any did: its line says everything."""
    for record in _records(folder)["error"]:
        if record["error"]:
            return _error_of(record["error"], record["code"], record["cause"])
    return None


def _lost(rank: int, team: Team, cause: str) -> TrainingError:
    return TrainingError(f"rank {rank} ({team.devices[rank]}) {cause}: continue with the same command and --resume")


def _phase(folder: Path, rank: int) -> str:
    """What a rank was doing, by its last word."""
    try:
        return (folder / f"{PHASE}{rank}").read_text(encoding="utf-8").strip() or "the start"
    except OSError:
        return "the start"


def _error_of(name: str, code: int, message: str) -> AlexNetError:
    """An error of the kind that has this name, else this exit code."""
    if name == BrokenCopiesError.__name__:
        return BrokenCopiesError(message)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, AlexNetError) and kind.exit_code == code:
            return kind(message)
    return AlexNetError(message)
