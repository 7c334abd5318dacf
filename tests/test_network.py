"""The network against one written independently from torch's own layers, for every variant and both orders."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from conftest import NARROW_NET
from torch import Tensor
from torch.nn import functional

from alexnet_cli.errors import UsageError
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import FLATTEN, LOGITS, Here, Network
from alexnet_cli.net.pool import Pool
from alexnet_cli.net.weights import column_rows
from alexnet_cli.net.whole import load_whole
from alexnet_cli.randomness import dropout_masks
from alexnet_cli.recipes import layers as specs
from alexnet_cli.recipes.net import Net, layers
from alexnet_cli.recipes.read import load_recipe

SMALL: dict[str, Any] = {**NARROW_NET, "classes": 7}
SOURCE_ORDER = ("source-2012", "conv6", "conv6-pretrain", "no-norm", "no-overlap", "no-exchange", "one-column")
VARIANTS = ("paper", *SOURCE_ORDER, "no-overlap-paper", "tanh")
STRONG = {"norm1": {"alpha": 0.05}, "norm2": {"alpha": 0.05}, "map_norm2": {"alpha": 0.5}}


def small(recipe: str) -> Net:
    """A recipe's net, narrower; with the same-map norm and LRN strong enough to matter."""
    own = load_recipe(recipe).net
    narrow = {**STRONG, **NARROW_NET, "conv6": {"kernels": 8}, "bottleneck": {"neurons": 6}}
    names = [spec.name for spec in own.layers]
    changes: dict[str, Any] = {name: table for name, table in narrow.items() if name in names} | {"classes": 7}
    if recipe == "no-exchange":
        changes["fc6"] = {"neurons": 24}
    return load_recipe(recipe).with_options(net=changes).net


def made(net: Net) -> Network:
    network = Network(net)
    initialise(network, "he", 3)
    with torch.no_grad():
        for layer in network.layers:
            bias = network.weights(layer.name).bias
            bias.copy_(torch.linspace(-0.1, 0.1, len(bias)))
    return network.double()


def reference(recipe: str, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Column by column: each keeps its own maps in a list, and sees the others' only where the paper says so."""
    source, norms = recipe in SOURCE_ORDER, recipe != "no-norm"
    act = torch.tanh if recipe == "tanh" else torch.relu
    count = 1 if recipe == "one-column" else 2
    window = 2 if recipe.startswith("no-overlap") else 3
    net_147 = recipe == "no-overlap"

    def pool(maps: Tensor) -> Tensor:
        return functional.max_pool2d(maps, window, 2, ceil_mode=net_147)

    def lrn(maps: Tensor) -> Tensor:
        return functional.local_response_norm(maps, 5, 0.05, 0.75, 2.0) if norms else maps

    def map_norm(maps: Tensor) -> Tensor:
        return maps / (1 + 0.5 / 25 * 25 * functional.avg_pool2d(maps**2, 5, 1, 2)) ** 0.75 if norms else maps

    def conv(name: str, seen: list[Tensor], stride: int, pad: int) -> list[Tensor]:
        kernels, biases = weights[f"{name}.weight"].chunk(count), weights[f"{name}.bias"].chunk(count)
        return [functional.conv2d(s, k, b, stride, pad) for s, k, b in zip(seen, kernels, biases, strict=True)]

    def connect(name: str, seen: list[Tensor]) -> list[Tensor]:
        kernels, biases = weights[f"{name}.weight"].chunk(count), weights[f"{name}.bias"].chunk(count)
        return [functional.linear(s, k, b) for s, k, b in zip(seen, kernels, biases, strict=True)]

    def everything(maps: list[Tensor]) -> list[Tensor]:
        return maps if recipe == "no-exchange" else [torch.cat(maps, 1)] * count

    maps = conv("conv1", [functional.pad(x, (0, 3, 0, 3))] * count, 4, 0)
    maps = [act(pool(lrn(m))) if source else pool(lrn(act(m))) for m in maps]
    maps = conv("conv2", maps, 1, 1 if net_147 else 2)
    maps = [pool(map_norm(lrn(act(m)))) if source else pool(lrn(act(m))) for m in maps]
    maps = [act(m) for m in conv("conv3", everything(maps), 1, 1)]
    maps = [act(m) for m in conv("conv4", maps, 1, 1)]
    maps = [act(pool(m)) if source else pool(act(m)) for m in conv("conv5", maps, 1, 0 if net_147 else 1)]
    if "conv6.weight" in weights:
        maps = [act(m) for m in conv("conv6", everything(maps), 1, 1)]
    numbers = [m.flatten(1) for m in maps]
    for name in ("fc6", "fc7"):
        # 2012's dropout at test time: half of each output.
        numbers = [0.5 * act(m) for m in connect(name, everything(numbers))]
    if "bottleneck.weight" in weights:
        numbers = connect("bottleneck", everything(numbers))
    return functional.linear(torch.cat(numbers, 1), weights["fc8.weight"], weights["fc8.bias"])


@pytest.mark.parametrize("recipe", VARIANTS)
def test_logits_and_gradients_equal_a_net_written_column_by_column(recipe: str) -> None:
    net = small(recipe)
    network = made(net)
    patches = torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    mine = network(patches)
    theirs = reference(recipe, weights, patches)
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    mine.square().sum().backward()
    theirs.square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-8, atol=1e-9, msg=name)


