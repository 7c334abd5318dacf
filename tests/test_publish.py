"""Whole or not at all, one writer at a time, and manifests that tell on foreign, damaged and newer artifacts."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from alexnet_cli.artifacts.common import publish
from alexnet_cli.artifacts.common.manifest import Manifest, digest_of, digest_of_file, read_folder_manifest
from alexnet_cli.artifacts.common.ownership import Kind
from alexnet_cli.artifacts.common.publish import publish_file, publish_folder, write_text
from alexnet_cli.artifacts.common.working import begin_work, only_writer, prepare_parent, work_of
from alexnet_cli.errors import AlexNetError, ArtifactError, ResourceError, UsageError

as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


TEXT = Kind(name="text", title="text", tell=lambda path: path.read_bytes().startswith(b"ours"))
FOLDER = Kind(name="crops", title="crop store", files=r"sub/new|sub/old|manifest\.json")


def finished(folder: Path, name: str) -> Path:
    """A small artifact of kind `crops` with one file."""
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "sub" / name).write_text(name)
    (folder / "manifest.json").write_text(MANIFEST.to_json())
    return folder


def test_a_file_is_published_in_a_folder_that_is_made_for_it(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "stats.h5"
    publish_file(out, b"ours: whole", TEXT, overwrite=False)
    assert out.read_bytes() == b"ours: whole"
    assert names(out.parent) == ["stats.h5"]


@pytest.mark.parametrize("fault", ["write", "fsync", "replace"])
def test_an_error_while_writing_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    out = tmp_path / "stats.h5"
    out.write_text("ours: old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    place = {"write": (publish, "write_verified"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[fault]
    monkeypatch.setattr(*place, fail)
    with pytest.raises(ResourceError, match=r"stats\.h5: Input/output error"):
        publish_file(out, b"ours: new", TEXT, overwrite=True)
    monkeypatch.undo()
    assert out.read_text() == "ours: old"
    assert names(tmp_path) == ["stats.h5"]


def test_what_reads_back_otherwise_than_it_was_written_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "digest_of_file", lambda path: "another")
    with pytest.raises(ResourceError, match=r"x\.h5: what was written can't be read back: the disk may be failing"):
        publish_file(tmp_path / "x.h5", b"ours", TEXT, overwrite=False)
    assert names(tmp_path) == []


def test_an_existing_file_is_refused_unless_overwriting(tmp_path: Path) -> None:
    out = tmp_path / "stats.h5"
    out.write_text("ours: old")
    with pytest.raises(UsageError, match="exists already"):
        publish_file(out, b"ours: new", TEXT, overwrite=False)
    assert out.read_text() == "ours: old"
    publish_file(out, b"ours: new", TEXT, overwrite=True)
    assert out.read_text() == "ours: new"


def test_a_full_disk_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, usual[1]))
    try:
        with pytest.raises(ResourceError, match=r"stats\.h5: the disk is full: free some space") as caught:
            publish_file(tmp_path / "stats.h5", bytes(2000), TEXT, overwrite=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert caught.value.exit_code == 5
    assert names(tmp_path) == []


@as_root
def test_a_folder_that_may_not_be_written_is_refused_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ResourceError, match="permission denied"):
            prepare_parent(tmp_path / "stats.h5")
    finally:
        tmp_path.chmod(0o700)


def test_a_parent_that_is_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"stats\.h5"):
        prepare_parent(tmp_path / "file" / "stats.h5")


def test_preparing_leaves_no_probe_behind(tmp_path: Path) -> None:
    prepare_parent(tmp_path / "a" / "b" / "stats.h5")
    assert names(tmp_path / "a" / "b") == []


def test_a_links_target_is_written_and_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link, there = tmp_path / "link", tmp_path / "disk" / "s.h5"
    link.symlink_to(there)
    publish_file(link, b"ours: 1", TEXT, overwrite=False)
    publish_file(link, b"ours: 2", TEXT, overwrite=True)
    assert link.is_symlink() and there.read_bytes() == b"ours: 2"
    assert names(tmp_path) == ["disk", "link"] and names(tmp_path / "disk") == ["s.h5"]
    link.unlink()
    link.symlink_to(finished(tmp_path / "disk" / "crops", "old"))
    finished(begin_work(link, "crops"), "new")
    publish_folder(work_of(link), link, FOLDER)
    assert link.is_symlink() and names(tmp_path / "disk" / "crops") == ["manifest.json", "sub"]
    assert names(tmp_path / "disk" / "crops" / "sub") == ["new"] and names(tmp_path / "disk") == ["crops", "s.h5"]


def test_a_small_text_file_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "log", "eins")
    write_text(tmp_path / "log", "zwei: é")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "zwei: é"
    assert names(tmp_path) == ["log"]


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("before", ["nothing", "an empty folder", "an artifact"])
def test_a_finished_folder_takes_the_place_of_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(publish, "exchange", lambda one, other: False)
    out = tmp_path / "train.lmdb"
    if before == "an empty folder":
        out.mkdir()
    elif before == "an artifact":
        finished(out, "old")
    work = finished(begin_work(out, "crops"), "new")
    (work / ".report.json.alexnet-work").write_text("a killed command's temporary file")
    (work / "sub" / ".1.h5.alexnet-lock").write_text("alexnet writes here, process 9\n")
    (work / ".1.h5.alexnet-work" / "deeper").mkdir(parents=True)
    (work / ".1.h5.alexnet-work" / "deeper" / "content").write_text("half")
    publish_folder(work, out, FOLDER)
    assert (out / "sub" / "new").read_text() == "new"
    assert names(tmp_path) == ["train.lmdb"]
    assert names(out) == ["manifest.json", "sub"] and names(out / "sub") == ["new"]


def test_at_every_moment_the_name_holds_a_whole_artifact(tmp_path: Path) -> None:
    """A process that looks all the time while the folder is replaced 200 times."""
    out = finished(tmp_path / "train.lmdb", "old")
    if not publish.exchange(out, finished(tmp_path / "other", "old")):
        pytest.skip("this file system can't exchange two names")
    shutil.rmtree(tmp_path / "other")
    look = (
        "import os, sys\n"
        "print('ready', flush=True)\n"
        "bad = 0\n"
        "while not os.path.exists(sys.argv[2]):\n"
        "    handle = os.open(sys.argv[1], os.O_RDONLY) if os.path.exists(sys.argv[1]) else None\n"
        "    bad += handle is None\n"
        "    if handle is not None: os.close(handle)\n"
        "sys.exit(bad > 0)\n"
    )
    words = [sys.executable, "-c", look, str(out), str(tmp_path / "stop")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
        for _ in range(200):
            publish_folder(finished(begin_work(out, "crops"), "new"), out, FOLDER)
        (tmp_path / "stop").touch()
        assert reader.wait() == 0


def test_an_old_artifact_that_was_moved_aside_comes_back_after_a_kill(tmp_path: Path) -> None:
    out = tmp_path / "train.lmdb"
    finished(tmp_path / ".train.lmdb.alexnet-old", "old")
    begin_work(out, "crops")
    assert (out / "sub" / "old").exists()
    finished(tmp_path / ".train.lmdb.alexnet-old", "old")
    begin_work(out, "crops")
    assert names(tmp_path) == [".train.lmdb.alexnet-work", "train.lmdb"]


def test_work_of_the_same_kind_is_kept_when_asked_and_begun_again_else(tmp_path: Path) -> None:
    out = tmp_path / "train.lmdb"
    (begin_work(out, "crops") / "half").touch()
    assert (begin_work(out, "crops", keep=True) / "half").exists()
    assert not (begin_work(out, "run", keep=True) / "half").exists()
    (work_of(out) / "half").touch()
    assert not (begin_work(out, "run") / "half").exists()


@pytest.mark.parametrize("form", ["a folder", "a file", "a link"])
def test_somebody_elses_file_with_a_working_name_of_ours_is_refused_and_stays(tmp_path: Path, form: str) -> None:
    work = tmp_path / ".train.lmdb.alexnet-work"
    if form == "a folder":
        work.mkdir()
        (work / "thesis.txt").write_text("dear")
    elif form == "a file":
        work.write_text("dear")
    else:
        (tmp_path / "else").mkdir()
        work.symlink_to(tmp_path / "else")
    with pytest.raises(UsageError, match="is in the way and was not made by alexnet"):
        begin_work(tmp_path / "train.lmdb", "crops")
    assert work.exists()


def test_somebody_elses_lock_is_not_written(tmp_path: Path) -> None:
    (tmp_path / ".train.lmdb.alexnet-lock").write_text("dear")
    with pytest.raises(UsageError, match="is in the way"), only_writer(tmp_path / "train.lmdb"):
        pytest.fail("not ours")
    assert (tmp_path / ".train.lmdb.alexnet-lock").read_text() == "dear"


@pytest.mark.parametrize("name", ["x.lock", "x.partial", "x.old"])
def test_neighbours_with_common_endings_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("the user's")
    publish_file(tmp_path / "x", b"ours", TEXT, overwrite=False)
    with only_writer(tmp_path / "x"):
        publish_folder(finished(begin_work(tmp_path / "y", "crops"), "new"), tmp_path / "y", FOLDER)
    assert (tmp_path / name).read_text() == "the user's"


def test_files_have_the_users_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        publish_file(tmp_path / "x", b"ours", TEXT, overwrite=False)
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    with (
        pytest.raises(ResourceError, match=r"has no file locks \(flock: "),
        only_writer(tmp_path / "x"),
    ):
        pytest.fail("no lock")


def test_a_read_only_file_system_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(ResourceError, match="the file system is read-only"):
        prepare_parent(tmp_path / "x")


def test_a_long_name_has_working_names_that_fit(tmp_path: Path) -> None:
    out = tmp_path / ("n" * 255)
    publish_file(out, b"ours", TEXT, overwrite=False)
    assert names(tmp_path) == [out.name]


HOLD = """
import sys, pathlib
from alexnet_cli.artifacts.common.working import only_writer
with only_writer(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    out = tmp_path / "train.lmdb"
    words = [sys.executable, "-c", HOLD, str(out)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(ResourceError, match=rf"another process \(pid {first.pid}\) is writing it"),
            only_writer(out),
        ):
            pytest.fail("two writers at once")
        first.stdin.write("\n")
        first.stdin.close()
        assert first.wait() == 0
    with only_writer(out):
        assert names(tmp_path) == [".train.lmdb.alexnet-lock"]
    assert names(tmp_path) == []


def test_a_killed_writer_does_not_keep_the_lock(tmp_path: Path) -> None:
    out = tmp_path / "train.lmdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        first.kill()
        first.wait()
    assert names(tmp_path) == [".train.lmdb.alexnet-lock"], "it had no time to tidy up"
    with only_writer(out):
        pass
    assert names(tmp_path) == []


FORKS = """
import os, pathlib, sys, time
from alexnet_cli.artifacts.common.working import only_writer
with only_writer(pathlib.Path(sys.argv[1])):
    if child := os.fork():
        os.write(1, b"%d" % child)
        os._exit(0)
    os.close(1)
    time.sleep(100)
"""


def test_a_process_that_a_killed_writer_forked_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    child = int(subprocess.run([sys.executable, "-c", FORKS, path], check=True, stdout=subprocess.PIPE).stdout)
    try:
        with only_writer(path, patience=10):  # the child closes its end soon, and lives on
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_lock_goes_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "x"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


MANIFEST = Manifest(
    kind="crops", schema=1, digest="abc", options={"codec": "raw"}, parents={"a": "b"}, details={"n": 1}
)


def folder_with(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "train.lmdb"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def read(folder: Path) -> Manifest:
    return read_folder_manifest(folder, kind="crops", schema=1, unfinished="run it again")


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read(folder_with(tmp_path, MANIFEST.to_json())) == MANIFEST


def test_a_manifest_says_when_and_by_what_it_was_made() -> None:
    spoken = json.loads(MANIFEST.to_json())
    assert spoken["tool"].startswith("alexnet ")
    assert spoken["created"].endswith("+00:00")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "its manifest is damaged"),
        ("[]", "its manifest is damaged"),
        ('"text"', "its manifest is damaged"),
        ("null", "its manifest is damaged"),
        ('{"kind": "crops"}', "its manifest is damaged"),
        (
            replace(MANIFEST, kind="scores").to_json(),
            "is a scores file, not a crop store: check the order of the arguments",
        ),
        (replace(MANIFEST, schema=2).to_json(), r"was written by a newer alexnet .*\(format 2, .* update alexnet"),
    ],
    ids=["cut off", "a list", "a text", "null", "keys missing", "another kind", "newer"],
)
def test_a_damaged_foreign_or_newer_manifest_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    folder = folder_with(tmp_path, text)
    with pytest.raises(ArtifactError, match=message) as caught:
        read(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_manifest_whose_schema_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="its manifest is damaged"):
        read(folder_with(tmp_path, '{"kind": "crops", "schema": "1", "digest": "abc"}'))


