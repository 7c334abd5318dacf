"""ILSVRC-2012 in miniature, in every form in which it ships: eight classes, a few small pictures of each.

    made = Miniature(tmp_path)
    made.train_tar()            # tmp_path/ILSVRC2012_img_train.tar, a tar of tars
    made.devkit()               # tmp_path/ILSVRC2012_devkit_t12.tar.gz, with a real MATLAB meta.mat

All forms hold the same pictures under the same names.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

WNIDS = (
    "n01440764",
    "n01443537",
    "n01748751",
    "n02119789",
    "n02123045",
    "n02690373",
    "n03445777",
    "n07753592",
)
"""Sorted: the class index is the position."""
WORDS = (
    "tench, Tinca tinca",
    "goldfish, Carassius auratus",
    "sidewinder, horned rattlesnake",
    "kit fox, Vulpes macrotis",
    "tabby, tabby cat",
    "airliner",
    "golf ball",
    "banana",
)
IDS = (4, 7, 8, 1, 6, 3, 5, 2)
"""The devkit's ID of each class: at no class is ID - 1 the index."""
OF_EACH_IN_TRAIN = 3
OF_EACH_IN_VAL = 2
TEST_PICTURES = 5

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
TEST_TAR = "ILSVRC2012_img_test_v10102019.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


def jpeg(seed: int, width: int = 64, height: int = 48) -> bytes:
    """A small JPEG of coarse noise; the same seed gives the same bytes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def tar_of(files: Iterable[tuple[str, bytes]], mode: str = "w") -> bytes:
    """A tar's bytes; mode `w:gz` compresses it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def meta_mat(rows: Sequence[tuple[int, str, str]]) -> bytes:
    """A MATLAB meta.mat as the devkit has: a struct array `synsets`.

    rows: ID, WNID, words; IDs over 1000 are ancestors.
    """
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    kind = np.dtype([(field, object) for field in (*fields, "num_train_images")])
    synsets = np.empty((len(rows), 1), kind)
    for place, (number, wnid, words) in enumerate(rows):
        ancestor = number > 1000
        children = np.array([[1.0, 2.0]]) if ancestor else np.zeros((0, 0))
        synsets[place, 0] = (
            float(number),
            wnid,
            words,
            f"what a {words} is",
            float(2 * ancestor),
            children,
            float(ancestor),
            0.0 if ancestor else float(OF_EACH_IN_TRAIN),
        )
    out = io.BytesIO()
    savemat(out, {"synsets": synsets})
    return out.getvalue()


def devkit_files(rows: Sequence[tuple[int, str, str]], truth: Iterable[int]) -> list[tuple[str, bytes]]:
    """What is in a devkit."""
    top = "ILSVRC2012_devkit_t12"
    lines = "".join(f"{number}\n" for number in truth)
    return [
        (f"{top}/readme.txt", b"a development kit\n"),
        (f"{top}/data/meta.mat", meta_mat(rows)),
        (f"{top}/data/ILSVRC2012_validation_ground_truth.txt", lines.encode()),
    ]


