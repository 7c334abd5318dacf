"""WebDataset samples as people have them: several files in a sample, dots in keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature import jpeg, tar_of
from test_sources_classes import refused, sources_of, write

A, B = jpeg(1), jpeg(2)


def found(path: Path, files: list[tuple[str, bytes]], **options: object) -> list[tuple[str, str]]:
    """Name and class of each sample."""
    sources = sources_of(write(path / "a.tar", tar_of(files)), **options)
    names = [sources.classes.names[label] if label >= 0 else "" for label in sources.labels]
    return list(zip(sources.names, names, strict=True))


@pytest.mark.parametrize(
    "files",
    [
        # image.jpg-style: the class is the sample's
        ["1.image.jpg", "1.cls=ape", "2.image.jpg", "2.cls=bat"],
        ["1.image.jpg", "1.mask.png", "1.cls=ape", "2.image.jpg", "2.cls=bat"],
        ["1.front.jpg", "1.cls=ape", "2.front.jpg", "2.cls=bat"],
        ["1.image.jpg", '1.json={"label": "ape"}', "2.image.jpg", '2.json={"label": "bat"}'],
        # a second picture beside the first is none
        ["1.jpg", "1.seg.png", "1.cls=ape", "2.jpg", "2.cls=bat"],
        # dots in keys
        ["v1.5.jpg", "v1.5.cls=ape", "v1.6.jpg", "v1.6.cls=bat"],
        ["d/x.y.w.jpg", "d/x.y.w.cls=ape", "d/x.y.z.jpg", "d/x.y.z.cls=bat"],
        ["1.image.jpg", "1.image.cls=ape", "2.image.jpg", "2.image.cls=bat"],
    ],
)
def test_samples_of_several_files_and_dotted_keys(files: list[str], tmp_path: Path) -> None:
    members = [(name.partition("=")[0], name.partition("=")[2].encode() or A) for name in files]
    expected = list(zip([name for name in files if name.endswith(".jpg")], ("ape", "bat"), strict=True))
    for order in (members, list(reversed(members))):
        assert found(tmp_path, order) == expected


def test_what_leaves_a_choice_is_refused(tmp_path: Path) -> None:
    two = [("1.left.jpg", A), ("1.right.jpg", B), ("1.cls", b"ape")]
    assert "found 1.left.jpg and 1.right.jpg: name one 1.image.jpg" in refused(write(tmp_path / "a.tar", tar_of(two)))
    lost = [("v.1.jpg", A), ("v.1.cls", b"ape"), ("v.2.jpg", B)]
    assert "v.2 has no .cls and no .json" in refused(write(tmp_path / "a.tar", tar_of(lost)))
    numbered = [("v.1.jpg", A), ("v.2.jpg", B)]
    path = write(tmp_path / "x/im-000.tar", tar_of(numbered))
    write(tmp_path / "x/im-001.tar", tar_of([("w.1.jpg", A)]))
    assert list(sources_of(path.parent, unlabelled=True).names) == ["v.1.jpg", "v.2.jpg", "w.1.jpg"]
