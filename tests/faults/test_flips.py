"""A flipped bit or a cut in any file of any artifact: the reader refuses with 4, or reads exactly the same."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from faults.server import Server
from faults.small_pipeline import STAGES, Pipeline, judge

TOGETHER = 50
"""Damages that one child looks at, each by itself."""
UNREAD = ("log.txt", "tensorboard", "report.txt", "report.json", "table.txt", "members.json", "lock.mdb", "filters")
"""For people, or told again by another file: no command takes an artifact's content from them."""


def damages_of(file: Path, flips: int, cuts: int) -> list[list[int]]:
    """Bits all over the file, and lengths, the same ones each time."""
    size = file.stat().st_size
    draws = random.Random(file.name)
    found = [[draws.randrange(size), 1 << draws.randrange(8)] for _ in range(flips)] if size else []
    return found + [[length] for length in sorted({draws.randrange(size) for _ in range(cuts)} if size else [])]


def looks_of(server: Server, kind: str, path: Path, file: Path, damages: list[list[int]]) -> list[dict[str, object]]:
    """What the reader finds with each damage; a reader that dies is said as code −signal."""
    whole = file.read_bytes()
    found: list[dict[str, object]] = []
    while len(found) < len(damages):
        some = damages[len(found) : len(found) + TOGETHER]
        outcome = server.ask("spoil", [kind, str(path), str(file), some], seconds=60)
        lines = outcome.out.splitlines()
        for line in lines:
            _, end = json.JSONDecoder().raw_decode(line)
            rest = line[end:].strip()
            found.append(json.loads(rest) if rest else {"code": outcome.code, "error": "the reader died"})
        if len(lines) < len(some):
            file.write_bytes(whole)
        assert lines, outcome
    return found


def check(pipeline: Pipeline, stage: str, flips: int, cuts: int, where: Path) -> None:
    case, server = pipeline.cases[stage], pipeline.server
    path = shutil.copytree(pipeline.older / stage, where / stage) / case.name
    sound = server.look(case.kind, path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    tried, refused, wrong = 0, 0, []
    for file in files:
        name = str(file.relative_to(path.parent))
        damages = damages_of(file, flips, cuts)
        for damage, found in zip(damages, looks_of(server, case.kind, path, file, damages), strict=True):
            tried += 1
            refused += found.get("code") == 4
            same = found.get("content") == sound["content"]
            if not same and found.get("code") != 4 and not ("digest" in found and any(part in name for part in UNREAD)):
                wrong.append(f"{name}, {damage}: {found}")
    judge("flips and cuts", tried, wrong, stage=stage, files=len(files), refused=refused)


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_file_is_refused_or_reads_the_same(pipeline: Pipeline, stage: str, place: Path) -> None:
    check(pipeline, stage, 12, 3, place / "flips")


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_thousand_flips_and_a_hundred_cuts_of_each_file_are_refused_or_read_the_same(
    pipeline: Pipeline, stage: str, place: Path
) -> None:
    check(pipeline, stage, 1000, 100, place / "many-flips")
