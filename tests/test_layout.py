"""Who holds what, as arithmetic; and what `--devices` and `--parallel` mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from alexnet_cli.devices import choose_devices
from alexnet_cli.errors import ResourceError, UsageError
from alexnet_cli.net.network import Here, Network
from alexnet_cli.parallel.layout import Layout, choose_layout, share_of
from alexnet_cli.recipes.net import Net, layers
from alexnet_cli.recipes.read import load_recipe


@pytest.mark.parametrize(
    ("parallel", "world", "recipe", "mode", "shape"),
    [
        ("auto", 1, "paper", "one", (1, 1)),
        ("auto", 2, "paper", "columns", (1, 2)),
        ("auto", 4, "paper", "columns", (2, 2)),
        ("auto", 3, "paper", "data", (3, 1)),
        ("auto", 2, "one-column", "data", (2, 1)),
        ("data", 4, "paper", "data", (4, 1)),
        ("columns", 8, "paper", "columns", (4, 2)),
        ("hybrid", 3, "paper", "hybrid", (3, 1)),
    ],
)
def test_auto_gives_columns_where_they_divide_the_ranks(
    parallel: str, world: int, recipe: str, mode: str, shape: tuple[int, int]
) -> None:
    layout, words = choose_layout(parallel, world, load_recipe(recipe).net)
    assert layout.mode == mode
    assert (layout.data_size, layout.column_size) == shape
    assert words.startswith("one process" if world == 1 else f"{world} ranks")


@pytest.mark.parametrize(
    ("parallel", "world", "recipe", "words"),
    [
        ("columns", 3, "paper", "3 ranks for 2 columns"),
        ("columns", 2, "one-column", "this net has one column"),
        ("ring", 2, "paper", "unknown: use auto, columns, data, hybrid"),
    ],
)
def test_layouts_that_can_not_be_are_refused(parallel: str, world: int, recipe: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose_layout(parallel, world, load_recipe(recipe).net)


def test_hybrid_needs_a_convolution() -> None:
    table = {"kind": "linear", "neurons": "classes"}
    net = Net.from_dict({"columns": 1, "classes": 3, "order": ["fc1"], "fc1": table}, 8)
    with pytest.raises(UsageError, match="--parallel hybrid: this net has no convolution: use --parallel data"):
        choose_layout("hybrid", 2, net)


@pytest.mark.parametrize(
    ("mode", "world", "net", "words"),
    [
        ("hybrid", 2, {"fc4": {"neurons": 1}}, "fc4 has 1 neurons for 2 ranks: use --parallel data"),
        ("hybrid", 4, {"classes": 3}, "fc5 has 3 neurons for 4 ranks"),
        ("columns", 3, {"columns": 3, "classes": 2}, "fc5 has 2 neurons for 3 ranks"),
    ],
)
def test_each_rank_needs_a_neuron_of_each_layer(mode: str, world: int, net: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"--parallel {mode}: {words}"):
        choose_layout(mode, world, load_recipe("lenet").with_options(net=net).net)


@pytest.mark.parametrize("count", [0, 1, 7, 128, 129])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_cover_everything_once_and_differ_by_one_at_most(count: int, size: int) -> None:
    shares = [share_of(count, index, size) for index in range(size)]
    assert [index for share in shares for index in range(count)[share]] == list(range(count))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("mode", ["columns", "data", "hybrid"])
@pytest.mark.parametrize("recipe", ["paper", "conv6", "no-exchange"])
def test_the_ranks_together_hold_every_parameter_of_the_net(mode: str, recipe: str) -> None:
    net = load_recipe(recipe).net
    world = 4
    layout = Layout(mode, world, net.columns)
    rows: dict[str, list[int]] = {layer.name: [] for layer in layers(net)}
    copies = {"columns": 2, "data": 4, "hybrid": 1}[mode]
    for rank in range(world):
        part, parts = layout.part(rank)
        here = Here(held=layout.held(rank), part=part, parts=parts)
        with torch.device("meta"):
            network = Network(net, here)
        for layer in layers(net):
            held = network.weights(layer.name).rows
            rows[layer.name] += range(held.start, held.stop)
    for layer in layers(net):
        times = 4 if mode == "hybrid" and layer.kind == "convolution" else copies
        assert sorted(rows[layer.name]) == sorted(list(range(layer.outputs)) * times)


def test_a_column_of_the_papers_net_is_half_of_it() -> None:
    net = load_recipe("paper").net
    with torch.device("meta"):
        column = Network(net, Here(held=(1,), part=1, parts=2))
    assert sum(parameter.numel() for parameter in column.parameters()) == 60_965_224 // 2


@pytest.mark.parametrize(
    ("text", "devices"),
    [("cpu", ["cpu"]), ("cpu:1", ["cpu"]), ("cpu:3", ["cpu"] * 3)],
)
def test_devices_on_the_cpu_are_processes(text: str, devices: list[str]) -> None:
    assert [str(device) for device in choose_devices(text)] == devices


def test_devices_on_cuda_are_a_number_or_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    def names(text: str) -> list[str]:
        return [str(device) for device in choose_devices(text)]

    assert names("cuda") == names("cuda:0") == ["cuda:0"]
    assert names("cuda:4") == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert names("cuda:0,1") == ["cuda:0", "cuda:1"]
    assert names("cuda:3,") == ["cuda:3"]
    assert names("auto") == ["cuda:0", "cuda:1"]
    with pytest.raises(ResourceError, match="this machine has 4 CUDA devices"):
        choose_devices("cuda:8")
    with pytest.raises(UsageError, match="one device, or device number 1"):
        choose_devices("cuda:1")
    with pytest.raises(UsageError, match="names a device twice"):
        choose_devices("cuda:2,2")


@pytest.mark.parametrize(
    "text",
    ["cpu:257", "cpu:999999", "cuda:99999999999", "cpu:²", "tpu", "cpu:0", "cpu:a", "cuda:", "cuda:-1", "cpu:0,1"],
)
def test_devices_that_can_not_be_meant_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        choose_devices(text)
