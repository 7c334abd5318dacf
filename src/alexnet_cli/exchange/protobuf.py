"""Protobuf's wire format, as far as Caffe's files need it: written, and read from files that may come from anybody.

A message is a row of fields, each a key (number · 8 + wire type) and a value: 0 a varint, 1 eight bytes, 2 a length and
that many bytes (text, messages, packed arrays), 5 four bytes.

    fields = parse(message((1, "fc8"), (5, packed(weights))))      # {1: [b"fc8"], 5: [b"…"]}

Legend: a message read is a dict from a field's number to its values in order, an int or a memoryview each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.errors import ArtifactError

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
MOST_FIELDS = 1_000_000
"""In one message, nested ones not counted: Caffe's have some hundred. A million that say nothing take a second."""
_LONGEST_VARINT = 10

Value = int | memoryview
Message = Mapping[int, Sequence[Value]]


class WireError(ArtifactError):
    """Bytes that are not a protobuf message. Its text says why, and names no file."""


def parse(data: bytes | memoryview) -> dict[int, list[Value]]:
    """The fields of a message, nested messages as bytes; WireError where it is damaged."""
    view = memoryview(data)
    found: dict[int, list[Value]] = {}
    at = count = 0
    while at < len(view):
        count += 1
        if count > MOST_FIELDS:
            raise WireError(f"has more than {MOST_FIELDS:,} fields")
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        value: Value
        if wire == VARINT:
            value, at = _varint(view, at)
        elif wire in (EIGHT, FOUR, BYTES):
            size = {EIGHT: 8, FOUR: 4}.get(wire, 0)
            if wire == BYTES:
                size, at = _varint(view, at)
            if size > len(view) - at:
                raise WireError(f"is cut off: field {number} wants {size:,} bytes, and {len(view) - at:,} are there")
            value, at = view[at : at + size], at + size
        else:
            raise WireError(f"has a field of the unknown kind {wire}")
        if number == 0:
            raise WireError("has a field without a number")
        found.setdefault(number, []).append(value)
    return found


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST_VARINT):
        if at >= len(view):
            raise WireError("is cut off in the middle of a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at
    raise WireError("has a number of more than 64 bits")


def whole(values: Sequence[Value]) -> list[int]:
    """A repeated whole number, packed or not."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            found.append(number)
            if len(found) > MOST_FIELDS:
                raise WireError(f"has more than {MOST_FIELDS:,} numbers where a few are expected")
    return found


def floats(values: Sequence[Value], kind: str = "<f4") -> NDArray[np.float32]:
    """A repeated float (or `<f8` double), packed or not, as float32 (numbers,)."""
    parts = []
    for value in values:
        if isinstance(value, int) or len(value) % np.dtype(kind).itemsize:
            raise WireError("has an array of floats that is not a whole number of them")
        parts.append(np.frombuffer(value, kind))
    return np.concatenate(parts).astype(np.float32, copy=False) if parts else np.zeros(0, np.float32)


def text(value: Value) -> str:
    """A string; WireError where it is not one."""
    try:
        return bytes(value).decode() if not isinstance(value, int) else str(value)
    except UnicodeDecodeError:
        raise WireError("has a name that is not UTF-8") from None


def submessage(value: Value) -> dict[int, list[Value]]:
    """A nested message."""
    if isinstance(value, int):
        raise WireError("has a number where a message is expected")
    return parse(value)


def varint(value: int) -> bytes:
    """A whole number, not negative."""
    assert value >= 0
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(*fields: tuple[int, int | float | bool | str | bytes]) -> bytes:
    """A message of (number, value): whole numbers as varints, floats as four bytes, text and bytes with a length."""
    parts = []
    for number, value in fields:
        if isinstance(value, (bool, int)):
            parts.append(varint(number << 3 | VARINT) + varint(int(value)))
        elif isinstance(value, float):
            parts.append(varint(number << 3 | FOUR) + struct.pack("<f", value))
        else:
            content = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | BYTES) + varint(len(content)) + content)
    return b"".join(parts)


def packed(array: NDArray[np.float32]) -> bytes:
    """An array of floats as the content of a packed field."""
    return np.ascontiguousarray(array, "<f4").tobytes()
