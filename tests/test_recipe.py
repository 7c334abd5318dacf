"""Recipes: files that extend one another, from any installed package, and values that must be what they look like."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.draft import Place, find_place
from alexnet_cli.recipes.fields import FieldError
from alexnet_cli.recipes.layers import Dropout, Norm
from alexnet_cli.recipes.net import Net, layers
from alexnet_cli.recipes.read import load, load_recipe, recipe_files
from alexnet_cli.recipes.recipe import Recipe
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.inputs import resolve_recipe


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A third party's installed package of recipes, found before ours on the path."""
    folder = tmp_path / "strangers_recipes"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    information = tmp_path / "strangers-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[alexnet.recipes]\nstranger = strangers_recipes\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "strangers_recipes", raising=False)
    return folder


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found


def differences(name: str, base: str) -> dict[str, Any]:
    """The fields in which a recipe differs from another, with its own values."""
    mine, other = flat(load_recipe(name).to_dict()), flat(load_recipe(base).to_dict())
    return {field: value for field, value in mine.items() if "." in field and value != other.get(field)}


def test_the_built_in_recipes_are_there() -> None:
    names = {"paper", "source-2012", "quickstart", "small", "conv6", "no-norm", "no-overlap", "no-exchange"}
    assert names | {"one-column", "tanh"} <= set(recipe_files())


@pytest.mark.parametrize("name", recipe_files())
def test_every_recipe_can_be_read_makes_a_net_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    last = layers(recipe.net)[-1]
    assert last.kind == "linear" and last.outputs == recipe.net.classes


def names(recipe: str) -> list[str]:
    return [spec.name for spec in load_recipe(recipe).net.layers]


def test_an_ablation_is_the_sources_net_but_for_what_it_takes_away() -> None:
    """The notebook measured nets 147, 148, 150 and 145-half as changes of net 145."""
    assert [name for name in names("source-2012") if "norm" not in name] == names("no-norm")
    assert differences("one-column", "source-2012") == {
        "net.columns": 1,
        "net.conv5.kernels": 256,
        "net.fc6.neurons": 4096,
        "net.fc7.neurons": 4096,
    }
    assert differences("no-exchange", "source-2012") == {
        "net.conv2.kernels": 160,
        "net.conv3.sees": "column",
        "net.fc6.neurons": 4096,
        "net.fc6.sees": "column",
        "net.fc7.sees": "column",
    }
    assert differences("no-overlap", "source-2012") == {
        "net.pool1.size": 2,
        "net.pool1.overhang": True,
        "net.conv2.padding": 1,
        "net.pool2.size": 2,
        "net.conv5.padding": 0,
        "net.pool5.size": 2,
        "net.pool5.overhang": True,
    }
    assert differences("no-overlap-paper", "paper") == {f"net.pool{number}.size": 2 for number in (1, 2, 5)}
    assert [name.replace("tanh", "relu") for name in names("tanh")] == names("paper")


@pytest.mark.parametrize(
    "name", [name for name, file in recipe_files().items() if "extends" in tomllib.loads(file.read_text())]
)
def test_a_recipe_changes_only_what_its_own_lines_name(name: str) -> None:
    own = tomllib.loads(recipe_files()[name].read_text(encoding="utf-8"))
    base = own.pop("extends")
    given = set(flat(own)) | {"net.order"}
    tables = tuple(f"net.{table}." for table, value in own.get("net", {}).items() if isinstance(value, dict))
    changed = set(differences(name, base))
    new = {field for field in changed - given if field.startswith(tables)}
    assert changed - given == new
    assert all(field not in flat(load_recipe(base).to_dict()) for field in new), (
        "only a new layer has defaults of its own"
    )


def test_the_papers_numbers_are_the_papers() -> None:
    recipe = load_recipe("paper")
    net, training = recipe.net, recipe.training
    assert sum(layer.parameters for layer in layers(net)) == 60_965_224
    norms = [spec for spec in net.layers if isinstance(spec, Norm)]
    assert [(norm.k, norm.alpha, norm.beta, norm.window) for norm in norms] == [(2.0, 1e-4, 0.75, 5)] * 2
    dropouts = [spec for spec in net.layers if isinstance(spec, Dropout)]
    assert [(drop.probability, drop.convention) for drop in dropouts] == [(0.5, "2012")] * 2
    assert (training.batch_size, training.rate, training.momentum, training.weight_decay) == (128, 0.01, 0.9, 0.0005)
    assert (recipe.input.flip, recipe.input.colour_noise, recipe.input.patch_run) == (True, 0.1, 1)


