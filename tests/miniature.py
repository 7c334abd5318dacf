"""ILSVRC-2012 and Fall 2011 as they ship, in miniature: tars of a few pictures, a devkit with a real meta.mat."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n01440764", "n01751748", "n02119789", "n02129165", "n03018349", "n04044716")
IDS = (449, 490, 1, 190, 600, 720)
"""Of the same classes: another order than the sorted one."""
TRAIN, VAL, TEST = 6, 2, 5
"""Pictures: of each class in train and in val, and in all in test."""


def picture(seed: int, colour: int) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (60, 80, 3), dtype=np.uint8)
    pixels[..., colour % 3] += np.uint8(80 + 20 * (colour // 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def tar_of(members: dict[str, bytes], *, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def class_tar(wnid: str, colour: int, count: int, seed: int) -> bytes:
    return tar_of({f"{wnid}_{number}.JPEG": picture(seed + number, colour) for number in range(1, count + 1)})


def write_devkit(path: Path, truth: list[int]) -> None:
    """A devkit with a real meta.mat: the classes in order of their IDs, and one ancestor beyond 1,000."""
    from scipy.io import savemat

    kind = [("ILSVRC2012_ID", float), ("WNID", object), ("words", object), ("gloss", object)]
    kind += [("num_children", float), ("children", object), ("wordnet_height", float), ("num_train_images", float)]
    rows: list[tuple[object, ...]] = [
        (identity, wnid, f"words of {wnid}", "a gloss", 0.0, np.array([]), 0.0, float(TRAIN))
        for identity, wnid in sorted(zip(IDS, WNIDS, strict=True))
    ]
    rows.append((1001.0, "n00001740", "entity", "an ancestor", 2.0, np.array(IDS[:2], float), 1.0, 0.0))
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=kind).reshape(-1, 1)})
    members = {
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": "".join(
            f"{identity}\n" for identity in truth
        ).encode(),
    }
    path.write_bytes(tar_of(members, mode="w:gz"))


def write_sources(folder: Path) -> tuple[Path, Path]:
    """The folders of ILSVRC-2012 and of Fall 2011."""
    data, fall = folder / "ilsvrc2012", folder / "fall2011"
    data.mkdir()
    fall.mkdir()
    train = {f"{wnid}.tar": class_tar(wnid, index, TRAIN, 100 * index) for index, wnid in enumerate(WNIDS)}
    (data / "ILSVRC2012_img_train.tar").write_bytes(tar_of(train))
    order = [index for _ in range(VAL) for index in range(len(WNIDS))]
    val = {f"ILSVRC2012_val_{n + 1:08d}.JPEG": picture(1000 + n, index) for n, index in enumerate(order)}
    (data / "ILSVRC2012_img_val.tar").write_bytes(tar_of(val))
    test = {f"ILSVRC2012_test_{n + 1:08d}.JPEG": picture(2000 + n, n) for n in range(TEST)}
    (data / "ILSVRC2012_img_test_v10102019.tar").write_bytes(tar_of(test))
    write_devkit(data / "ILSVRC2012_devkit_t12.tar.gz", [IDS[index] for index in order])
    for index, wnid in enumerate((*WNIDS, "n07697537", "n09193705")):
        (fall / f"{wnid}.tar").write_bytes(class_tar(wnid, index, TRAIN, 5000 + 100 * index))
    return data, fall
