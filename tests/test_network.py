"""The network against one written independently from torch's own layers, for every variant and both orders."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alexnet_cli.errors import UsageError
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network, Placement, column_rows, load_whole
from alexnet_cli.recipes.net import Net
from alexnet_cli.recipes.read import load_recipe

SMALL = {"kernels": (4, 8, 8, 8, 8), "conv6_kernels": 8, "hidden": 16, "classes": 7}
SOURCE_ORDER = ("source-2012", "conv6", "conv6-pretrain")
VARIANTS = ("paper", *SOURCE_ORDER, "no-norm", "no-overlap", "no-exchange", "one-column", "tanh")


def small(recipe: str) -> Architecture:
    """A recipe's net, narrower; with the same-map norm and LRN strong enough to matter."""
    values: dict[str, Any] = {**SMALL, "norm_alpha": 0.05, "map_norm_alpha": 0.5}
    own = load_recipe(recipe).net
    values |= {"bottleneck": 6} if own.bottleneck else {}
    values |= {"hidden_fc6": 24} if own.hidden_fc6 else {}
    return dataclasses.replace(own, **values)


def made(architecture: Net) -> Network:
    network = Network(architecture)
    initialise(network, "he", 3)
    with torch.no_grad():
        for layer in network.layers:
            bias = network.weights(layer.name).bias
            bias.copy_(torch.linspace(-0.1, 0.1, len(bias)))
    return network.double()


def norm(net: Net, maps: Tensor) -> Tensor:
    columns = maps.chunk(net.columns, 1)
    return torch.cat(
        [functional.local_response_norm(maps, 5, net.norm_alpha, net.norm_beta, net.norm_k) for maps in columns], 1
    )


def map_norm(net: Net, maps: Tensor) -> Tensor:
    squares = 25 * functional.avg_pool2d(maps**2, 5, 1, 2)
    return maps / (1 + net.map_norm_alpha / 25 * squares) ** 0.75


def reference(net: Net, weights: dict[str, Tensor], x: Tensor, source: bool) -> Tensor:
    """Column by column: each keeps its own maps in a list, and sees the others' only where the paper says so."""
    act = torch.relu if net.activation == "relu" else torch.tanh
    window = 3 if net.overlapping_pooling else 2
    count = net.columns

    def pool(maps: Tensor) -> Tensor:
        return functional.max_pool2d(maps, window, 2)

    def conv(name: str, seen: list[Tensor], stride: int, pad: int) -> list[Tensor]:
        kernels, biases = weights[f"{name}.weight"].chunk(count), weights[f"{name}.bias"].chunk(count)
        return [functional.conv2d(s, k, b, stride, pad) for s, k, b in zip(seen, kernels, biases, strict=True)]

    def everything(maps: list[Tensor]) -> list[Tensor]:
        return [torch.cat(maps, 1)] * count if net.exchange else maps

    maps = conv("conv1", [functional.pad(x, (0, 3, 0, 3))] * count, 4, 0)
    lrn = (
        (lambda m: functional.local_response_norm(m, 5, net.norm_alpha, 0.75, 2.0))
        if net.normalisation
        else (lambda m: m)
    )
    maps = [act(pool(lrn(m))) if source else pool(lrn(act(m))) for m in maps]
    maps = conv("conv2", maps, 1, 2)
    maps = [pool(map_norm(net, lrn(act(m)))) if source else pool(lrn(act(m))) for m in maps]
    maps = [act(m) for m in conv("conv3", everything(maps), 1, 1)]
    maps = [act(m) for m in conv("conv4", maps, 1, 1)]
    maps = [act(pool(m)) if source else pool(act(m)) for m in conv("conv5", maps, 1, 1)]
    if net.conv6:
        maps = [act(m) for m in conv("conv6", everything(maps), 1, 1)]
    numbers = [m.flatten(1) for m in maps]
    for name in ("fc6", "fc7"):
        kernels, biases = weights[f"{name}.weight"].chunk(count), weights[f"{name}.bias"].chunk(count)
        seen = everything(numbers)
        numbers = [act(functional.linear(s, k, b)) for s, k, b in zip(seen, kernels, biases, strict=True)]
    if net.bottleneck:
        kernels, biases = weights["bottleneck.weight"].chunk(count), weights["bottleneck.bias"].chunk(count)
        seen = everything(numbers)
        numbers = [functional.linear(s, k, b) for s, k, b in zip(seen, kernels, biases, strict=True)]
    return functional.linear(torch.cat(numbers, 1), weights["fc8.weight"], weights["fc8.bias"])