class Miniature:
    """Builds the forms, each in `root` or where it is told; returns the path of what it built."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.train: dict[str, bytes] = {
            f"{wnid}/{wnid}_{10 * number + 7}.JPEG": jpeg(100 * index + number)
            for index, wnid in enumerate(WNIDS)
            for number in range(OF_EACH_IN_TRAIN)
        }
        """`n01440764/n01440764_7.JPEG` -> bytes."""
        order = np.random.default_rng(12).permutation(np.repeat(np.arange(len(WNIDS)), OF_EACH_IN_VAL))
        self.val_labels: list[int] = order.tolist()
        """Class indices in the order of the names."""
        self.val: dict[str, bytes] = {
            f"ILSVRC2012_val_{number:08d}.JPEG": jpeg(10_000 + number) for number in range(1, len(self.val_labels) + 1)
        }
        self.test: dict[str, bytes] = {
            f"ILSVRC2012_test_{number:08d}.JPEG": jpeg(20_000 + number) for number in range(1, TEST_PICTURES + 1)
        }

    @property
    def truth(self) -> list[int]:
        """The validation ground truth: devkit IDs in the order of the names."""
        return [IDS[label] for label in self.val_labels]

    def rows(self) -> list[tuple[int, str, str]]:
        """meta.mat's rows: in the order of IDs, between ancestors."""
        leaves = sorted(zip(IDS, WNIDS, WORDS, strict=True))
        return [(1001, "n00001740", "entity"), *leaves[:3], (1860, "n00002137", "abstraction"), *leaves[3:]]

    def write(self, name: str, content: bytes) -> Path:
        """A file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def devkit(self, name: str = DEVKIT) -> Path:
        """The devkit's archive."""
        return self.write(name, tar_of(devkit_files(self.rows(), self.truth), "w:gz"))

    def class_tar(self, wnid: str) -> bytes:
        """One class of train; members in no particular order."""
        return tar_of(
            reversed([(name.split("/")[1], data) for name, data in self.train.items() if name.startswith(wnid)])
        )

    def train_tar(self, wnids: Iterable[str] = WNIDS, name: str = TRAIN_TAR) -> Path:
        """Train as it ships: a tar of a tar for each class."""
        return self.write(name, tar_of((f"{wnid}.tar", self.class_tar(wnid)) for wnid in reversed(list(wnids))))

    def val_tar(self, name: str = VAL_TAR) -> Path:
        """Val as it ships: flat, without labels."""
        return self.write(name, tar_of(reversed(self.val.items())))

    def test_tar(self, name: str = TEST_TAR) -> Path:
        """Test as it ships: in one folder, without labels."""
        return self.write(name, tar_of((f"test/{picture}", data) for picture, data in self.test.items()))

    def ilsvrc(self) -> Path:
        """All that image-net.org hands out, in one folder."""
        for make in (self.train_tar, self.val_tar, self.test_tar, self.devkit):
            make()
        return self.root

    def class_tars(self, folder: str = "fall2011") -> Path:
        """A folder of a tar for each class, as Fall 2011 comes."""
        for wnid in WNIDS:
            self.write(f"{folder}/{wnid}.tar", self.class_tar(wnid))
        return self.root / folder

    def folders(self, folder: str = "folders", *, val: bool = False) -> Path:
        """Class folders of train or of val."""
        pictures: Mapping[str, bytes] = self.train
        if val:
            labelled = zip(self.val.items(), self.val_labels, strict=True)
            pictures = {f"{WNIDS[label]}/{name}": data for (name, data), label in labelled}
        for name, data in pictures.items():
            self.write(f"{folder}/{name}", data)
        return self.root / folder

    def flat(self, folder: str = "flat") -> Path:
        """Val in one folder, without labels."""
        for name, data in self.val.items():
            self.write(f"{folder}/{name}", data)
        return self.root / folder

    def kaggle(self) -> Path:
        """Kaggle's layout: the folder that its archive makes."""
        base = "kaggle/ILSVRC/Data/CLS-LOC"
        for name, data in self.train.items():
            self.write(f"{base}/train/{name}", data)
        for split, pictures in (("val", self.val), ("test", self.test)):
            for name, data in pictures.items():
                self.write(f"{base}/{split}/{name}", data)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("ImageId", "PredictionString"))
        rows = [
            (Path(name).stem, f"{WNIDS[label]} 85 1 499 272 {WNIDS[label]} 1 2 3 4 ")
            for name, label in zip(self.val, self.val_labels, strict=True)
        ]
        table.writerows(reversed(rows))
        self.write("kaggle/LOC_val_solution.csv", text.getvalue().encode())
        words = "".join(f"{wnid} {words}\n" for wnid, words in zip(WNIDS, WORDS, strict=True))
        self.write("kaggle/LOC_synset_mapping.txt", words.encode())
        return self.root / "kaggle"

    def shards(self, folder: str = "shards", *, labels: str = "cls", of_each: int = 5) -> Path:
        """Train as WebDataset shards, shuffled. labels: cls (class index), wnid (.cls with the name), json."""
        names = list(self.train)
        order = np.random.default_rng(3).permutation(len(names)).tolist()
        for number, start in enumerate(range(0, len(order), of_each)):
            files: list[tuple[str, bytes]] = []
            for place in order[start : start + of_each]:
                wnid, file = names[place].split("/")
                key, index = file.removesuffix(".JPEG"), WNIDS.index(wnid)
                label = {"cls": f"{index}", "wnid": wnid, "json": json.dumps({"label": index, "filename": file})}[
                    labels
                ]
                extension = "json" if labels == "json" else "cls"
                files += [(f"{key}.JPEG", self.train[names[place]]), (f"{key}.{extension}", label.encode())]
            self.write(f"{folder}/train-{number:06d}.tar", tar_of(files))
        return self.root / folder
