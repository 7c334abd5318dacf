"""Forward and backward of each layer of a step, between its neighbours in the net: same layouts, same types."""

from __future__ import annotations

from collections.abc import Callable
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
    """Whether a layer below it is trained: the first one has nobody to hand a gradient to."""


def time_layers(timed: TimedStep) -> dict[str, float]:
    """One step, the layers one by one: milliseconds of `forward NAME` and `backward NAME`, and of what else there is.

    The step that makes numbers of maps counts to the layer after it. No layer is fused with another here.
    """
    step, clock, network = timed.step, timed.clock, timed.network
    patches, labels = timed.next_patches()
    masks = step.masks(timed.steps, timed.pictures)
    rows = _rows(network.steps)
    first: list[str] = []

    def forward(numbers: Tensor, masks: Masks | None, pictures: int) -> Tensor:
        for at, name in enumerate(network.steps):
            numbers = network.run(numbers, masks, [name], pictures)
            clock.mark(f"forward {rows[at]}")
            if numbers.requires_grad:
                first.append(rows[at])
                above = f"backward {rows[at + 1]}" if at + 1 < len(rows) else LOSS
                numbers.register_hook(lambda _, above=above: clock.mark(above))  # type: ignore[no-untyped-call]
        return numbers

    clock.begin()
    loss = step.loss(step.logits(forward, patches, masks, timed.pictures), labels, timed.pictures)
    clock.mark(LOSS)
    descend(loss, timed.update, lambda: clock.mark(f"backward {first[0]}"))
    timed.steps += 1
    return clock.milliseconds()


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


def _rows(steps: list[str]) -> list[str]:
    """The layer that each of the network's steps counts to."""
    return [steps[at + 1] if name == FLATTEN else name for at, name in enumerate(steps)]
