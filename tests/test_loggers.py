"""`alexnet train --log`: who is told what, and that a training outlives its loggers."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from small_training import Bench, refused

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.loggers.find import make
from alexnet_cli.loggers.logbook import chosen
from alexnet_cli.loggers.protocol import Beginning
from alexnet_cli.loggers.tensorboard import TensorBoard
from alexnet_cli.tiles import as_bytes, filter_tiles

Capture = pytest.CaptureFixture[str]

MINE = """
import json
from pathlib import Path

FAILS = []

class Mine:
    def __init__(self):
        if "init" in FAILS: raise RuntimeError("no licence")
    def note(self, *what):
        if what[0] in FAILS: raise RuntimeError("the server is gone")
        with (self.folder / "calls.jsonl").open("a") as file:
            file.write(json.dumps(what) + "\\n")
    def begin(self, run):
        if "begin" in FAILS: raise RuntimeError("no network")
        self.folder = run.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.note("begin", run.name, run.step, run.config["recipe"]["name"])
    def scalars(self, step, values): self.note("scalars", step, values)
    def image(self, step, name, picture): self.note("image", step, name, str(picture.dtype), picture.shape)
    def text(self, name, text): self.note("text", name, text)
    def hparams(self, values): self.note("hparams", values)
    def finish(self): self.note("finish")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody's package with a logger, installed; what is put into the list fails."""
    site = tmp_path / "site"
    facts = site / "mine-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "mine_logger.py").write_text(MINE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[alexnet.loggers]\nmine = mine_logger:Mine\n")
    monkeypatch.syspath_prepend(str(site))
    import mine_logger  # type: ignore[import-not-found]

    fails: list[str] = mine_logger.FAILS
    fails.clear()
    return fails


def calls(bench: Bench) -> list[list[object]]:
    return [json.loads(line) for line in (bench.out / "logs/mine/calls.jsonl").read_text().splitlines()]


def test_another_packages_logger_is_told_everything(bench: Bench, mine: list[str]) -> None:
    assert bench("--quiet", "--log", "mine", "--seed", 7) == 0
    told = calls(bench)
    assert told[0] == ["begin", "run", 0, "quickstart"]
    assert told[-1] == ["finish"]
    (text,) = [call for call in told if call[0] == "text"]
    assert json.loads(str(text[2])) == json.loads((bench.out / "config.json").read_text())["recipe"]
    (values,) = [call[1] for call in told if call[0] == "hparams"]
    assert isinstance(values, dict)
    assert (values["recipe"], values["seed"], values["precision"]) == ("quickstart", 7, "fp32")
    assert values["training.rate"] == 0.001 and values["training.batch_size"] == 4
    epochs = {call[1]: call[2] for call in told if call[0] == "scalars"}
    for row in bench.rows():
        shown = epochs[int(row["step"])]
        assert isinstance(shown, dict)
        assert shown["epoch/train_loss"] == float(row["train_loss"])
        assert shown["epoch/validation_top1_error"] == float(row["validation_top1_error"])
    assert [call[1:4] for call in told if call[0] == "image"] == [
        [6, "filters/conv1", "uint8"],
        [12, "filters/conv1", "uint8"],
    ]
    assert not (bench.out / "tensorboard").exists()


def test_a_run_that_goes_on_tells_its_logger_from_which_step(bench: Bench, mine: list[str]) -> None:
    assert bench("--quiet", "--log", "mine", "--log", "mine", "--epochs", 1) == 0
    assert bench("--quiet", "--log", "mine", "--resume", "--epochs", 2) == 0
    begun = [call for call in calls(bench) if call[0] == "begin"]
    assert [call[2] for call in begun] == [0, 6]
    assert bench("--quiet", "--overwrite", "--epochs", 1) == 0, "the loggers' files belong to the run"
    assert not (bench.out / "logs").exists() and (bench.out / "tensorboard").is_dir()


@pytest.mark.parametrize("where", ["scalars", "image", "hparams", "text", "finish"])
def test_a_logger_that_fails_is_told_once_and_the_training_goes_on(
    bench: Bench, mine: list[str], where: str, capsys: Capture
) -> None:
    mine.append(where)
    assert bench("--quiet", "--log", "mine", "--log", "csv", "--epochs", 1) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: --log mine: failed (RuntimeError: the server is gone)")
    assert (bench.out / "logs/csv/scalars.csv").is_file() and RunFolder(bench.out).finished


def test_a_logger_that_can_not_begin_or_be_made_ends_the_training_before_a_step(
    bench: Bench, mine: list[str], capsys: Capture
) -> None:
    mine.append("begin")
    refused(capsys, 5, "--log mine: can't begin", "no network")(bench("--quiet", "--log", "mine"))
    mine[:] = ["init"]
    refused(capsys, 2, "--log mine: can't be loaded", "no licence")(bench("--quiet", "--log", "mine", "--overwrite"))


