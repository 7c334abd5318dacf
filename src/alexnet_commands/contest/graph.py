"""The whole contest entry of 2012 (paper, table 2) as commands in their order: the one description of it.

train, val, test, Fall 2011 ─▶ crops ─▶ statistics ─▶ 5 nets of five convolutions ─▶ pre-training on Fall 2011
─▶ 2 fine-tuned nets of six ─▶ scores ─▶ 5-net and 7-net ensembles, submissions ─▶ the table next to the paper's

`make contest` runs these commands, `--dry-run` shows them, and the plan counts their pictures.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.errors import UsageError
from alexnet_commands.contest.config import ContestConfig

FINETUNED_NETS = 2
CNN = "cnn"
PRETRAINED = "pretrained"
FINETUNED = "finetuned"
_TEST_PICTURES = ("ILSVRC2012_img_test*.tar", "test", "ILSVRC/Data/CLS-LOC/test")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command."""

    kind: str
    """preprocess, pca, train, eval or ensemble."""
    name: str
    """`train`, `cnn-1`, `cnn-1 val`, `5-val`."""
    words: tuple[str, ...]
    """What comes after `alexnet`; --update is added to run it."""
    out: Path
    needs: tuple[str, ...]
    """Labels of the steps whose outputs it reads."""
    store: str
    """Whose pictures pass: train, val, test or fall2011."""
    recipe: str = ""
    """Of a training."""
    epochs: int | None = None
    """Replaces the recipe's."""

    @property
    def label(self) -> str:
        """What people call it: `train cnn-1`."""
        return f"{self.kind} {self.name}"


def steps(config: ContestConfig) -> list[Step]:
    """Every command, in an order in which each finds what it needs."""
    return list(_Graph(config).steps())


def needed_for(everything: list[Step], label: str) -> list[Step]:
    """One step with all that it needs, in order; UsageError if there is none of this name."""
    by_label = {step.label: step for step in everything}
    if label not in by_label:
        raise UsageError(f"--only {label}: no such step: use one of {', '.join(by_label)}")
    wanted, look_at = set[str](), [label]
    while look_at:
        name = look_at.pop()
        if name not in wanted:
            wanted.add(name)
            look_at += by_label[name].needs
    return [step for step in everything if step.label in wanted]


def has_test(config: ContestConfig) -> bool:
    """Whether the test pictures are scored: as asked, else whether there are any."""
    if config.test is not None:
        return config.test
    return config.data is None or any(any(config.data.glob(name)) for name in _TEST_PICTURES)