@pytest.mark.parametrize("recipe", VARIANTS)
def test_logits_and_gradients_equal_a_net_written_column_by_column(recipe: str) -> None:
    net = small(recipe)
    network = made(net)
    patches = torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    mine = network(patches)
    theirs = reference(net, weights, patches, recipe in SOURCE_ORDER)
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    mine.square().sum().backward()
    theirs.square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-8, atol=1e-9, msg=name)


def test_the_picture_hangs_over_by_three_zero_pixels_at_the_right_and_bottom_only() -> None:
    net = Architecture(**SMALL)  # type: ignore[arg-type]
    network = made(net)
    patches = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    weights = network.weights("conv1")
    seen: list[Tensor] = []

    def keep(step: str, maps: Tensor) -> Tensor:
        if not seen:
            seen.append(maps.detach().clone())
        return Network._follow(network, step, maps)

    network._follow = keep  # type: ignore[method-assign]
    network(patches)
    assert seen[0].shape == (1, 8, 55, 55)
    corner = (patches[0, :, 216:, 216:] * weights.weight[0, :, :8, :8]).sum() + weights.bias[0]
    torch.testing.assert_close(seen[0][0, 0, 54, 54], corner, rtol=1e-12, atol=1e-12)
    first = (patches[0, :, :11, :11] * weights.weight[0]).sum() + weights.bias[0]
    torch.testing.assert_close(seen[0][0, 0, 0, 0], first, rtol=1e-12, atol=1e-12)


def test_the_whole_nets_tensors_have_the_shapes_that_others_rely_on() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in Network(load_recipe("conv6").net).named_parameters()}
    assert shapes["conv1.weight"] == (96, 3, 11, 11)
    assert shapes["conv2.weight"] == (256, 48, 5, 5)
    assert shapes["conv3.weight"] == (384, 256, 3, 3)
    assert shapes["conv4.weight"] == (384, 192, 3, 3)
    assert shapes["conv5.weight"] == (256, 192, 3, 3)
    assert shapes["conv6.weight"] == (256, 256, 3, 3)
    assert shapes["fc6.weight"] == (4096, 9216)
    assert shapes["fc8.weight"] == (1000, 4096)


@pytest.mark.parametrize("recipe", [name for name in VARIANTS if name != "one-column"])
def test_two_columns_apart_compute_what_they_compute_together(recipe: str) -> None:
    net = small(recipe)
    whole = made(net)
    tensors = {name: p.detach() for name, p in whole.named_parameters()}
    patches = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    # Both columns go through the net in step: at an exchange, each waits for the other's maps.
    for output in run_in_step(net, tensors, patches):
        torch.testing.assert_close(output, whole(patches), rtol=1e-10, atol=1e-10)


def run_in_step(net: Net, tensors: dict[str, Tensor], patches: Tensor) -> list[Tensor]:
    """Each column in a thread of its own, every exchange a barrier at which maps change hands."""
    import threading

    barrier = threading.Barrier(2)
    table: list[Tensor | None] = [None] * 2
    outputs: list[Tensor | None] = [None] * 2

    def run(number: int) -> None:
        def exchange(maps: Tensor, layer: str) -> Tensor:
            table[number] = maps
            barrier.wait()
            together = torch.cat([part for part in table if part is not None], 1)
            barrier.wait()
            return together

        placement = Placement(
            held=(number,), part=number, parts=2, exchange=exchange, gather=exchange, gather_logits=exchange
        )
        column = Network(net, placement).double()
        load_whole(column, tensors)
        with torch.no_grad():
            outputs[number] = column(patches)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [output for output in outputs if output is not None]


def test_rows_of_columns_cover_the_outputs_once_also_where_they_do_not_divide() -> None:
    assert [column_rows(7, 2, column) for column in range(2)] == [slice(0, 4), slice(4, 7)]
    assert [column_rows(96, 2, column) for column in range(2)] == [slice(0, 48), slice(48, 96)]


def test_weights_of_another_architecture_are_refused_by_name() -> None:
    network = Network(Architecture(**SMALL))  # type: ignore[arg-type]
    tensors = {name: p.detach() for name, p in network.named_parameters()}
    with pytest.raises(UsageError, match=r"fc8\.weight is \(3, 32\), not \(7, 32\)"):
        load_whole(network, {**tensors, "fc8.weight": torch.zeros(3, 32)})
    with pytest.raises(UsageError, match=r"conv6\.weight"):
        load_whole(network, {**tensors, "conv6.weight": torch.zeros(1)})