def test_the_source_differs_where_facts_say_so() -> None:
    found = differences("source-2012", "paper")
    assert found.pop("training.changes")
    assert names("source-2012") == found.pop("net.order")
    assert found == {
        "net.map_norm2.kind": "map_norm",
        "net.map_norm2.k": 1.0,
        "net.map_norm2.alpha": 1e-3,
        "net.map_norm2.beta": 0.75,
        "net.map_norm2.window": 5,
        "input.mean_at": "centre",
        "input.patch_run": 32,
        "input.noise_divides": True,
        "training.initial_values": "source-2012",
        "training.bias_rate": 0.02,
        "training.partial_batch": True,
        "training.schedule": "steps",
    }


# ------------------------------------------------------------------------------------- a third party's own


def test_a_third_partys_package_adds_recipes_that_extend_ours(package: Path) -> None:
    (package / "tiny.toml").write_text('extends = "conv6"\nabout = "smaller"\n[net.fc7]\nneurons = 64\n')
    (package / "tinier.toml").write_text('extends = "tiny"\n[net]\nfc7.neurons = 32\n[training]\nepochs = 3\n')
    recipe = load_recipe("tinier")
    assert recipe.name == "tinier"
    assert recipe.training.epochs == 3 and recipe.training.momentum == 0.9
    assert recipe.to_dict()["net"]["fc7"]["neurons"] == 32
    assert "conv6" in names("tinier") and "tiny" in recipe_files()


def test_a_file_of_ones_own_is_a_recipe_and_may_extend_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('extends = "paper"\n[net]\nremove = ["norm1", "norm2"]\n')
    (tmp_path / "own.toml").write_text('extends = "base.toml"\n[net.norm]\nkind = "norm"\nafter = "conv1"\n')
    loaded = load(str(tmp_path / "own.toml"))
    assert loaded.recipe.name == "own"
    assert [spec.name for spec in loaded.recipe.net.layers][:4] == ["conv1", "norm", "relu1", "pool1"]


