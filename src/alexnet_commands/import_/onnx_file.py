"""ONNX: a chain of nodes from the graph's input to its output, each one of the layers that a recipe knows.

Nodes that compute the shape for a `Reshape` (Shape, Gather, Constant …) are not part of the chain. A file of `alexnet
export` begins with its input transform, which is taken over. Its norms show how many columns there are: around them,
each column's maps are reshaped to a picture of their own. What else belongs to the net is noted in the file's metadata.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.exchange.notes import read_notes
from alexnet_cli.reading import read_regular
from alexnet_cli.recipes.layers import Dropout, MapNorm, Norm, Pool, Relu, Tanh
from alexnet_commands.import_.found import Row, short

MOST_BYTES = 1 << 31
"""Protobuf's own limit."""
_SKIPPED = {"Identity", "Flatten", "Squeeze", "Softmax"}
_EXTERNAL = 1


def read_onnx(row: Row) -> None:
    """Fill a row from its file. UsageError if onnx is missing, ArtifactError for what can't be imported."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise UsageError("--from onnx needs the package onnx: pip install 'alexnet[export]'") from None
    try:
        content = read_regular(row.path, most=MOST_BYTES)
    except FileNotFoundError:
        raise ArtifactError(f"{row.path}: no such file: check the path") from None
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RecursionError):
        raise ArtifactError(f"{row.path}: is not an ONNX model, or is damaged: get it again") from None
    graph = model.graph
    if not graph.node:
        raise ArtifactError(f"{row.path}: is not an ONNX model (it has no nodes): check the path, and --from")
    try:
        _Chain(row, graph).read()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise row.wrong(f"its graph is damaged ({type(error).__name__})") from None
    row.noted = read_notes({entry.key: entry.value for entry in model.metadata_props}, row.path)


class _Chain:
    """The nodes of a graph, one after the other."""

    def __init__(self, row: Row, graph: Any) -> None:
        from onnx import numpy_helper

        self.row, self.graph = row, graph
        self.apart = 1
        """Into how many columns the maps are reshaped here."""
        self.norms: set[int] = set()
        """The same at each norm."""
        self.constants: dict[str, NDArray[Any]] = {}
        for tensor in graph.initializer:
            if tensor.data_location == _EXTERNAL:
                raise row.wrong("its weights lie in other files: save it with the weights inside")
            self.constants[tensor.name] = numpy_helper.to_array(tensor)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def read(self) -> None:
        """From the input to the output."""
        given = [value for value in self.graph.input if value.name not in self.constants]
        if len(given) != 1:
            raise self.row.wrong(f"it has {len(given)} inputs")
        sizes = [dimension.dim_value for dimension in given[0].type.tensor_type.shape.dim]
        if len(sizes) == 4:
            self.row.patch = int(sizes[2]) or None
        last, nodes = given[0].name, list(self.graph.node)
        while (node := self._next(nodes, last)) is not None:
            nodes.remove(node)
            last = self._take(node, nodes)
        if self.apart > 1 or len(self.norms) > 1:
            raise self.row.wrong("some of its norms stay inside a column, and others don't")
        if self.norms - {1}:
            self.row.split(*self.norms)

    def _next(self, nodes: list[Any], last: str) -> Any:
        found = [node for node in nodes if last in node.input and node.op_type != "Shape"]
        if len(found) == 2 and (squares := [node for node in found if _squares(node)]):  # and the product behind them
            return squares[0]
        if len(found) > 1:
            raise self.row.wrong(f"its '{last}' is read by {len(found)} nodes, and its layers do not form a chain")
        return found[0] if found else None

    def _take(self, node: Any, nodes: list[Any]) -> str:
        """Add a node's layer; the name of what comes out."""
        row, kind, given = self.row, node.op_type, _attributes(node)
        if self.apart > 1 and kind not in ("LRN", "Relu", "Reshape", "Identity"):
            raise row.wrong(f"its node {node.name or node.output[0]} works on the maps of one column as on a picture")
        if kind == "Reshape":
            self._reshape(node)
        elif kind in _SKIPPED:
            pass
        elif kind == "Relu":
            row.add(Relu)
        elif kind == "Tanh":
            row.add(Tanh)
        elif kind == "Conv":
            self._convolution(node, given)
        elif kind == "LRN":
            alpha, beta, bias = (short(given.get(name, default)) for name, default in _LRN)
            row.add(Norm, k=bias, alpha=alpha, beta=beta, window=int(given["size"]))
            self.norms.add(self.apart)
        elif kind in ("MaxPool", "AveragePool"):
            self._pool(node, given)
        elif kind == "Dropout":
            ratio = given.get("ratio", self.constants[node.input[1]] if len(node.input) > 1 and node.input[1] else 0.5)
            row.add(Dropout, probability=short(float(ratio)), convention="inverted")
        elif kind == "Gemm":
            self._gemm(node, given)
        elif kind == "MatMul":
            return self._matmul(node, nodes)
        elif row.specs and _squares(node):
            return self._map_norm(node, nodes)
        elif not row.specs and kind in ("Cast", "Transpose", "Sub", "Mul"):
            self._transform(node, given)
        else:
            raise row.wrong(f"its node {node.name or node.output[0]} is {kind}, which no layer here is")
        return str(node.output[0])

    def _transform(self, node: Any, given: dict[str, Any]) -> None:
        """(pictures − mean) · scale over N×P×P×3, then the channels to the front: as `alexnet export` writes it."""
        row = self.row
        if node.op_type == "Transpose":
            if list(given["perm"]) != [0, 3, 1, 2]:
                raise row.wrong("its input is turned in an unknown way")
        elif node.op_type == "Sub" and row.mean is None and self.constants[node.input[1]].shape[-1:] == (3,):
            row.mean = self.constants[node.input[1]].astype(np.float32)
        elif node.op_type == "Mul" and row.scale is None and self.constants[node.input[1]].shape == (3,):
            row.scale = self.constants[node.input[1]].astype(np.float32)
        elif node.op_type != "Cast":
            raise row.wrong(f"its input transform has a {node.op_type} that alexnet export did not write")

    def _reshape(self, node: Any) -> None:
        """To maps of one column, and back; or to the numbers that a fully-connected layer sees."""
        shape = self.constants.get(node.input[1], np.zeros(0)).reshape(-1).tolist()
        if len(shape) == 4:
            maps = next(len(tensor) for tensor in reversed(self.row.tensors.values()) if tensor.dim() == 4)
            if not 0 < shape[1] <= maps or maps % shape[1]:
                raise self.row.wrong(f"its node {node.name or node.output[0]} makes {shape[1]} maps of {maps}")
            self.apart = maps // int(shape[1])

    def _map_norm(self, node: Any, nodes: list[Any]) -> str:
        """maps · (k + α · mean of maps² over the window)^−β, as `alexnet export` writes it."""
        maps, last, found = node.input[0], node.output[0], []
        for kind in ("AveragePool", "Mul", "Add", "Pow", "Mul"):
            above = self._next(nodes, last)
            if above is None or above.op_type != kind:
                raise self.row.wrong(f"its node {node.name or last} is a square that no layer here is")
            nodes.remove(above)
            found.append(above)
            last = above.output[0]
        pool, *numbers, product = found
        given = _attributes(pool)
        window = int(given["kernel_shape"][0])
        plain = list(given["kernel_shape"]) == [window] * 2 and set(given.get("strides", [1])) == {1}
        padded = list(given.get("pads", [])) == [window // 2] * 4 and window % 2 == 1 and given.get("count_include_pad")
        if not (plain and padded and maps in product.input and not given.get("ceil_mode", 0)):
            raise self.row.wrong(f"its norm {product.name or last} is of a kind that no layer here is")
        alpha, k, power = (short(self.constants[one.input[1]].item()) for one in numbers)
        self.row.add(MapNorm, k=k, alpha=alpha, beta=-power, window=window)
        return str(last)

    def _convolution(self, node: Any, given: dict[str, Any]) -> None:
        row = self.row
        strides, pads = list(given.get("strides", [1, 1])), list(given.get("pads", [0, 0, 0, 0]))
        plain = given.get("auto_pad", b"NOTSET") == b"NOTSET" and set(given.get("dilations", [1])) == {1}
        before, after = pads[:2], pads[2:]
        if not plain or len(set(strides)) > 1 or len(set(before)) > 1 or len(set(after)) > 1 or after[0] < before[0]:
            raise row.wrong(f"its convolution {node.name or node.output[0]} is of a kind that no layer here is")
        weight, bias = self._weights(node)
        row.convolution(
            weight,
            bias,
            stride=int(strides[0]),
            padding=int(before[0]),
            overhang=int(after[0] - before[0]),
            groups=int(given.get("group", 1)),
        )

    def _pool(self, node: Any, given: dict[str, Any]) -> None:
        size, strides = list(given["kernel_shape"]), list(given.get("strides", [1, 1]))
        if set(size) == {1} and set(strides) == {1}:
            return
        plain = given.get("auto_pad", b"NOTSET") == b"NOTSET" and set(given.get("dilations", [1])) == {1}
        if not plain or any(given.get("pads", [0])) or len(set(size)) > 1 or len(set(strides)) > 1:
            raise self.row.wrong(f"its pooling {node.name or node.output[0]} is of a kind that no layer here is")
        mode = "max" if node.op_type == "MaxPool" else "average"
        overhang = bool(given.get("ceil_mode", 0))
        self.row.add(Pool, size=int(size[0]), stride=int(strides[0]), mode=mode, overhang=overhang)

    def _gemm(self, node: Any, given: dict[str, Any]) -> None:
        if given.get("transA", 0) or given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1:
            raise self.row.wrong(f"its node {node.name or node.output[0]} is not a fully-connected layer")
        weight, bias = self._weights(node)
        self.row.linear(weight if given.get("transB", 0) else weight.T.contiguous(), bias)

    def _matmul(self, node: Any, nodes: list[Any]) -> str:
        """A product, and the sum with the biases behind it."""
        weight, _ = self._weights(node)
        above = self._next(nodes, node.output[0])
        if above is None or above.op_type != "Add":
            self.row.linear(weight.T.contiguous(), None)
            return str(node.output[0])
        nodes.remove(above)
        other = next(name for name in above.input if name != node.output[0])
        self.row.linear(weight.T.contiguous(), _tensor(self.constants[other]))
        return str(above.output[0])

    def _weights(self, node: Any) -> tuple[Tensor, Tensor | None]:
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        return _tensor(self.constants[node.input[1]]), None if bias is None else _tensor(self.constants[bias])


def _squares(node: Any) -> bool:
    return node.op_type == "Mul" and len(node.input) == 2 and node.input[0] == node.input[1]


_LRN = (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array))
