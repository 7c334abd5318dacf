"""Forward and backward of each layer of a step, between its neighbours in the net: same layouts, same types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from alexnet_cli.net.network import FLATTEN, Masks, Network
from alexnet_cli.timing.step import TimedStep
from alexnet_cli.training_step import descend

LOSS = "loss"


@dataclass(frozen=True)
class Seen:
    """What a layer with weights sees in a step."""

    shape: tuple[int, ...]
    needs_gradient: bool
    """Whether a layer below it is trained: the first one hands its gradient to no other."""


def time_layers(timed: TimedStep) -> dict[str, float]:
    """One step, the layers one by one: milliseconds of `forward NAME` and `backward NAME`, and of what else there is.

    Flattening the maps counts to the layer after it. If one pass computes several layers, as in training, the first has
    the time of all (`together`).
    """
    step, clock, network = timed.step, timed.clock, timed.network
    patches, labels = timed.next_patches()
    masks = step.masks(timed.steps, timed.pictures)
    trained: list[str] = []

    def forward(numbers: Tensor, masks: Masks | None, pictures: int) -> Tensor:
        done, steps = 0, network.steps
        while done < len(steps):
            row = _row(steps, done)
            numbers, count = network.advance(numbers, masks, steps[done:], pictures)
            clock.mark(f"forward {row}")
            done += count
            if numbers.requires_grad:
                trained.append(row)
                above = f"backward {_row(steps, done)}" if done < len(steps) else LOSS
                numbers.register_hook(lambda _, above=above: clock.mark(above))  # type: ignore[no-untyped-call]
        return numbers

    clock.begin()
    loss = step.loss(step.logits(forward, patches, masks, timed.pictures), labels, timed.pictures)
    clock.mark(LOSS)
    descend(loss, timed.update, lambda: clock.mark(f"backward {trained[0]}"))
    timed.steps += 1
    return clock.milliseconds()


def _row(steps: list[str], at: int) -> str:
    """The layer that one of the network's steps counts to."""
    return steps[at + 1] if steps[at] == FLATTEN else steps[at]


def together(network: Network, times: Mapping[str, float]) -> dict[str, str]:
    """Layer → the layer whose pass computes it too, for layers without a time of their own."""
    found, first = {}, ""
    for name in network.steps:
        if f"forward {name}" in times:
            first = name
        elif name != FLATTEN:
            found[name] = first
    return found


def what_layers_see(network: Network, work: Callable[[], object]) -> dict[str, Seen]:
    """Of each layer with weights, by name, what comes in while `work` runs the network."""
    found: dict[str, Seen] = {}
    handles = []
    for layer in network.layers:

        def note(_: object, inputs: tuple[Tensor, ...], name: str = layer.name) -> None:
            found[name] = Seen(tuple(inputs[0].shape), inputs[0].requires_grad)

        handles.append(network.weights(layer.name).register_forward_pre_hook(note))
    try:
        work()
    finally:
        for handle in handles:
            handle.remove()
    return found
