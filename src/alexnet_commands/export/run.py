"""The work of `alexnet export`: a plan of the net, the format's files, a run of what was written, and a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import INPUT, MODEL, Checkpoint, net_files, read_checkpoint, write_net
from alexnet_cli.artifacts.common.ownership import require_output
from alexnet_cli.artifacts.common.publish import publish_file
from alexnet_cli.artifacts.common.working import prepare_parent
from alexnet_cli.artifacts.run import in_words, read_found
from alexnet_cli.console import Talk
from alexnet_cli.devices import prepare
from alexnet_cli.evaluation import Net
from alexnet_cli.exchange.caffe import layers_of
from alexnet_commands.export import caffe_files, hub, torch_files
from alexnet_commands.export.caffe_engine import run_caffe
from alexnet_commands.export.compare import difference, said_here, sample_crops
from alexnet_commands.export.config import ExportConfig
from alexnet_commands.export.onnx_file import OPSET, onnx_model, run_onnx
from alexnet_commands.export.outputs import KINDS, publish_files
from alexnet_commands.export.plan import Plan, plan_of
from alexnet_commands.export.torch_net import Exported


@dataclass(frozen=True)
class Result:
    """What was written, and how far it is from the net."""

    path: Path
    format: str
    checkpoint: str
    """Which checkpoint was exported, in words."""
    max_difference: float
    """Of the probabilities, with `--raw` of the logits, on the sample crops."""
    engine: str
    """What ran the file."""
    details: str
    """The format with its version, in words."""
    input: str
    output: str
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        values = {name: value for name, value in self.__dict__.items() if name != "details"}
        return {**values, "path": str(self.path)}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Made:
    """A format's files, and the output of an engine that has read them."""

    files: bytes | Mapping[str, bytes]
    said: Tensor
    engine: str
    details: str
    input: str = ""
    """What it takes, if `Plan.about` does not say it."""


def run(config: ExportConfig) -> Result:
    """Export, compare, publish. Nothing is written if the outputs differ.

    Raises UsageError of options, output and what a format can't say, ArtifactError of the net and of a difference,
    ResourceError of the disk.
    """
    inputs, kind = {"NET": config.net}, KINDS[config.format]
    require_output(config.out, kind, overwrite=config.overwrite, inputs=inputs)
    checkpoint, which = read_found(config.net, read_checkpoint)
    prepare_parent(config.out)
    Talk(quiet=config.quiet).say(f"{in_words(config.net, which)}: {config.format}, then a comparison on the CPU")
    device = torch.device("cpu")
    prepare(device, "fp32")
    net = Net.from_checkpoint(checkpoint, device, "fp32")
    plan = plan_of(checkpoint, raw=config.raw)
    crops = sample_crops(len(checkpoint.transform.mean))
    pictures = crops[:, plan.edge : plan.edge + plan.patch, plan.edge : plan.edge + plan.patch].contiguous()
    made = _made(config, checkpoint, plan, pictures, which)
    raw = config.raw or config.format == "torchvision"
    largest = difference(said_here(net, crops, raw=raw), made.said, engine=made.engine)
    _publish(config, checkpoint, plan, made)
    return Result(
        path=config.out,
        format=config.format,
        checkpoint=which,
        max_difference=largest,
        engine=made.engine,
        details=made.details,
        input=made.input or str(plan.about["input"]),
        output=str(plan.about["output"]),
        bytes=sum(map(len, made.files.values())) if isinstance(made.files, Mapping) else len(made.files),
    )


def _made(config: ExportConfig, checkpoint: Checkpoint, plan: Plan, pictures: Tensor, which: str) -> _Made:
    """The files of the format, run on pictures uint8 (N, P, P, 3)."""
    given = plan.transformed(pictures) if plan.raw else pictures
    version = f"torch {torch.__version__}"
    match config.format:
        case "onnx":
            content = onnx_model(plan)
            said, engine = run_onnx(content, given)
            return _Made(files=content, said=said, engine=engine, details=f"ONNX, opset {OPSET}")
        case "torch-export":
            content = torch_files.torch_export(plan)
            said = torch_files.run_torch_export(content, given)
            return _Made(files=content, said=said, engine=version, details="torch.export")
        case "torchscript":
            content = torch_files.torchscript(plan)
            said = torch_files.run_torchscript(content, given)
            return _Made(files=content, said=said, engine=version, details="TorchScript, traced")
        case "torchvision":
            content = torch_files.torchvision_weights(plan)
            said = torch_files.run_torchvision(content, plan.transformed(pictures), len(plan.classes))
            return _Made(files=content, said=said, engine="torchvision's alexnet", details="state_dict in safetensors")
        case "caffe":
            files = caffe_files.caffe_files(plan)
            layers = layers_of(files[caffe_files.MODEL], Path(caffe_files.MODEL))
            said = run_caffe(layers, caffe_files.pictures_for_caffe(plan, pictures))
            engine, given_to = "Caffe's layers in torch", caffe_files.input_of(plan)
            return _Made(files=files, said=said, engine=engine, details="Caffe", input=given_to)
    model = dict(
        net_files(
            recipe=checkpoint.recipe,
            classes=checkpoint.classes,
            model=checkpoint.model,
            transform=checkpoint.transform,
        )
    )
    model[hub.CARD] = hub.model_card(checkpoint, which).encode()
    said = _run_folder(model, checkpoint, pictures)
    return _Made(files=model, said=said, engine="safetensors and torch", details="folder for a model hub")


def _run_folder(files: Mapping[str, bytes], checkpoint: Checkpoint, pictures: Tensor) -> Tensor:
    """The output of torch's modules with the weights and the transform that were read back."""
    from safetensors.torch import load

    read = load(files[INPUT])
    transform = replace(checkpoint.transform, mean=read["mean"], scale=read["scale"], noise=read["noise"])
    again = plan_of(replace(checkpoint, model=load(files[MODEL]), transform=transform), raw=False)
    with torch.no_grad():
        return Exported(again)(pictures)  # type: ignore[no-any-return]


def _publish(config: ExportConfig, checkpoint: Checkpoint, plan: Plan, made: _Made) -> None:
    kind, inputs, overwrite = KINDS[config.format], {"NET": config.net}, config.overwrite
    if isinstance(made.files, bytes):
        publish_file(config.out, made.files, kind, overwrite=overwrite, inputs=inputs)
    elif config.format == "hub":
        manifest = checkpoint.manifest
        details = {name: value for name, value in manifest.details.items() if name != "files"}
        write_net(
            config.out,
            made.files.items(),
            kind,
            parents={**manifest.parents, "checkpoint": manifest.digest},
            details=details,
            overwrite=overwrite,
            inputs=inputs,
        )
    else:
        publish_files(config.out, made.files, kind, parent=plan.digest, overwrite=overwrite, inputs=inputs)