def test_every_value_knows_the_file_and_line_that_gave_it(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('extends = "conv6"\n\n[net.conv1]\n# wider\nkernels = 64\n\n[training]\nrate = 0.1\n')
    loaded = load(str(file), ["net.pool1.size=2"])
    paper = recipe_files()["paper"].read_text().splitlines()
    assert str(find_place(loaded.places, "net.conv1.kernels")) == f"{file}:5"
    assert str(find_place(loaded.places, "training.rate")) == f"{file}:8"
    assert str(find_place(loaded.places, "net.pool1.size")) == "--set net.pool1.size=2"
    at = find_place(loaded.places, "net.conv1.stride")
    assert at is not None and at.file == "paper.toml"
    assert paper[at.line - 1].startswith("stride = 4")
    assert find_place(loaded.places, "net.conv6.kernels") == Place("conv6.toml", 7)
    assert find_place(loaded.places, "training.stuck_after") is None, "a default stands nowhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[net.conv1]\nkernals = 4", "own.toml:3: [net.conv1] has no field 'kernals': did you mean 'kernels'?"),
        ('[net.conv1]\nkind = "convolve"', "own.toml:3: [net.conv1] kind 'convolve' is unknown: did you mean 'c"),
        ("[net.pol1]\nsize = 2", "own.toml:2: [net] has no layer 'pol1', and a new one needs its kind: did you"),
        ("\n[net.pool1]\nsize = 99", "own.toml:4: [net.pool1] size 99 is larger than its maps of 55×55"),
        ('[net]\nremove = ["norm9"]', "own.toml:3: [net] remove names 'norm9', which is not a layer: did you"),
        ('[net]\norder = ["conv1"]', "own.toml:3: [net] order leaves out 'conv2'"),
        ('[net.new]\nkind = "relu"\nafter = "conv7"', "own.toml:4: [net.new] after 'conv7': there is no other layer"),
        ('[net.fc6]\nafter = "fc6"', "own.toml:3: [net.fc6] after 'fc6': there is no other layer of this name: did"),
        ('[net.new]\nkind = "pool"\nafter = "conv1"', "own.toml:2: [net.new] needs size: a pool layer has no default"),
        ("[net]\ncolumns = 0", "own.toml:3: [net] columns is 0: it must be positive"),
        ("[training]\n\nrate = -1.0", "own.toml:4: [training] rate is -1.0: it must be positive"),
        ("[net.norm1]\nk = 0", "own.toml:3: [net.norm1] k is 0.0: it must be positive"),
        ("[net.norm1]\nalpha = -1e-4", "own.toml:3: [net.norm1] alpha is -0.0001: it must be positive"),
        ("[training]\nbias_rate = -1", "own.toml:3: [training] bias_rate is -1.0: it must not be negative"),
        ("[training]\ndrops = -1", "own.toml:3: [training] drops is -1: it must not be negative"),
        ("[training]\nchanges = [{ epoch = 0, rate = 1 }]", "own.toml:3: [training.changes] epoch is 0: it must be"),
        ("[training]\nchanges = [{ epoch = 1, rate = 0 }]", "own.toml:3: [training.changes] rate is 0.0: it must be"),
        ("[[training.changes]]\nepoch = 1\n[[training.changes]]\nepoc = 2", "own.toml:5: [training.changes] has no "),
        ("[[training.changes]]\nepoch = 2\nlayers.fc9 = 1", "own.toml:4: [training] changes names 'fc9'"),
        ("[training.layer_rates]\nfc8 = 1\nfc9 = 1", "own.toml:4: [training] layer_rates names 'fc9'"),
        ('[net.fc8]\nneurons = "clases"', "own.toml:3: [net.fc8] neurons is a whole number or 'classes', not 'clases'"),
        ("net.conv9.size = 3", "own.toml:2: [net] has no layer 'conv9', and a new one needs its kind: did you"),
        ("[trainign]\nrate = 1.0", "own.toml:2: a recipe has no field 'trainign': did you mean 'training'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_line_and_the_nearest_right_name(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "own.toml").write_text(f'extends = "paper"\n{text}\n')
    with pytest.raises(UsageError) as caught:
        load_recipe(str(tmp_path / "own.toml"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[net]\nclasses = 5", "own.toml: [net] has no layers: add extends"),
        ('about = "mine"', "own.toml: [net] has no layers: add extends"),
        (
            '[net]\nclasses = 2\n[net.c1]\nkind = "convolution"\nkernels = 1\nsize = 224\nsees = "picture"',
            "own.toml:3: [net.c1] gives 2×1×1 outputs: end the net with linear layers",
        ),
        ('extends = "lenet"\nabout = 3', "own.toml:2: about is text, not 3"),
        ('about = ""\nextends = ["lenet"]', "own.toml:2: extends is text, not ['lenet']"),
        ('about = ""\nextends = "lenett"', "own.toml:2: there is no recipe 'lenett': did you mean 'lenet'?"),
        ('extends = "none.toml"', "own.toml:1: "),
        ('extends = "lenet"\n[net.conv1]\nkind = ["norm"]', "own.toml:3: [net.conv1] kind '['norm']' is unknown"),
    ],
)
def test_a_recipe_without_layers_or_with_a_wrong_base_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "own.toml").write_text(text + "\n")
    with pytest.raises(UsageError) as caught:
        load_recipe(str(tmp_path / "own.toml"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["convolution", "pool", "norm", "map_norm"])
def test_a_layer_of_maps_after_a_linear_layer_is_refused(tmp_path: Path, kind: str) -> None:
    numbers = {"convolution": "kernels = 2\nsize = 1\n", "pool": "size = 1\nstride = 1\n"}.get(kind, "")
    (tmp_path / "own.toml").write_text(f'extends = "lenet"\n[net.x1]\nkind = "{kind}"\nafter = "fc3"\n{numbers}')
    with pytest.raises(UsageError, match=rf"own.toml:2: \[net.x1\] is a {kind} layer after fc3"):
        load_recipe(str(tmp_path / "own.toml"))


def test_a_layer_can_not_have_the_name_of_something_that_each_net_has(tmp_path: Path) -> None:
    net = load_recipe("lenet").net
    values = net.to_dict()
    network = Network(net)
    layers = {name for name, _ in network.named_children()} - {"flatten"}
    taken = {name for name in dir(network) if not name.startswith("_")} - layers
    for name in {*taken, "flatten", "logits", "_x1", "a.b", "größe1", "a\n1"}:
        with pytest.raises(FieldError, match="can't be a layer's name"):
            Net.from_dict({**values, "order": [*values["order"], name], name: {"kind": "relu"}}, net.patch)


def test_a_third_partys_recipe_does_not_replace_a_built_in_one(package: Path) -> None:
    (package / "paper.toml").write_text("[training]\nrate = 7.0\n")
    assert load_recipe("paper").training.rate == 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "nowhere"', "there is no recipe 'nowhere': .*paper"),
        ('extends = "odd"', "recipe 'odd' extends itself through odd"),
        ("[training]\nspeed = 1", r"odd.toml:2: \[training\] has no field 'speed'"),
        ("[magic]\nwand = 1", "a recipe has no field 'magic'"),
        ("[training\n", "odd.toml is not TOML"),
        ('[training]\nschedule = "daily"', "schedule 'daily' is unknown: use one of plateau, steps"),
        ('[training]\nrate = "fast"', r"\[training\] rate is a number, not 'fast'"),
        ("[training]\nepochs = 1.5", r"\[training\] epochs is a whole number, not 1.5"),
        ("[training]\nepochs = true", r"\[training\] epochs is a whole number, not True"),
        ("[input]\nflip = 1", r"\[input\] flip is true or false, not 1"),
        ("[training]\nchanges = [{ epoch = 'x' }]", r"\[training.changes\] epoch is a whole number, not 'x'"),
        ("[training]\nchanges = [{ epoch = 2, when = 1 }]", r"\[training.changes\] has no field 'when'"),
        (
            "[training]\nchanges = [{ epoch = 2, layers = { conv1 = 'off' } }]",
            r"\[training.changes\] layers.conv1 is a number, not 'off'",
        ),
        ("training = 3", r"\[training\] is a table of fields, not 3"),
        ("[training]\nchanges = 3", r"\[training\] changes is a list in brackets, not 3"),
        ("[training]\nchanges = [3]", r"\[training.changes\] is a table of fields, not 3"),
    ],
)
def test_a_recipe_that_can_not_be_meant_is_refused(package: Path, text: str, message: str) -> None:
    (package / "odd.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe("odd")
    assert caught.value.exit_code == 2


def test_two_recipes_that_extend_each_other_are_refused(package: Path) -> None:
    (package / "hen.toml").write_text('extends = "egg"')
    (package / "egg.toml").write_text('extends = "hen"')
    with pytest.raises(UsageError, match="extends itself through hen → egg → hen"):
        load_recipe("hen")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"there is no recipe 'papr': did you mean 'paper'.*use one of .*paper.*source-2012"
    ):
        load_recipe("papr")


