"""A training step as a CUDA graph: recorded once, then started by one call in place of some hundred.

graph = StepGraph(CudaRecorder(device), tell=journal.warn, undo=update.clear)
sums = graph(step, rates, patches, masks, labels)            # what step(patches, masks, labels) gives

A graph knows addresses, not tensors: before each replay, what a step sees is copied into the graph's own memory.
Numbers outside tensors are part of the graph. If one of them changes, such as a learning rate, or a shape, the step is
recorded again: torch's fused SGD also takes its rate as a tensor, but then rounds it to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor

Input = Tensor | float | Mapping[str, Tensor]
Step = Callable[..., Tensor]

WARM_UP = 3
"""Steps before one is recorded: they compile kernels, choose cuDNN's, and make the buffers that a graph needs."""


class Recorder(Protocol):
    """What records work and repeats it."""

    def warm(self, work: Callable[[], Tensor]) -> Tensor:
        """Do the work as it will be recorded; its result."""
        ...

    def record(self, work: Callable[[], None]) -> Callable[[], object]:
        """Record the work, without doing it; what repeats it in the same memory. Raises if it can't be recorded."""
        ...


class CudaRecorder:
    """Records on a stream of its own of one CUDA device, and replays on the current one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm(self, work: Callable[[], Tensor]) -> Tensor:
        """On the recording's stream: torch remembers the stream on which a parameter's gradient was first needed."""
        here = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = work()
        here.wait_stream(self._stream)
        return result

    def record(self, work: Callable[[], None]) -> Callable[[], object]:
        """Only this thread's calls must fit into a graph: the loader's threads may call anything at the same time."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            # If it fails, torch.cuda.graph leaves its stream the current one; the outer context does not.
            with (
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                work()
        except Exception:
            _abandon(graph, pool, self.device)
            raise
        return graph.replay


def recorder_for(device: torch.device, world: int) -> Recorder | None:
    """What records a step; None on a CPU, and for several processes: these communicate in the middle of a step."""
    return CudaRecorder(device) if device.type == "cuda" and world == 1 else None


_ABANDONED: list[torch.cuda.CUDAGraph] = []
"""Graphs whose recording torch did not end: its allocator may ask them later, so they are never freed."""


def _abandon(graph: torch.cuda.CUDAGraph, pool: Any, device: torch.device) -> None:
    """Tell torch's allocator that a failed recording is over: else memory that two streams used is never free again.

    torch does not do this itself, and its function for it is private: if that is missing, nothing is done. A recording
    that torch has ended, as after a lack of memory, needs nothing: its graph is freed, and the graph's memory with it.
    """
    private: Any = torch._C
    with suppress(AttributeError):
        try:
            private._cuda_endAllocateToPool(device.index, pool)
        except RuntimeError:  # it was over
            return
        private._cuda_releasePool(device.index, pool)
    _ABANDONED.append(graph)


class StepGraph:
    """Makes steps: the first few as they are, then one recorded and repeated, while nothing but tensors changes."""

    def __init__(self, recorder: Recorder, *, tell: Callable[[str], None], undo: Callable[[], None]) -> None:
        """tell: takes one line if a step can't be recorded; then all steps are made without a graph. undo: clears what
        a step that was broken off in the middle has left."""
        self.recorder, self._tell, self._undo = recorder, tell, undo
        self._refused = False
        self._of: tuple[Hashable, ...] = ()
        """What the graph, or the steps that were counted, belong to."""
        self._made = 0
        self._replay: Callable[[], object] | None = None
        self._inputs: tuple[Input, ...] = ()
        self._result: Tensor | None = None

    def __call__(self, step: Step, state: Hashable, *inputs: Input) -> Tensor:
        """What `step(*inputs)` gives, on the device, in memory that no later step changes.

        step: changes nothing but the content of tensors that stay in their place. state: all else that the step depends
        on, such as the learning rates; if it changes, the step is recorded again.
        """
        if self._refused:
            return step(*inputs)
        kind = state, *map(_kind, inputs)
        if kind != self._of:
            self._forget()
            self._of = kind
        if self._replay is None:
            if self._made < WARM_UP:
                self._made += 1
                return self.recorder.warm(lambda: step(*inputs))
            if not self._record(step, inputs):
                return step(*inputs)
        for own, given in zip(_tensors(self._inputs), _tensors(inputs), strict=True):
            own.copy_(given)
        assert self._replay is not None
        self._replay()
        assert self._result is not None
        return self._result.clone()

    def _forget(self) -> None:
        """Free the graph and its memory before another is recorded."""
        self._of, self._made, self._replay, self._inputs, self._result = (), 0, None, (), None

    def _record(self, step: Step, inputs: tuple[Input, ...]) -> bool:
        """Record the step; False if that is not possible, and then it is not tried again."""
        self._inputs = own = tuple(_copied(value) for value in inputs)

        def work() -> None:
            self._result = step(*own)

        try:
            self._replay = self.recorder.record(work)
        except Exception as error:  # whatever it is: a fault of the step itself comes up again when it is made
            self._forget()
            self._undo()
            self._refused = True
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            self._tell(f"the step can't be recorded as a CUDA graph ({reason}): training continues without one")
        return not self._refused


def _tensors(inputs: tuple[Input, ...]) -> Iterator[Tensor]:
    for value in inputs:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from value.values()


def _kind(value: Input) -> Hashable:
    """What must be the same for a graph to serve."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, Mapping):
        return tuple((name, _kind(tensor)) for name, tensor in value.items())
    return value


def _copied(value: Input) -> Input:
    """The same in memory of its own, in the same order; numbers as they are."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {name: tensor.clone() for name, tensor in value.items()}
    return value
