"""Picture names in little memory behave as a list of str does."""

from __future__ import annotations

import pytest

from alexnet_stages.preprocess.names import NameList

NAMES = ["a/1.jpg", "", "b/ü 2.jpg", "日本/三.png", "a/1.jpg"]


def test_names_come_back() -> None:
    names = NameList(NAMES)
    assert len(names) == 5
    assert list(names) == NAMES
    assert [names[index] for index in range(-5, 5)] == NAMES + NAMES
    assert names == NAMES
    assert names != NAMES[:4]
    assert "b/ü 2.jpg" in names and "b" not in names
    with pytest.raises(IndexError):
        names[5]


@pytest.mark.parametrize("part", [slice(1, 3), slice(None), slice(3, 99), slice(-2, None), slice(None, None, 2)])
def test_parts_are_those_of_a_list(part: slice) -> None:
    names = NameList(NAMES)
    assert list(names[part]) == NAMES[part]
    assert list(names[part][1:]) == NAMES[part][1:]


def test_names_can_be_added() -> None:
    names = NameList()
    assert not names
    for name in NAMES:
        names.append(name)
    part = names[1:3]
    names.append("last")
    assert (names[-1], len(names), list(part)) == ("last", 6, NAMES[1:3])
    with pytest.raises(AssertionError):
        part.append("in the middle")