@pytest.mark.parametrize("name", recipe_files())
def test_a_recipe_comes_back_from_json_as_it_was(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


# ------------------------------------------------------------------------------------- --set


def resolved(*sets: str, **options: Any) -> Recipe:
    return resolve_recipe(TrainConfig(crops=Path("c"), out=Path("o"), set=list(sets), **options), 10)


def test_a_file_may_begin_with_a_byte_order_mark_as_windows_editors_write(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes('extends = "paper"\n[training]\nepochs = 3\n'.encode("utf-8-sig"))
    assert load_recipe(str(tmp_path / "own.toml")).training.epochs == 3


def test_set_takes_tomls_notation() -> None:
    recipe = resolved(
        "net.conv1.kernels=4",
        "net.remove=['norm1', 'norm2']",
        "training.rate=1e-3",
        "training.patience = 7",
        "training.weight_decay=0",
        "training.schedule='steps'",
        "training.changes=[{epoch=2, layers={conv1=0.0}}]",
    )
    assert recipe.to_dict()["net"]["conv1"]["kernels"] == 4
    assert not [spec for spec in recipe.net.layers if isinstance(spec, Norm)]
    assert (recipe.training.rate, recipe.training.patience) == (0.001, 7)
    assert recipe.training.weight_decay == 0.0 and isinstance(recipe.training.weight_decay, float)
    assert recipe.training.changes[0].layers == {"conv1": 0.0}


def test_set_of_one_layers_rate_keeps_the_others_and_a_whole_table_replaces_them(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('extends = "paper"\n[training]\nlayer_rates = { conv1 = 1.0, conv2 = 2.0 }\n')
    one_by_one = ["training.layer_rates.conv2=3", "training.layer_rates.fc8=4", "training.layer_decays.fc8=5"]
    training = load_recipe(str(path), one_by_one).training
    assert training.layer_rates == {"conv1": 1.0, "conv2": 3.0, "fc8": 4.0}
    assert training.layer_decays == {"fc8": 5.0}
    assert load_recipe(str(path), ["training.layer_rates={fc8=4}"]).training.layer_rates == {"fc8": 4.0}
    path.write_text('extends = "paper"\n[training.layer_rates]\nconv9 = 1.0\n')
    with pytest.raises(UsageError, match=r"own.toml:3: \[training\] layer_rates names 'conv9'"):
        load_recipe(str(path), one_by_one)


def test_a_list_in_set_that_is_not_toml_is_said_to_be_none() -> None:
    with pytest.raises(UsageError, match=r"^--set training.changes=\[\{epoch=3, rate=.1\}\]: the value is not TOML: "):
        load_recipe("paper", ["training.changes=[{epoch=3, rate=.1}]"])


@pytest.mark.parametrize("text", ["net.=3", "training.=1", "training..fc8=1", ".rate=1"])
def test_an_empty_name_in_set_is_told_with_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=f"^--set {text}: write it as SECTION.FIELD=VALUE"):
        load_recipe("paper", [text])


def test_set_takes_a_word_without_quotes_as_text() -> None:
    assert resolved("net.pool1.mode=average").to_dict()["net"]["pool1"]["mode"] == "average"


def test_options_win_over_set_and_the_stores_classes_over_both() -> None:
    recipe = resolved("training.rate=0.5", "net.classes=99", rate=0.25, epochs=3, batch_size=7)
    assert (recipe.training.rate, recipe.training.epochs, recipe.training.batch_size) == (0.25, 3, 7)
    assert recipe.net.classes == 10


@pytest.mark.parametrize("value", ["False", "no", "0", '"false"'])
def test_what_looks_like_false_is_never_taken_for_true(value: str) -> None:
    with pytest.raises(UsageError, match=r"\[input\] flip is true or false, not "):
        resolved(f"input.flip={value}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("deep.toml", "about = " + "[" * 20_000, "is not TOML: nested too deep"),
        ("keys.toml", "[net]\nx.{}y = 1".format("a." * 20_000), "is not TOML: nested too deep"),
        ("long.toml", "[training]\nepochs = " + "9" * 5_000, "is not TOML: "),
        ("large.toml", "#" * (1 << 20) + "\n", "has 1,048,577 bytes"),
        ("nothing.toml", 'extends = "a\\u0000.toml"', "is not TOML: embedded null"),
        ("folder.toml", None, "is a folder, not a file"),
    ],
)
def test_a_strangers_recipe_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        load_recipe(str(tmp_path / name))


def test_a_recipe_that_is_a_fifo_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name, kind in (("fifo", "a FIFO"), ("zero", "a device")):
        (tmp_path / "own.toml").write_text(f'extends = "{name}.toml"')
        with pytest.raises(UsageError, match=f"{name}.toml: is {kind}, not a file"):
            load_recipe(str(tmp_path / "own.toml"))


def test_a_value_with_too_many_digits_or_brackets_counts_as_text() -> None:
    for value in ("9" * 5_000, "[" * 5_000):
        with pytest.raises(UsageError, match=r"--set training\.rate="):
            load_recipe("paper", [f"training.rate={value}"])


def test_a_chain_of_recipes_without_end_is_refused(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"r{number}.toml").write_text(f'extends = "r{number + 1}.toml"')
    with pytest.raises(UsageError, match="extends more than 100 others"):
        load_recipe(str(tmp_path / "r0.toml"))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "1e39", "9" * 400, "9007199254740993"])
@pytest.mark.parametrize("field", ["training.rate", "input.divisor", "net.norm1.beta", "net.fc6.neurons"])
def test_a_number_that_no_float32_holds_is_refused(field: str, value: str) -> None:
    with pytest.raises(UsageError, match=r"must be a number between ±|is a whole number, not"):
        load_recipe("paper", [f"{field}={value}"])
