"""A command replaces an artifact of its own kind, and no input; whatever else lies there stays as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import pytest
from conftest import MakeStore

from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import CROPS, ENSEMBLE, RUN, SCORES, STATISTICS, SUBMISSION, require_output
from alexnet_cli.artifacts.common.working import only_writer
from alexnet_cli.cli import main
from alexnet_cli.errors import UsageError

Bench = Callable[[str], list[str]]


@pytest.fixture
def bench(make_store: MakeStore, make_statistics: Callable[..., Path], make_checkpoint: Callable[..., Path]) -> Path:
    """train.lmdb, train.h5, and two checkpoints `a` and `b`, in the folder that is returned."""
    store = make_store("train", [0, 1, 2, 0, 1, 2])
    statistics = make_statistics(store)
    make_checkpoint("a", store, statistics, seed=1)
    make_checkpoint("b", store, statistics, seed=2)
    return store.path.parent


def words_of(command: str, bench: Path, out: Path, *, narrow: Sequence[str] = ()) -> list[str]:
    """A command line that makes something at `out`, told to overwrite."""
    crops, stats = str(bench / "train.lmdb"), str(bench / "train.h5")
    words = {
        "pca": ["pca", crops],
        "eval": ["eval", str(bench / "a"), crops],
        "ensemble": ["ensemble", str(bench / "a"), str(bench / "b"), "--crops", crops],
        "train": ["train", crops, "--stats", stats, "--recipe", "quickstart", "--epochs", "1"],
        "preprocess": ["preprocess", str(bench / "pictures")],
    }[command]
    if command == "train":
        for text in narrow:
            words += ["--set", text]
    return [*words, "--out", str(out), "--quiet", "--overwrite"]


def picture_of(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder and below."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def notes(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("dear")


def with_checkpoints(path: Path) -> None:
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / "thesis.txt").write_text("dear")


def with_data(path: Path) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"another program's LMDB")


def with_strange_manifest(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text('{"name": "a web page", "kind": "crops", "schema": 1}')
    (path / "data.mdb").write_bytes(b"mine")


def with_damaged_manifest(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text('{"kind": "crops')


def with_config(path: Path) -> None:
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.json").write_text('{"recipe": "soup"}')


def empty_folders(path: Path) -> None:
    (path / "a" / "b").mkdir(parents=True)


def text_file(path: Path) -> None:
    path.write_text("dear")


def foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["measured"] = [1.0, 2.0]


def link_to_notes(path: Path) -> None:
    notes(path.with_name("linked"))
    path.symlink_to(path.with_name("linked"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


FOREIGN = [
    notes,
    with_checkpoints,
    with_data,
    with_strange_manifest,
    with_damaged_manifest,
    with_config,
    empty_folders,
    text_file,
    foreign_hdf5,
    link_to_notes,
    pipe,
]


@pytest.mark.parametrize("form", FOREIGN, ids=lambda form: form.__name__)
@pytest.mark.parametrize("command", ["pca", "eval", "ensemble", "train", "preprocess"])
def test_a_strangers_output_is_refused_with_2_and_stays_as_it_was(
    bench: Path, tree: Path, tmp_path: Path, form: Callable[[Path], None], command: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    form(home / "out")
    before = picture_of(home)
    assert main(words_of(command, bench, home / "out")) == 2
    assert picture_of(home) == before


@pytest.mark.parametrize("form", [notes, with_checkpoints, with_config], ids=lambda form: form.__name__)
def test_resume_goes_on_with_runs_only(bench: Path, tmp_path: Path, form: Callable[[Path], None]) -> None:
    form(tmp_path / "out")
    before = picture_of(tmp_path / "out")
    words = [word for word in words_of("train", bench, tmp_path / "out") if word != "--overwrite"]
    assert main([*words, "--resume"]) == 2
    assert picture_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("command", "other"),
    [
        ("ensemble", "train.lmdb"),
        ("train", "train.lmdb"),
        ("preprocess", "a"),
        ("pca", "train.lmdb"),
        ("eval", "train.h5"),
    ],
)
def test_another_kind_of_artifact_is_not_replaced(
    bench: Path, tree: Path, tmp_path: Path, command: str, other: str
) -> None:
    if other == "train.h5":
        shutil.copyfile(bench / other, tmp_path / "out")
    else:
        shutil.copytree(bench / other, tmp_path / "out")
    (tmp_path / "out").touch()
    before = picture_of(tmp_path)
    assert main(words_of(command, bench, tmp_path / "out")) == 2
    assert picture_of(tmp_path) == before


def finished(folder: Path, kind: str, *files: str) -> Path:
    """A folder that is an artifact by its manifest."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "manifest.json").write_text(Manifest(kind=kind, schema=1, digest="d").to_json())
    return folder