def test_the_picture_hangs_over_by_three_zero_pixels_at_the_right_and_bottom_only() -> None:
    network = made(load_recipe("paper").with_options(net=SMALL).net)
    patches = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    weights = network.weights("conv1")
    maps = weights(patches)
    assert maps.shape == (1, 8, 55, 55)
    corner = (patches[0, :, 216:, 216:] * weights.weight[0, :, :8, :8]).sum() + weights.bias[0]
    torch.testing.assert_close(maps[0, 0, 54, 54], corner, rtol=1e-12, atol=1e-12)
    first = (patches[0, :, :11, :11] * weights.weight[0]).sum() + weights.bias[0]
    torch.testing.assert_close(maps[0, 0, 0, 0], first, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("convention", "trained", "tested"), [("2012", 1.0, 0.5), ("inverted", 2.0, 1.0)])
def test_dropout_follows_its_convention_in_training_and_at_test_time(
    convention: str, trained: float, tested: float
) -> None:
    """2012: 0/1 masks, and half of each output at test time (layer.cu:1126-1134)."""
    both = {name: {"convention": convention} for name in ("dropout6", "dropout7")}
    net = load_recipe("paper").with_options(net={**SMALL, **both}).net
    network = made(net)
    w = {name: p.detach() for name, p in network.named_parameters()}
    patches = torch.randn(3, 3, 224, 224, dtype=torch.float64)
    masks = {name: mask.double() for name, mask in dropout_masks(net, (0, 1), 1, 1, 3, "cpu").items()}

    def by_hand(drop: Any) -> Tensor:
        numbers = network.run(patches, None, network.steps[: network.steps.index(FLATTEN) + 1])
        numbers = drop(torch.relu(functional.linear(numbers, w["fc6.weight"], w["fc6.bias"])), "dropout6")
        numbers = drop(torch.relu(functional.linear(numbers, w["fc7.weight"], w["fc7.bias"])), "dropout7")
        return functional.linear(numbers, w["fc8.weight"], w["fc8.bias"])

    torch.testing.assert_close(network(patches, masks), by_hand(lambda x, name: (masks[name] > 0) * x * trained))
    torch.testing.assert_close(network(patches), by_hand(lambda x, name: x * tested))


@pytest.mark.parametrize("mode", ["max", "average"])
def test_a_pool_that_hangs_over_counts_only_the_pixels_that_are_there(mode: str) -> None:
    """32 → 16 by windows of 3 every 2: the last window has two rows (FACTS 7)."""
    maps = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    pool = Pool(specs.Pool(name="pool1", size=3, stride=2, mode=mode, overhang=True))  # type: ignore[arg-type]
    found = pool(maps)
    assert found.shape == (2, 3, 16, 16)
    reduce = torch.amax if mode == "max" else torch.mean
    torch.testing.assert_close(found[..., 15, 15], reduce(maps[..., 30:, 30:], (-2, -1)))
    torch.testing.assert_close(found[..., 0, 0], reduce(maps[..., :3, :3], (-2, -1)))


@pytest.mark.parametrize("overhang", [False, True])
@pytest.mark.parametrize("mode", ["max", "average"])
def test_a_recipe_counts_a_pools_windows_as_torch_does(mode: str, overhang: bool) -> None:
    """With gaps between the windows, too: one that would lie wholly outside is not there."""
    for side, size, stride in product(range(1, 9), range(1, 9), range(1, 6)):
        if size <= side:
            spec = specs.Pool(name="pool1", size=size, stride=stride, mode=mode, overhang=overhang)  # type: ignore[arg-type]
            assert spec.shape((2, side), 1, 10) == Pool(spec)(torch.zeros(1, 2, side, side)).shape[1:3]


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
        def exchange(maps: Tensor, pictures: int) -> Tensor:
            assert pictures == len(patches)
            table[number] = maps
            barrier.wait()
            together = torch.cat([part for part in table if part is not None], 1)
            barrier.wait()
            return together

        column = Network(net, Here(held=(number,), part=number, parts=2)).double()
        seen = [layer.name for layer in layers(net) if layer.sees == "all"]
        column.exchanges = dict.fromkeys([*seen, LOGITS], exchange)
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


