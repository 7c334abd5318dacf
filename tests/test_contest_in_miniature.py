"""The whole contest graph with the real commands: tars of a few small pictures, narrow nets, one epoch each."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NARROW
from miniature import IDS, TEST_PICTURES, WNIDS, Miniature

from alexnet_cli.artifacts.scores import read_scores

ROOT = Path(__file__).parent.parent

SET = (
    *NARROW,
    *("training.batch_size=6", "input.divisor=64.0", "training.initial_values=he"),
)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_whole_contest_from_tars_to_submissions_and_table(tmp_path: Path) -> None:
    data, fall = Miniature(tmp_path / "ilsvrc2012").ilsvrc(), Miniature(tmp_path).class_tars()
    alexnet = tmp_path / "alexnet"
    alexnet.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m alexnet_cli "$@"\n')
    alexnet.chmod(0o755)
    out = tmp_path / "entry"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    words = [f"DATA={data}", f"FALL2011={fall}", f"OUT={out}", "READY=", f"ALEXNET={alexnet}", "DEVICES=cpu", "EXPECT="]
    words += ["MEMBERS=2", "EPOCHS=1", "PRETRAIN_EPOCHS=1", "FINETUNE_EPOCHS=1"]
    words.append("TRAIN_OPTIONS=" + " ".join(f"--set {text}" for text in SET))

    def make() -> str:
        program = ["make", "-f", str(ROOT / "Makefile"), "contest", *words]
        done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    shown = make()
    for row in ("1 CNN (mean of 2)", "2 CNNs", "1 CNN* (mean of 2)", "4 CNNs*"):
        assert re.search(rf"{re.escape(row)} +\d+\.\d\d% +\d\d\.\d% +\d+\.\d\d% +\d\d\.\d%", shown), shown
    assert (out / "table.txt").read_text() in shown
    for size in (2, 4):
        lines = (out / f"submission-{size}.txt").read_text().splitlines()
        _, scores = read_scores(out / "ensembles" / f"{size}-test" / "scores.h5")
        rows = sorted(zip((Path(name).name for name in scores.names), scores.probabilities.tolist(), strict=True))
        assert [name for name, _ in rows] == [f"ILSVRC2012_test_{n + 1:08d}.JPEG" for n in range(TEST_PICTURES)]
        for line, (_, row) in zip(lines, rows, strict=True):
            best = sorted(zip((-value for value in row), range(len(WNIDS)), strict=True))[:5]
            assert line == " ".join(str(IDS[index]) for _, index in best)
        manifest = json.loads((out / "ensembles" / f"{size}-test" / "manifest.json").read_text())
        assert manifest["details"]["pictures"] == TEST_PICTURES
    pretrained = json.loads((out / "nets" / "pretrained-1" / "manifest.json").read_text())
    assert pretrained["options"]["net"]["classes"] == len(WNIDS)
    assert make() == (out / "table.txt").read_text(), "a second run shows the table and does nothing"
