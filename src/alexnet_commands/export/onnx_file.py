"""The plan as ONNX: one node for each layer, under its name, the weights inside, for any number of pictures.

Operators of opset 17 (ONNX 1.12): any engine of 2022 or later reads it. The model's `metadata_props` hold what
`Plan.about` says, each value as JSON, and the notes from which `alexnet import` restores the whole net.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.errors import UsageError
from alexnet_cli.exchange.notes import notes
from alexnet_cli.recipes import layers as specs
from alexnet_commands.export.plan import Plan, Step

OPSET = 17
IR_VERSION = 8
PRODUCER = "alexnet"


def onnx_model(plan: Plan) -> bytes:
    """The file's bytes. UsageError if the package onnx is missing."""
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        raise UsageError("--format onnx needs the package onnx: pip install 'alexnet[export]'") from None
    graph = _Graph()
    graph.add_all(plan)
    side = plan.patch
    kind = TensorProto.FLOAT if plan.raw else TensorProto.UINT8
    shape: list[int | str | None] = ["N", 3, side, side] if plan.raw else ["N", side, side, 3]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "alexnet",
            [helper.make_tensor_value_info(graph.input, kind, shape)],
            [helper.make_tensor_value_info(graph.output, TensorProto.FLOAT, ["N", len(plan.classes)])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
    )
    about = {name: json.dumps(value, ensure_ascii=False) for name, value in plan.about.items()}
    helper.set_model_props(model, {**about, **notes(plan.recipe, plan.classes, plan.transform)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()  # type: ignore[no-any-return]


class _Graph:
    """Nodes one after the other; each reads what the last one gave."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.input = self.last = self.output = ""

    def add_all(self, plan: Plan) -> None:
        """From the pictures to the output."""
        self.input = self.last = "patches" if plan.raw else "pictures"
        if not plan.raw:
            self.add("Cast", "float", to=1)
            self.add("Sub", "centred", self.constant("mean", plan.mean.numpy()))
            self.add("Mul", "scaled", self.constant("scale", plan.scale.numpy()))
            self.add("Transpose", "planes", perm=[0, 3, 1, 2])
        flat = False
        for step in plan.steps:
            if not flat and isinstance(step.spec, (specs.Linear, specs.Dropout)):
                self.add("Flatten", "flatten", axis=1)
                flat = True
            self.add_step(step)
        if not plan.raw:
            self.add("Softmax", "probabilities", axis=1)
        self.output = "logits" if plan.raw else "probabilities"
        self.nodes[-1].output[0] = self.output

    def add(self, operator: str, name: str, *more: str, **attributes: Any) -> None:
        """A node behind the last one; `more` are its other inputs."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, [self.last, *more], [name], name=name, **attributes))
        self.last = name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An array in the file; its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add_step(self, step: Step) -> None:
        """The nodes of one layer."""
        name = step.name
        match step.spec:
            case specs.Convolution() as spec:
                self.add(
                    "Conv",
                    name,
                    *self._weights(step),
                    kernel_shape=[spec.size] * 2,
                    strides=[spec.stride] * 2,
                    pads=[spec.padding] * 2 + [spec.padding + spec.overhang] * 2,
                    group=step.layer.groups,
                )
            case specs.Linear():
                self.add("Gemm", name, *self._weights(step), transB=1)
            case specs.Relu():
                self.add("Relu", name)
            case specs.Tanh():
                self.add("Tanh", name)
            case specs.MapNorm() as spec:
                self._map_norm(name, spec)
            case specs.Norm() as spec:
                self._norm(step, spec)
            case specs.Pool() as spec:
                window = {
                    "kernel_shape": [spec.size] * 2,
                    "strides": [spec.stride] * 2,
                    "ceil_mode": int(spec.overhang),
                }
                self.add("MaxPool" if spec.mode == "max" else "AveragePool", name, **window)
            case specs.Dropout():
                if step.factor != 1:
                    self.add("Mul", name, self.constant(f"{name}.factor", np.array(step.factor, np.float32)))

    def _weights(self, step: Step) -> list[str]:
        assert step.weight is not None and step.bias is not None
        return [
            self.constant(f"{step.name}.{part}", tensor.numpy())
            for part, tensor in (("weight", step.weight), ("bias", step.bias))
        ]

    def _norm(self, step: Step, spec: specs.Norm) -> None:
        """LRN's window goes over all channels: for it, each column becomes a picture of its own."""
        columns, maps, side = step.layer.columns, step.layer.outputs, step.layer.output_side
        if columns > 1:
            shape = np.array([-1, maps // columns, side, side], np.int64)
            self.add("Reshape", f"{step.name}.columns", self.constant(f"{step.name}.apart", shape))
        inner = step.name if columns == 1 else f"{step.name}.normalised"
        self.add("LRN", inner, alpha=spec.alpha, beta=spec.beta, bias=spec.k, size=spec.window)
        if columns > 1:
            shape = np.array([-1, maps, side, side], np.int64)
            self.add("Reshape", step.name, self.constant(f"{step.name}.together", shape))

    def _map_norm(self, name: str, spec: specs.MapNorm) -> None:
        """a · (k + α · mean of a² over the window)^−β."""
        maps, half = self.last, spec.window // 2
        self.add("Mul", f"{name}.squares", maps)
        self.add(
            "AveragePool",
            f"{name}.mean",
            kernel_shape=[spec.window] * 2,
            strides=[1, 1],
            pads=[half] * 4,
            count_include_pad=1,
        )
        for operator, what, value in (("Mul", "alpha", spec.alpha), ("Add", "k", spec.k), ("Pow", "power", -spec.beta)):
            self.add(operator, f"{name}.{what}", self.constant(f"{name}.{what}.value", np.array(value, np.float32)))
        self.add("Mul", name, maps)


def run_onnx(content: bytes, inputs: Tensor) -> tuple[Tensor, str]:
    """The model's output, and the engine that ran it: onnxruntime if it is installed, else ONNX's own reference."""
    given = inputs.contiguous().numpy()
    try:
        import onnxruntime
    except ImportError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load_model_from_string(content)
        evaluator = ReferenceEvaluator(model)
        outputs: Any = evaluator.run(None, {model.graph.input[0].name: given})
        return torch.from_numpy(np.array(outputs[0])), f"onnx {onnx.__version__}'s reference"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    output = session.run(None, {session.get_inputs()[0].name: given})[0]
    return torch.from_numpy(np.array(output)), f"onnxruntime {onnxruntime.__version__}"
