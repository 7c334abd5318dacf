"""`alexnet train`: what it refuses, with which line and code, and what stays as it was."""

from __future__ import annotations

import os

import pytest
from small_training import Bench, Capture, refused

from alexnet_cli.artifacts.common.working import only_writer


def test_statistics_of_another_store_are_refused_unless_allowed(bench: Bench, capsys: Capture) -> None:
    other = bench.make_statistics(bench.make_store("other", [0, 1, 2], seed=9))
    refused(capsys, 4, str(other), "a different crop store", "alexnet pca", "--allow-other-stats")(
        bench("--quiet", stats=other)
    )
    assert not bench.out.exists()
    assert bench("--quiet", "--allow-other-stats", stats=other) == 0


def test_a_validation_store_of_other_classes_is_refused_with_the_difference(bench: Bench, capsys: Capture) -> None:
    other = bench.make_store("other", [0, 1, 2], classes=("ape", "bat", "dog"))
    refused(capsys, 4, str(other.path), "a different class list", "'cat'", "'dog'")(bench("--quiet", val=other.path))


def test_a_plateau_without_validation_pictures_is_refused(bench: Bench, capsys: Capture) -> None:
    refused(capsys, 2, "lowers the rate by the validation error", "--val STORE")(
        bench("--quiet", "--recipe", "paper", val=None)
    )


def test_missing_statistics_are_refused_with_the_command_that_makes_them(bench: Bench, capsys: Capture) -> None:
    refused(capsys, 2, "--stats is missing", f"alexnet pca {bench.train.path}")(bench("--quiet", stats=None))
    refused(capsys, 4, "nowhere.h5", "no such statistics file")(bench("--quiet", stats=bench.folder / "nowhere.h5"))


def test_a_missing_store_is_refused(bench: Bench, capsys: Capture) -> None:
    refused(capsys, 4, "gone.lmdb", "no such crop store")(bench("--quiet", train=bench.folder / "gone.lmdb"))
    refused(capsys, 4, "gone.lmdb", "no such crop store")(bench("--quiet", val=bench.folder / "gone.lmdb"))


def test_pictures_without_labels_can_not_be_trained_on(bench: Bench, capsys: Capture) -> None:
    unlabelled = bench.make_store("unlabelled", [-1, -1], classes=())
    refused(capsys, 4, str(unlabelled.path), "has no labels")(bench("--quiet", train=unlabelled.path))
    refused(capsys, 4, str(unlabelled.path), "has no labels")(bench("--quiet", val=unlabelled.path))


def test_an_output_that_exists_is_refused_and_kept_unless_overwriting(bench: Bench, capsys: Capture) -> None:
    assert bench("--quiet", "--epochs", 1) == 0
    digest = bench.last().manifest.digest
    capsys.readouterr()
    refused(capsys, 2, str(bench.out), "exists already", "--overwrite")(bench("--quiet", "--seed", 1))
    assert bench.last().manifest.digest == digest
    assert bench("--quiet", "--epochs", 1, "--seed", 1, "--overwrite") == 0
    assert bench.last().manifest.digest != digest
    assert len(bench.rows()) == 1


def test_a_folder_that_is_no_run_is_never_replaced(bench: Bench, capsys: Capture) -> None:
    bench.out.mkdir()
    (bench.out / "thesis.tex").write_text("years of work")
    refused(capsys, 2, "is not a run folder", "another --out")(bench("--quiet", "--overwrite"))
    assert (bench.out / "thesis.tex").read_text() == "years of work"


def test_an_output_that_can_not_be_written_is_refused_at_once(bench: Bench, capsys: Capture) -> None:
    (bench.folder / "file").write_text("")
    refused(capsys, 5, "file/run")(bench("--quiet", out=bench.folder / "file" / "run"))
    if os.geteuid() != 0:
        locked = bench.folder / "locked"
        locked.mkdir(mode=0o500)
        refused(capsys, 5, "permission denied")(bench("--quiet", out=locked / "run"))


def test_a_second_training_into_the_same_folder_is_refused(bench: Bench, capsys: Capture) -> None:
    with only_writer(bench.out):
        refused(capsys, 5, "another process", f"pid {os.getpid()}")(bench("--quiet", "--resume"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--recipe", "papr"], ["there is no recipe 'papr'", "paper"]),
        (["--set", "net.colums=1"], ["no field 'colums'", "did you mean 'columns'?"]),
        (["--set", "nonsense.columns=1"], ["there is no section 'nonsense'"]),
        (["--set", "columns=1"], ["SECTION.FIELD=VALUE"]),
        (["--set", "training.rate=fast"], ["[training] rate is a number, not 'fast'"]),
        (["--set", "input.flip=False"], ["[input] flip is true or false, not 'False'"]),
        (["--set", "training.batch_size=4.5"], ["[training] batch_size is a whole number, not 4.5"]),
        (["--rate", "-1"], ["--rate -1.0: must be positive"]),
        (["--precision", "fp8"], ["--precision fp8", "fp32"]),
        (["--precision", "tf32"], ["tf32"]),
        (["--devices", "tpu"], ["--devices tpu"]),
        (["--resume", "--overwrite"], ["exclude each other"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_an_option_that_can_not_be_meant_is_refused(
    bench: Bench, capsys: Capture, words: list[str], parts: list[str]
) -> None:
    refused(capsys, 2, *parts)(bench("--quiet", *words))
    assert not bench.out.exists()


def test_a_damaged_record_ends_the_training_by_its_name(bench: Bench, capsys: Capture) -> None:
    data, pixels = bench.train.path / "data.mdb", bytes(bench.train.stored(7))
    bench.train.close()
    content = bytearray(data.read_bytes())
    content[content.index(pixels) + 1000] ^= 1
    data.write_bytes(content)
    refused(capsys, 4, "train.lmdb: record 7 (train/0007.JPEG) fails its checksum")(bench("--quiet"))
