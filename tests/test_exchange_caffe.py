"""Caffe's files, against a reader and a writer of protobuf's wire format of their own, and against damage."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet_cli.errors import ArtifactError
from alexnet_cli.exchange.caffe import (
    CaffeLayer,
    read_caffemodel,
    read_mean,
    write_caffemodel,
    write_mean,
    write_prototxt,
)


def fields_of(data: bytes) -> list[tuple[int, Any]]:
    """A message's fields, read from the specification of the wire format: (number, int or bytes)."""

    def number(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value, at

    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        key, at = number(at)
        if key % 8 == 0:
            value: Any
            value, at = number(at)
        else:
            size, at = number(at) if key % 8 == 2 else ({1: 8, 5: 4}[key % 8], at)
            value, at = data[at : at + size], at + size
        found.append((key // 8, value))
    return found


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A message of (number, value), written from the same specification."""
    parts = []
    for number, value in fields:
        content = value.encode() if isinstance(value, str) else value
        if isinstance(content, int):
            parts += [varint(number * 8), varint(content)]
        else:
            parts += [varint(number * 8 + 2), varint(len(content)), content]
    return b"".join(parts)


def blobs_of(caffemodel: bytes) -> dict[str, list[NDArray[np.float32]]]:
    """The arrays of a .caffemodel by their layers: NetParameter.layer is 100, blobs 7, BlobProto.data 5, shape 7."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for number, content in fields_of(caffemodel):
        if number == 100:
            layer = fields_of(content)
            (name,) = [value.decode() for key, value in layer if key == 1]
            for blob in (dict(fields_of(value)) for key, value in layer if key == 7):
                shape = _varints(fields_of(blob[7])[0][1])
                data = np.array(struct.unpack(f"<{len(blob[5]) // 4}f", blob[5]), np.float32)
                found.setdefault(name, []).append(data.reshape(shape))
    return found


def _varints(data: bytes) -> list[int]:
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    return found


def layers() -> list[CaffeLayer]:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3, 5, 5)).astype(np.float32)
    convolution = {"num_output": 4, "pad": [2], "kernel_size": [5], "group": 1, "stride": [300]}
    return [
        CaffeLayer(name="data", type="Input", tops=("data",), numbers={"shape": [1, 3, 227, 227]}),
        CaffeLayer(
            name="conv1",
            type="Convolution",
            bottoms=("data",),
            tops=("conv1",),
            numbers=convolution,
            blobs=(weight, np.arange(4, dtype=np.float32)),
        ),
        CaffeLayer(
            name="norm1",
            type="LRN",
            bottoms=("conv1",),
            tops=("norm1",),
            numbers={"local_size": 5, "alpha": 1e-4, "beta": 0.75, "norm_region": "WITHIN_CHANNEL"},
        ),
    ]


def test_a_caffemodel_comes_back_and_others_read_the_same(tmp_path: Path) -> None:
    content = write_caffemodel("net", layers())
    (tmp_path / "net.caffemodel").write_bytes(content)
    found = read_caffemodel(tmp_path / "net.caffemodel")
    for mine, theirs in zip(layers(), found, strict=True):
        assert (mine.name, mine.type, mine.bottoms, mine.tops) == (
            theirs.name,
            theirs.type,
            theirs.bottoms,
            theirs.tops,
        )
        for blob, same in zip(mine.blobs, theirs.blobs, strict=True):
            np.testing.assert_array_equal(blob, same)
    assert found[1].numbers == layers()[1].numbers
    assert found[2].numbers == {**layers()[2].numbers, "alpha": float(np.float32(1e-4))}
    assert set(blobs_of(content)) == {"conv1"}
    np.testing.assert_array_equal(blobs_of(content)["conv1"][0], layers()[1].blobs[0])


def test_the_prototxt_has_protobufs_text_format() -> None:
    text = write_prototxt("net", layers(), ["a note"])
    assert text.startswith('# a note\nname: "net"\nlayer {\n  name: "data"\n  type: "Input"\n  top: "data"\n')
    assert "  input_param {\n    shape { dim: 1 dim: 3 dim: 227 dim: 227 }\n  }\n" in text
    assert "    norm_region: WITHIN_CHANNEL\n" in text
    assert "    alpha: 0.0001\n" in text


def test_the_format_of_2014_is_read_too(tmp_path: Path) -> None:
    """V1LayerParameter: name 4, type 5 (a number), blobs 6; arrays of four sizes in place of a shape; pool 19."""
    blob = message((1, 1), (2, 1), (3, 2), (4, 3), (5, struct.pack("<6f", *range(6))))
    inner = message((2, "data"), (3, "fc6"), (4, "fc6"), (5, 14), (6, blob), (17, message((1, 2))))
    pool = message((2, "fc6"), (3, "pool"), (4, "pool"), (5, 17), (19, message((1, 1), (2, 3), (3, 2))))
    (tmp_path / "old").write_bytes(message((1, "net"), (2, inner), (2, pool)))
    first, second = read_caffemodel(tmp_path / "old")
    assert (first.name, first.type, first.numbers) == ("fc6", "InnerProduct", {"num_output": 2})
    np.testing.assert_array_equal(first.blobs[0], np.arange(6).reshape(1, 1, 2, 3))
    assert (second.type, second.numbers) == ("Pooling", {"pool": "AVE", "kernel_size": [3], "stride": [2]})
    (tmp_path / "oldest").write_bytes(message((2, message((1, message((1, "conv1")))))))
    with pytest.raises(ArtifactError, match="upgrade_net_proto_binary"):
        read_caffemodel(tmp_path / "oldest")


def test_a_mean_comes_back(tmp_path: Path) -> None:
    mean = np.random.default_rng(0).uniform(0, 255, (3, 4, 4)).astype(np.float32)
    (tmp_path / "mean").write_bytes(write_mean(mean))
    np.testing.assert_array_equal(read_mean(tmp_path / "mean"), mean)
    for wrong in (b"", write_mean(mean[:2]), write_mean(mean * np.nan), write_mean(mean)[:-3], b"\xff" * 40):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(ArtifactError):
            read_mean(tmp_path / "wrong")


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x80" * 11,  # a number without an end
        b"\x0a\xff\xff\xff\xff\x0f",  # four gigabytes that are not there
        b"\x0b\x0c",  # a group, which nobody writes any more
        b"\x00\x00",  # field 0
        b"\x08\x01" * 1_000_001,
    ],
    ids=["number", "length", "kind", "field", "many"],
)
def test_bytes_that_are_no_message_are_told(tmp_path: Path, wrong: bytes) -> None:
    (tmp_path / "wrong").write_bytes(wrong)
    with pytest.raises(ArtifactError, match=r"is not a \.caffemodel"):
        read_caffemodel(tmp_path / "wrong")


def test_a_damaged_caffemodel_is_read_as_another_or_refused_in_one_line(tmp_path: Path) -> None:
    """Cut off anywhere, or with any byte changed: an ArtifactError or a net, and never anything else."""
    whole_file, path, draws = write_caffemodel("net", layers()), tmp_path / "net.caffemodel", random.Random(0)
    cases = [whole_file[: draws.randrange(len(whole_file))] for _ in range(150)]
    for _ in range(400):
        changed = bytearray(whole_file)
        changed[draws.randrange(min(len(changed), 200) if draws.random() < 0.7 else len(changed))] = draws.randrange(
            256
        )
        cases.append(bytes(changed))
    refused = 0
    for content in cases:
        path.write_bytes(content)
        try:
            read_caffemodel(path)
        except ArtifactError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 150


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ".", "absent"):
        with pytest.raises(ArtifactError):
            read_caffemodel(tmp_path / name)