@pytest.mark.parametrize(
    ("kind", "files", "stranger"),
    [
        (CROPS, ["data.mdb", "report.json", "report.txt", "rejects.tsv"], "notes.txt"),
        (RUN, ["config.json", "checkpoints/step-00000003/model.safetensors", "ranks/rank-1.log"], "checkpoints/x.txt"),
        (RUN, ["config.json", "tensorboard/events.out.tfevents.1.host.2.0"], "tensorboard/mine/plot.png"),
        (ENSEMBLE, ["scores.h5", "members.json", "members/1.h5", "table.txt"], "members/mine.h5"),
    ],
    ids=["crops", "run", "run's events", "ensemble"],
)
def test_an_artifact_that_also_holds_somebodys_file_is_not_replaced_and_the_file_is_named(
    tmp_path: Path, kind: object, files: list[str], stranger: str
) -> None:
    assert isinstance(kind, type(CROPS))
    out = finished(tmp_path / "out", kind.name, *files)
    require_output(out, kind, overwrite=True)
    with pytest.raises(UsageError, match="exists already"):
        require_output(out, kind, overwrite=False)
    (out / stranger).parent.mkdir(exist_ok=True)
    (out / stranger).write_text("mine")
    with pytest.raises(UsageError, match=rf"{stranger}: does not belong to the {kind.title}"):
        require_output(out, kind, overwrite=True)


def test_an_output_must_not_be_hold_or_lie_inside_an_input(tmp_path: Path) -> None:
    (tmp_path / "data" / "train.lmdb").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    store = tmp_path / "data" / "train.lmdb"
    for out, message in (
        (store, "is what CROPS .* reads"),
        (tmp_path / "link" / "train.lmdb", "is what CROPS .* reads"),
        (tmp_path / "data", "holds CROPS"),
        (tmp_path / "link", "holds CROPS"),
        (store / "stats.h5", "lies inside CROPS"),
        (tmp_path / "link" / "train.lmdb" / "x" / "stats.h5", "lies inside CROPS"),
    ):
        with pytest.raises(UsageError, match=message):
            require_output(out, STATISTICS, overwrite=True, inputs={"CROPS": store, "--val": None})
    require_output(tmp_path / "data" / "stats.h5", STATISTICS, overwrite=True, inputs={"CROPS": store})


@pytest.mark.parametrize("out", [".", "..", "../home", "sub/.."])
def test_the_folder_that_one_is_in_is_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    (tmp_path / "home" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home")
    with pytest.raises(UsageError, match="holds the folder that you are in"):
        require_output(Path(out), CROPS, overwrite=True)


def test_an_empty_folder_may_become_a_folder_artifact_but_no_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    require_output(tmp_path / "out", CROPS, overwrite=False)
    with pytest.raises(UsageError, match="is a folder: --out names the file"):
        require_output(tmp_path / "out", SCORES, overwrite=True)


def test_a_dangling_link_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    require_output(tmp_path / "link", CROPS, overwrite=False)


def test_a_table_of_class_numbers_may_be_replaced_by_a_submission_and_prose_may_not(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("1 2 3 4 5\n9 8 7 6 5\n")
    require_output(tmp_path / "s.txt", SUBMISSION, overwrite=True)
    (tmp_path / "s.txt").write_text("1 2 3 4 5\ndear diary\n")
    with pytest.raises(UsageError, match="is not a submission"):
        require_output(tmp_path / "s.txt", SUBMISSION, overwrite=True)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("command", ["pca", "eval"])
def test_a_damaged_file_of_ours_is_known_by_its_manifest_and_replaced(
    bench: Path, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out.h5"
    words = words_of(command, bench, out)
    assert main(words) == 0
    whole = out.read_bytes()
    superblock, manifest = 9, whole.index(b'"digest"')
    for place in (superblock, manifest, len(whole) - 1):
        flip(out, place)
        assert main(words) == 0, place
        assert len(out.read_bytes()) == len(whole)
    out.write_bytes(whole[: len(whole) - 100])
    assert main(words) == 0


def test_a_damaged_file_that_nothing_tells_is_kept_and_the_message_says_what_to_do(
    bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.h5"
    out.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000))
    assert main(words_of("pca", bench, out)) == 2
    assert out.stat().st_size == 5008
    assert capsys.readouterr().err.endswith("so it is not replaced: choose another --out, or remove it yourself\n")


def test_a_damaged_manifest_still_tells_what_a_folder_is(bench: Path, tmp_path: Path) -> None:
    words = words_of("ensemble", bench, tmp_path / "e")
    assert main(words) == 0
    text = (tmp_path / "e" / "manifest.json").read_text()
    (tmp_path / "e" / "manifest.json").write_text(text.replace('"digest": "', '"digest" "'))
    assert main(words) == 0
    assert (tmp_path / "e" / "manifest.json").read_text().startswith('{\n  "kind": "ensemble"')


@pytest.mark.parametrize("command", ["pca", "eval", "ensemble"])
def test_a_second_command_for_the_same_output_ends_at_once(
    bench: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with only_writer(out):
        assert main(words_of(command, bench, out)) == 5
    assert f"another process (pid {os.getpid()}) is writing it" in capsys.readouterr().err
    assert not out.exists()


def test_neighbours_of_the_output_are_left_alone(bench: Path, tmp_path: Path) -> None:
    for name in ("s.h5.lock", "s.h5.partial"):
        (tmp_path / name).write_text("the user's")
    assert main(words_of("pca", bench, tmp_path / "s.h5")) == 0
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(("s.h5", "."))} == {
        "s.h5",
        "s.h5.lock",
        "s.h5.partial",
    }
    assert (tmp_path / "s.h5.lock").read_text() == (tmp_path / "s.h5.partial").read_text() == "the user's"