def test_weights_of_another_net_are_refused_by_name() -> None:
    network = Network(load_recipe("paper").with_options(net=SMALL).net)
    tensors = {name: p.detach() for name, p in network.named_parameters()}
    with pytest.raises(UsageError, match=r"fc8\.weight is \(3, 32\), not \(7, 32\)"):
        load_whole(network, {**tensors, "fc8.weight": torch.zeros(3, 32)})
    with pytest.raises(UsageError, match=r"conv6\.weight"):
        load_whole(network, {**tensors, "conv6.weight": torch.zeros(1)})


def test_dropout_below_the_first_fully_connected_layer_drops_what_that_sees() -> None:
    """torchvision's net has such a layer. What is dropped altogether leaves the biases to say something."""
    net = load_recipe("torchvision").with_options(net={**NARROW_NET, "classes": 7}).net
    network = made(net).float()
    masks = dropout_masks(net, (0,), 1, 1, 2, "cpu")
    assert masks["dropout5"].shape == (2, 8 * 6 * 6)
    assert set(masks["dropout5"].flatten().tolist()) == {0.0, 2.0}
    patches = torch.rand(2, 3, 224, 224) * torch.tensor([1.0, 9.0])[:, None, None, None]
    whole = {name: torch.full_like(mask, 2.0) for name, mask in masks.items()}
    nothing = {**whole, "dropout5": torch.zeros_like(masks["dropout5"])}
    with torch.no_grad():
        seen, unseen = network(patches, whole), network(patches, nothing)
    assert not torch.allclose(seen[0], seen[1], rtol=1e-3)
    torch.testing.assert_close(unseen[0], unseen[1])


def test_dropout_below_a_convolution_is_refused() -> None:
    with pytest.raises(UsageError, match="dropout below a convolution"):
        load_recipe("paper", ['net.early={kind="dropout", after="relu1"}'])


def test_groups_need_one_column_and_must_divide_the_kernels() -> None:
    with pytest.raises(UsageError, match="the net has 2 columns"):
        load_recipe("paper", ["net.conv2.groups=2"])
    with pytest.raises(UsageError, match="does not divide"):
        load_recipe("caffenet", ["net.conv2.groups=5"])


@pytest.mark.parametrize("precision", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("below", ["convolution", "tanh", "relu", "norm", "map_norm", "pool"])
def test_a_relu_leaves_the_layer_below_what_its_gradient_needs(below: str, precision: torch.dtype) -> None:
    """Gradients of conv1 through a layer and a ReLU, against torch's own operations in float64."""
    tables: dict[str, Any] = {
        "conv1": {"kind": "convolution", "kernels": 6, "size": 3, "padding": 1, "sees": "picture"},
        "under1": {"kind": below, **({"size": 2, "stride": 2} if below == "pool" else {})},
        "relu1": {"kind": "relu"},
        "fc1": {"kind": "linear", "neurons": "classes"},
    }
    if below == "convolution":
        del tables["under1"]
    if "norm" in below:
        tables["under1"] |= {"k": 1.0, "alpha": 0.5, "window": 3}
    net = Net.from_dict({"columns": 1, "classes": 3, "order": [*tables], **tables}, 12)
    network = made(net)
    own = {name: parameter.detach().clone().requires_grad_() for name, parameter in network.named_parameters()}
    network = network.to(precision)
    patches = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network(patches.to(precision)).square().sum().backward()

    maps = functional.conv2d(patches, own["conv1.weight"], own["conv1.bias"], padding=1)
    over: dict[str, Any] = {
        "convolution": lambda: maps,
        "tanh": lambda: torch.tanh(maps),
        "relu": lambda: torch.relu(maps),
        "norm": lambda: functional.local_response_norm(maps, 3, alpha=0.5, beta=0.75, k=1.0),
        "map_norm": lambda: maps / (1 + 0.5 * functional.avg_pool2d(maps.square(), 3, 1, 1)) ** 0.75,
        "pool": lambda: functional.max_pool2d(maps, 2),
    }
    out = functional.linear(torch.relu(over[below]()).flatten(1), own["fc1.weight"], own["fc1.bias"])
    out.square().sum().backward()  # type: ignore[no-untyped-call]
    tolerance = 1e-12 if precision == torch.float64 else 2e-5
    for name, parameter in network.named_parameters():
        wanted, found = own[name].grad, parameter.grad
        assert wanted is not None and found is not None
        assert float((found - wanted).abs().max() / wanted.abs().max()) < tolerance, name