class _Graph:
    def __init__(self, config: ContestConfig) -> None:
        self.config, self.out = config, config.out
        self.splits = ("val", "test") if has_test(config) else ("val",)
        self.cnns = [f"{CNN}-{number}" for number in range(1, config.members + 1)]
        self.finetuned = [f"{FINETUNED}-{number}" for number in range(1, FINETUNED_NETS + 1)]

    def steps(self) -> Iterator[Step]:
        config = self.config
        yield self._preprocess("train")
        yield self._pca("train")
        for split in self.splits:
            yield self._preprocess(split)
        for number, net in enumerate(self.cnns, 1):
            yield self._train(net, number, "train", config.recipe, config.epochs)
            yield from self._scores(net)
        yield from self._ensembles(self.cnns)
        if config.fall2011 is None:
            return
        yield self._preprocess("fall2011")
        yield self._pca("fall2011")
        pretrained = [f"{PRETRAINED}-{number}" for number in range(1, config.pretrained + 1)]
        for number, net in enumerate(pretrained, 1):
            parent = _own_or_first(self.cnns, number)
            yield self._train(net, number, "fall2011", config.pretrain_recipe, config.pretrain_epochs, parent)
        for number, net in enumerate(self.finetuned, 1):
            parent = _own_or_first(pretrained, number)
            yield self._train(net, number, "train", config.finetune_recipe, config.finetune_epochs, parent)
            yield from self._scores(net)
        yield from self._ensembles([*self.cnns, *self.finetuned])

    def _store(self, name: str) -> Path:
        return self.out / "crops" / f"{name}.lmdb"

    def _statistics(self, name: str) -> Path:
        return self.out / "statistics" / f"{name}.h5"

    def _net(self, name: str) -> Path:
        return self.out / "nets" / name

    def _preprocess(self, name: str) -> Step:
        config, out = self.config, self._store(name)
        source = config.fall2011 if name == "fall2011" else config.data
        words: list[object] = ["preprocess", source or "DATA"]
        if name != "fall2011":
            words += ["--split", name]
        words += ["--out", out]
        if name in ("val", "test"):
            words += ["--classes", self._store("train")]
        words += ["--codec", config.fall2011_codec if name == "fall2011" else config.codec]
        if name in ("train", "val") and config.expect:
            words += ["--expect", config.expect]
        words += shlex.split(config.preprocess_options or "")
        needs = ("preprocess train",) if name in ("val", "test") else ()
        return _step("preprocess", name, words, out, needs, name)

    def _pca(self, name: str) -> Step:
        words = ["pca", self._store(name), "--out", self._statistics(name)]
        return _step("pca", name, words, self._statistics(name), (f"preprocess {name}",), name)

    def _train(
        self, net: str, seed: int, store: str, recipe: str, epochs: int | None, parent: str | None = None
    ) -> Step:
        config, out = self.config, self._net(net)
        words: list[object] = ["train", self._store(store)]
        if store == "train":
            words += ["--val", self._store("val")]
        words += ["--stats", self._statistics(store), "--recipe", recipe]
        if epochs is not None:
            words += ["--epochs", epochs]
        if parent is not None:
            words += ["--init-from", self._net(parent)]
        words += ["--devices", config.devices, "--precision", config.precision]
        words += [*shlex.split(config.train_options or ""), "--seed", seed, "--out", out]
        needs = [f"preprocess {store}", f"pca {store}"]
        needs += ["preprocess val"] if store == "train" else []
        needs += [f"train {parent}"] if parent is not None else []
        return _step("train", net, words, out, needs, store, recipe=recipe, epochs=epochs)

    def _scores(self, net: str) -> Iterator[Step]:
        """A net is evaluated once; ensembles are made of its scores."""
        config = self.config
        for split in self.splits:
            out = self._scores_file(net, split)
            words = ["eval", self._net(net), self._store(split), "--devices", config.devices]
            words += ["--precision", config.precision, "--out", out]
            yield _step("eval", f"{net} {split}", words, out, (f"train {net}", f"preprocess {split}"), split)

    def _scores_file(self, net: str, split: str) -> Path:
        return self.out / "scores" / split / f"{net}.h5"

    def _ensembles(self, nets: list[str]) -> Iterator[Step]:
        config = self.config
        for split in self.splits:
            out = self.out / "ensembles" / f"{len(nets)}-{split}"
            words: list[object] = ["ensemble", *(self._scores_file(net, split) for net in nets)]
            words += ["--crops", self._store(split), "--out", out]
            if split == "test":
                words += ["--submission", self.out / f"submission-{len(nets)}.txt"]
                words += ["--devkit", config.devkit] if config.devkit is not None else []
            needs = [f"preprocess {split}", *(f"eval {net} {split}" for net in nets)]
            yield _step("ensemble", f"{len(nets)}-{split}", words, out, needs, split)


def _own_or_first(parents: list[str], number: int) -> str:
    """The j-th net's parent is the j-th of them, or the first if there are fewer."""
    return parents[number - 1] if number <= len(parents) else parents[0]


def _step(kind: str, name: str, words: list[object], out: Path, needs: Sequence[str], store: str, **more: Any) -> Step:
    """A step, whose words may be paths and numbers. more: recipe and epochs of a training."""
    texts = tuple(map(str, words))
    return Step(kind=kind, name=name, words=texts, out=out, needs=tuple(needs), store=store, **more)
