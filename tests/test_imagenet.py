"""ILSVRC-2012: its devkit, its class order, and the figures that are known of it."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from miniature import IDS, WNIDS, WORDS, Miniature, devkit_files, meta_mat, tar_of
from scipy.io import savemat

from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, PictureError, UsageError
from alexnet_cli.imagenet import DEFECTIVE, OFFICIAL, find_devkit, is_ilsvrc2012, read_devkit

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "imagenet-samples.tar"


def known_thousand() -> list[str]:
    """A thousand sorted WNIDs with the two known ones where they stand, index 65 and 278; the others made up."""
    fixed = {65: "n01751748", 278: "n02119789"}
    wnids = [""] * 1000
    numbers = iter(range(1_440_764, 1_751_748, 4_500))
    for index in range(65):
        wnids[index] = f"n{next(numbers):08d}"
    wnids[65] = fixed[65]
    for index in range(66, 278):
        wnids[index] = f"n{1_751_748 + (index - 65) * 1_700:08d}"
    wnids[278] = fixed[278]
    for index in range(279, 1000):
        wnids[index] = f"n{2_119_789 + (index - 278) * 17_000:08d}"
    assert wnids == sorted(set(wnids))
    return wnids


def known_devkit(root: Path, *, swap_first: bool = False, short: int = 0) -> Path:
    """A devkit in which all that is known of the real one holds; the rest of its order is made up.

    ID 1 = n02119789, ID 490 = n01751748; the first three validation IDs are 490, 361, 171, of the indices 65, 970,
    230; 50 pictures of each class; and as in the real one ID - 1 is the index of no validation picture.
    """
    wnids = known_thousand()
    index_of_id = {1: 278, 490: 65, 361: 970, 171: 230}
    free_ids = [number for number in range(1, 1001) if number not in index_of_id]
    taken = set(index_of_id.values())
    free_indices = [index for index in range(1000) if index not in taken]
    for number, index in zip(free_ids, free_indices[500:] + free_indices[:500], strict=True):
        index_of_id[number] = index
    rows = [(number, wnids[index], f"word {index}, other word") for number, index in sorted(index_of_id.items())]
    rows += [(1001 + number, f"n0000{number:04d}", "an ancestor") for number in range(5)]
    truth = [490, 361, 171]
    rest = [number for number in index_of_id for _ in range(50 - (number in truth))]
    truth += np.random.default_rng(2012).permutation(rest).tolist()
    if swap_first:
        truth[0], truth[1] = truth[1], truth[0]
    path = root / "ILSVRC2012_devkit_t12.tar.gz"
    path.write_bytes(tar_of(devkit_files(rows, truth[: len(truth) - short]), "w:gz"))
    return path


def test_the_class_index_is_the_place_in_sorted_order_and_never_the_id_less_one(tmp_path: Path) -> None:
    """The trap: FACTS say that `ID - 1` agrees with the index on none of the 50,000 validation labels."""
    devkit = read_devkit(known_devkit(tmp_path))
    assert is_ilsvrc2012(devkit.classes)
    assert devkit.wnids == tuple(sorted(devkit.wnids)) and len(devkit.wnids) == 1000
    assert devkit.wnids[devkit.ids.index(1)] == "n02119789"
    assert devkit.wnids[devkit.ids.index(490)] == "n01751748"
    assert [devkit.ids.index(number) for number in (490, 361, 171)] == [65, 970, 230]
    assert devkit.validation[:3] == (65, 970, 230)
    assert np.bincount(devkit.validation).tolist() == [50] * 1000
    assert sum(devkit.ids[index] - 1 == index for index in devkit.validation) == 0
    assert devkit.checks == (
        "ILSVRC2012_devkit_t12.tar.gz: 1,000 classes, IDs mapped through meta.mat to sorted WNIDs; "
        "50,000 validation labels, 50 of each class, the first three are 65, 970, 230 as they must be"
    )


def test_the_known_order_agrees_with_the_real_class_folders(tmp_path: Path) -> None:
    """Of the real WNIDs in the samples, those that lie around the two known ones sort around them."""
    if not SAMPLES.exists():
        pytest.skip("no imagenet-samples.tar here")
    with tarfile.open(SAMPLES) as tar:
        real = sorted({name.split("/")[1] for name in tar.getnames() if name.startswith("train/n")})
    assert len(real) > 100
    assert sum(wnid < "n01751748" for wnid in real) <= 65
    assert sum(wnid < "n02119789" for wnid in real) <= 278
    assert real == list(ClassList.sorted(reversed(real)).names)


def test_a_devkit_whose_order_is_wrong_is_refused(tmp_path: Path) -> None:
    path = known_devkit(tmp_path, swap_first=True)
    with pytest.raises(
        PictureError, match="expected the first validation pictures' classes to be 65, 970, 230, found"
    ) as e:
        read_devkit(path)
    assert (e.value.exit_code, "found 970, 65, 230" in str(e.value)) == (3, True)


def test_a_ground_truth_cut_off_is_refused(tmp_path: Path) -> None:
    path = known_devkit(tmp_path, short=1)
    with pytest.raises(PictureError, match="expected 50,000 validation labels, found 49,999"):
        read_devkit(path)


def test_a_miniature_devkit_gives_words_and_ids_in_sorted_order(tmp_path: Path) -> None:
    made = Miniature(tmp_path)
    devkit = read_devkit(made.devkit())
    assert (devkit.wnids, devkit.words, devkit.ids) == (WNIDS, WORDS, IDS)
    assert list(devkit.validation) == made.val_labels
    assert devkit.train_pictures == (3,) * 8
    assert devkit.classes == ClassList(WNIDS)
    assert devkit.classes.title(0) == "n01440764 (tench)"


def test_a_devkit_that_was_unpacked_is_read_too(tmp_path: Path) -> None:
    made = Miniature(tmp_path)
    for name, content in devkit_files(made.rows(), made.truth):
        made.write(name, content)
    folder = tmp_path / "ILSVRC2012_devkit_t12"
    for path in (folder, folder / "data"):
        devkit = read_devkit(path)
        assert (devkit.ids, list(devkit.validation)) == (IDS, made.val_labels)
    assert find_devkit(tmp_path) == folder
    assert find_devkit(tmp_path) != (archive := made.devkit())
    assert find_devkit(tmp_path) == archive


def test_no_member_of_a_devkit_is_written_anywhere(tmp_path: Path) -> None:
    made = Miniature(tmp_path / "in")
    files = [("../../evil.txt", b"x"), ("/evil.txt", b"x"), *devkit_files(made.rows(), made.truth)]
    path = made.write("ILSVRC2012_devkit_t12.tar.gz", tar_of(files, "w:gz"))
    assert read_devkit(path).ids == IDS
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "in", path]


def with_meta(content: bytes) -> Callable[[Path], bytes]:
    return lambda _: tar_of([("ILSVRC2012_devkit_t12/data/meta.mat", content)], "w:gz")


def other_struct() -> bytes:
    out = io.BytesIO()
    savemat(out, {"synsets": np.zeros(3)})
    return out.getvalue()


def cut(root: Path) -> bytes:
    content = Miniature(root).devkit().read_bytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: b"", "is empty"),
        (lambda _: b"<html>login</html>", "is damaged, or no devkit"),
        (cut, "is damaged"),
        (lambda _: tar_of([("readme.txt", b"x")], "w:gz"), "holds no data/meta.mat: give the devkit"),
        (with_meta(b"no matlab"), "its meta.mat is not the devkit's"),
        (with_meta(other_struct()), "its meta.mat is not the devkit's"),
        (with_meta(meta_mat([(1, "n1", "a"), (1, "n2", "b")])), "meta.mat gives the ID 1 twice"),
        (with_meta(meta_mat([(1, "n1", "a"), (2, "n1", "b")])), "meta.mat gives the WNID n1 twice"),
        (with_meta(meta_mat([(1001, "n1", "a")])), "holds no class with an ID from 1 to 1000"),
    ],
)
def test_what_is_no_devkit_is_one_line(tmp_path: Path, make: Callable[[Path], bytes], message: str) -> None:
    path = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    path.write_bytes(make(tmp_path / "made"))
    with pytest.raises(PictureError) as caught:
        read_devkit(path)
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_ground_truth_with_an_unknown_id_names_its_line(tmp_path: Path) -> None:
    made = Miniature(tmp_path)
    path = made.write("ILSVRC2012_devkit_t12.tar.gz", tar_of(devkit_files(made.rows(), [1, 2, 1001]), "w:gz"))
    with pytest.raises(PictureError, match=r"line 3: expected a devkit ID, one of 8 from 1 to 8, found '1001'"):
        read_devkit(path)


def test_the_official_figures_are_the_published_ones() -> None:
    assert {split: official.pictures for split, official in OFFICIAL.items()} == {
        "train": 1_281_167,
        "val": 50_000,
        "test": 100_000,
    }
    assert (OFFICIAL["train"].fewest, OFFICIAL["train"].most) == (732, 1300)
    assert OFFICIAL["val"].fewest == OFFICIAL["val"].most == 50
    assert len(DEFECTIVE) == 24
    assert sum(defect == "CMYK" for defect in DEFECTIVE.values()) == 23


def test_words_and_ids_do_not_make_another_class_list() -> None:
    plain, explained = ClassList(("a", "b")), ClassList(("a", "b"), words=("apple", "bee"), ids=(2, 1))
    assert plain == explained
    assert plain.digest == explained.digest
    assert plain.difference(explained) is None
    assert plain.explained_by(explained).words == ("apple", "bee")
    assert ClassList(("b",)).explained_by(explained).ids == (1,)
    assert ClassList(("c",)).explained_by(explained).words == ()
    with pytest.raises(ArtifactError, match="has 1 words"):
        ClassList(("a", "b"), words=("apple",))


def test_without_scipy_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devkit = known_devkit(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UsageError, match=r"needs scipy: pip install 'alexnet\[ilsvrc\]'"):
        read_devkit(devkit)