def test_a_newer_manifest_with_keys_of_its_own_is_called_newer(tmp_path: Path) -> None:
    newer = {**json.loads(MANIFEST.to_json()), "schema": 2, "signature": "..."}
    with pytest.raises(ArtifactError, match="was written by a newer alexnet"):
        read(folder_with(tmp_path, json.dumps(newer)))


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "")
    (folder / "manifest.json").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ArtifactError, match="its manifest is damaged"):
        read(folder)


def test_a_missing_folder_and_an_unfinished_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such crop store: check the path"):
        read(tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    with pytest.raises(ArtifactError, match="is not a finished crop store: run it again"):
        read(tmp_path / "half")


def test_the_digest_depends_on_where_the_parts_are_split() -> None:
    assert digest_of(["ab", "c"]) != digest_of(["a", "bc"]) != digest_of(["abc"])
    assert digest_of(["ab", b"c"]) == digest_of([b"ab", memoryview(b"c")])


def test_a_files_digest_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert digest_of_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_every_kind_of_error_has_its_own_exit_code() -> None:
    kinds = [kind for kind in AlexNetError.__subclasses__() if kind.__module__ == "alexnet_cli.errors"]
    codes = [kind.exit_code for kind in kinds]
    assert sorted(codes) == [2, 3, 4, 5, 6, 75, 130]