@pytest.mark.parametrize(
    ("words", "says"),
    [(["nobody"], "use one of csv, mlflow, tensorboard, wandb or none"), (["none", "csv"], "excludes others")],
)
def test_names_that_can_not_be_meant_are_refused(bench: Bench, words: list[str], says: str, capsys: Capture) -> None:
    refused(capsys, 2, says)(bench(*(word for name in words for word in ("--log", name))))
    assert not bench.out.exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_is_told_with_pips_command_before_any_work(
    bench: Bench, name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("alexnet_cli.loggers.find.find_spec", lambda wanted: None if wanted == name else real(wanted))
    refused(capsys, 2, f"pip install {name}")(bench("--log", name))
    assert not bench.out.exists()


def test_the_table_holds_every_figure_once_also_when_the_run_goes_on(bench: Bench) -> None:
    assert bench("--quiet", "--log", "csv", "--epochs", 1) == 0
    file = bench.out / "logs/csv/scalars.csv"
    with file.open("a") as lines:
        lines.write("7,train/loss,1.5\n")  # as a run that was killed after the checkpoint leaves it
    assert bench("--quiet", "--log", "csv", "--resume", "--epochs", 2) == 0
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len({(row["step"], row["name"]) for row in rows}) == len(rows) and {row["step"] for row in rows} == {
        "6",
        "12",
    }
    found = {row["step"]: float(row["value"]) for row in rows if row["name"] == "epoch/train_loss"}
    assert found == {row["step"]: float(row["train_loss"]) for row in bench.rows()}


@pytest.mark.parametrize("log", ["none", "csv"])
def test_tensorboard_is_not_imported_where_nobody_asks_for_it(bench: Bench, log: str) -> None:
    code = (
        "import sys; from alexnet_cli.cli import main; code = main(sys.argv[1:]);"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'tensorboard'], 'imported'; sys.exit(code)"
    )
    words = bench.words("--quiet", "--log", log, "--epochs", 1)
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (bench.out / "metrics.csv").is_file() and not (bench.out / "tensorboard").exists()


def test_tensorboard_shows_the_kernels_the_recipe_and_the_hyperparameters(bench: Bench) -> None:
    from PIL import Image
    from tensorboard.backend.event_processing import event_accumulator

    assert bench("--quiet", "--epochs", 1) == 0
    events = event_accumulator.EventAccumulator(str(bench.out / "tensorboard"))
    events.Reload()
    import io

    (image,) = events.Images("filters/conv1")
    shown = np.array(Image.open(io.BytesIO(image.encoded_image_string)))[::4, ::4]
    model = read_checkpoint(bench.last().path).model["conv1.weight"].numpy()
    assert np.array_equal(shown, as_bytes(filter_tiles(model, columns=2)))
    text = events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    recipe = json.loads((bench.out / "config.json").read_text())["recipe"]
    assert json.loads(text) == recipe
    assert any(name.startswith("_hparams_/") for name in events.summary_metadata)
    assert len(list((bench.out / "tensorboard").iterdir())) == 1, "no second run beside it"


def test_kernels_that_have_not_changed_are_shown_once(bench: Bench, mine: list[str]) -> None:
    """As where they are frozen."""
    sets = ("--set", 'training.trained=["fc8"]')
    assert bench("--quiet", "--log", "mine", *sets) == 0
    assert len([call for call in calls(bench) if call[0] == "image"]) == 1


def test_what_was_chosen_is_flat_and_of_plain_values() -> None:
    config = {
        "seed": 3,
        "recipe": {"name": "x", "net": {"columns": 2}, "training": {"rate": 0.1, "layer_rates": {"a": 1.0}}},
    }
    assert dict(chosen(config)) == {
        "recipe": "x", "seed": 3, "net.columns": 2, "training.rate": 0.1, "training.layer_rates.a": 1.0
    }  # fmt: skip


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("mlflow", "mlflow")])
def test_others_loggers_work_offline_where_they_are_installed(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / name
    for step in (0, 6):
        logger = make(name)
        logger.begin(Beginning(name="run", folder=folder, step=step, config={"recipe": {"name": "paper"}}))
        logger.text("recipe", "{}")
        logger.hparams({"training.rate": 0.01, "recipe": "paper", "flip": True})
        logger.scalars(step + 6, {"train/loss": 2.5 - step / 6, "epoch/validation_top1_error": 0.5})
        logger.image(step + 6, "filters/conv1", np.zeros((8, 12, 3), np.uint8))
        logger.finish()
    if name == "wandb":
        runs = [path for path in (folder / "wandb").iterdir() if path.name.startswith("offline-run-")]
        identity = (folder / "run-id.txt").read_text().strip()
        assert runs and all(path.name.endswith(identity) for path in runs)
        return
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "alexnet"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["training.rate"] == "0.01" and run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(6, 2.5), (12, 1.5)]
    assert (folder / "artifacts" / run.info.run_id / "artifacts/recipe.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_tensorboard_tells_of_a_full_disk_at_the_very_figure(tmp_path: Path) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    logger, threads = TensorBoard(), threading.active_count()
    logger.begin(Beginning(name="run", folder=tmp_path / "events", step=3, config={}))
    logger.scalars(4, {"loss": 1.0})
    logger.finish()
    logger._records = RecordWriter(open("/dev/full", "wb", buffering=0))  # noqa: SIM115, PTH123
    with pytest.raises(OSError, match="No space left"):
        logger.scalars(5, {"loss": 1.0})
    logger.finish()
    assert threading.active_count() == threads
