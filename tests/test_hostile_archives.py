"""Archives that a stranger made: absurd sizes, endless headers, sparse members, deep JSON end in one line, at once."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniature import jpeg, tar_of

from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import read_devkit
from alexnet_cli.sources import tars
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.sources import Sources, find_sources
from alexnet_stages.preprocess.sources.webdataset import expand_braces

GOOD = [(f"{name}/{number}.jpg", jpeg(number)) for name in "ab" for number in range(2)]


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Nothing here may take long."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 20


def sources_of(source: Path, **options: object) -> Sources:
    return find_sources(PreprocessConfig(source=source, out=Path("/nowhere/x.lmdb"), **options))  # type: ignore[arg-type]


def refused(path: Path, content: bytes, said: str, **options: object) -> None:
    """PictureError in one line that names the archive."""
    path.write_bytes(content)
    with pytest.raises(PictureError, match=said) as caught:
        sources_of(path, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar header whose size is stored in base 256, as sizes over 8 GB are; it may be negative."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT)[:512])
    block[124:136] = (b"\x80" if size >= 0 else b"\xff") + (size % (1 << 88)).to_bytes(11, "big")
    block[148:156] = b"        "
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def pax(fields: dict[str, str], name: str = "a/x.jpg") -> bytes:
    """A member with a pax header of these fields, without content."""
    member = tarfile.TarInfo(name)
    body = b""
    for key, value in fields.items():
        rest = f" {key}={value}\n".encode()
        length = len(rest) + len(str(len(rest) + len(str(len(rest)))))
        body += f"{length}".encode() + rest
    head = tarfile.TarInfo("PaxHeaders/x")
    head.type, head.size = tarfile.XHDTYPE, len(body)
    padded = body + bytes(-len(body) % 512)
    return head.tobuf(tarfile.USTAR_FORMAT) + padded + member.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("size", [1 << 33, 1 << 62, 1 << 63, (1 << 63) - 512, 1 << 64, 1 << 80, -1, -512, -(1 << 63)])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_member_of_an_absurd_size_is_refused(tmp_path: Path, size: int, first: bool) -> None:
    good = tar_of(GOOD)
    bad = header("a/x.jpg", size) + bytes(1024)
    content = bad + good if first else good.rstrip(b"\0") + bytes(-len(good.rstrip(b"\0")) % 512) + bad
    refused(tmp_path / "x.tar", content, r"x\.tar: is (cut off|damaged)")


@pytest.mark.parametrize("size", ["9" * 23, "9" * 19, "9" * 5000, "-1", "1e9", "١٢"])
def test_a_pax_size_that_can_not_be_is_refused(tmp_path: Path, size: str) -> None:
    refused(
        tmp_path / "x.tar", pax({"size": size}) + tar_of(GOOD), r"x\.tar: (is (cut off|damaged)|holds|lies|expected)?"
    )


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_headers_that_is_longer_than_any_is_refused(tmp_path: Path, kind: bytes) -> None:
    content = header("x", 1 << 40, kind) + bytes(4096) + tar_of(GOOD)
    refused(tmp_path / "x.tar", content, r"x\.tar: is (cut off|damaged)")


def test_headers_within_headers_without_end_are_refused(tmp_path: Path) -> None:
    one = pax({"comment": "x"})[:1024]
    refused(tmp_path / "x.tar", one * 20_000 + tar_of(GOOD), r"x\.tar: is (cut off|damaged)")


def test_sparse_members_are_named_and_not_left_out(tmp_path: Path) -> None:
    sparse = {"GNU.sparse.map": "0,1,5,1", "GNU.sparse.numblocks": "2", "GNU.sparse.size": "9"}
    refused(tmp_path / "x.tar", pax(sparse) + tar_of(GOOD), r"x\.tar: a/x\.jpg is stored sparse")


def test_a_sparse_member_whose_map_has_no_end_is_refused(tmp_path: Path) -> None:
    """tarfile itself reads on forever."""
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a/x.jpg"}
    refused(tmp_path / "x.tar", pax(fields) + b"9999999\n".ljust(512, b"1"), r"x\.tar: is (cut off|damaged)")


@pytest.mark.parametrize("name", ["../x.jpg", "../../etc/x.jpg", "./../x.jpg"])
def test_no_class_is_a_step_to_another_folder(tmp_path: Path, name: str) -> None:
    refused(tmp_path / "x.tar", tar_of([*GOOD, (name, jpeg(9))]), r"has a class named '\.\.'")


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    whole = tar_of(GOOD).rstrip(b"\0")
    refused(tmp_path / "x.tar", whole[: int(share * len(whole))], r"x\.tar: is cut off: download it again")


def test_an_archive_without_pictures_is_given_up_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_MOST_USELESS", 100)
    others = [(f"a/{number}.txt", b"") for number in range(101)]
    refused(tmp_path / "x.tar", tar_of(others + GOOD), "its first 100 files are not pictures")
    (tmp_path / "y.tar").write_bytes(tar_of(others[:100] + GOOD))
    assert len(sources_of(tmp_path / "y.tar").names) == 4
    (tmp_path / "z.tar").write_bytes(tar_of(GOOD + others))
    assert len(sources_of(tmp_path / "z.tar").names) == 4


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"cls":' * 100_000, b'{"cls": ' + b"9" * 5000 + b"}", b"\xff"])
def test_a_samples_json_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    shard = tar_of([("0.jpg", jpeg(0)), ("0.json", content), ("1.jpg", jpeg(1)), ("1.json", b'{"cls": 1}')])
    refused(tmp_path / "x.tar", shard, r"0\.json is not JSON")


def test_a_samples_class_of_a_thousand_digits_is_refused(tmp_path: Path) -> None:
    shard = tar_of([("0.jpg", jpeg(0)), ("0.cls", b"9" * 5000), ("1.jpg", jpeg(1)), ("1.cls", b"1")])
    refused(tmp_path / "x.tar", shard, r"0\.cls: expected a class")


@pytest.mark.parametrize("text", ["{0..999999}{0..999999}", "{1..9}" * 12, "{0.." + "9" * 5000 + "}"])
def test_braces_that_stand_for_too_much_are_refused(text: str) -> None:
    with pytest.raises(PictureError, match=r"expected|found"):
        expand_braces(f"x-{text}.tar")
    assert expand_braces("x-{08..10}-{1..2}.tar")[:3] == ["x-08-1.tar", "x-08-2.tar", "x-09-1.tar"]


@pytest.mark.parametrize("size", [1 << 34, 1 << 63, -1])
def test_a_devkit_that_unpacks_to_more_than_one_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    path.write_bytes(gzip.compress(header("data/big", size) + bytes(1 << 20)))
    with pytest.raises(PictureError, match="download"):
        read_devkit(path)


def test_a_label_table_with_a_field_that_is_too_long_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "in").mkdir()
    data = io.BytesIO()
    Image.new("RGB", (40, 30)).save(data, "PNG")
    (tmp_path / "in/x.png").write_bytes(data.getvalue())
    (tmp_path / "l.csv").write_text(f"x.png,{'a' * 200_000}\n")
    with pytest.raises(PictureError, match=r"l\.csv: is not a CSV table"):
        sources_of(tmp_path / "in", labels=tmp_path / "l.csv")
