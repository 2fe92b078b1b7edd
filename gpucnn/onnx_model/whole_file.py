"""An ONNX file as bytes that need no other file."""

import os

from gpucnn.checks import as_path
from gpucnn.errors import OnnxError
from gpucnn.onnx_model.onnx_file import LARGEST_FILE, naming, read_message
from gpucnn.onnx_model.tensor import TensorReader
from gpucnn.text import printed


def whole_file(path: str | os.PathLike[str]) -> bytes:
    """The content of an ONNX file that `load_onnx` takes; arrays that lie in files beside it are brought into it.

    OnnxError, which names the file, if it cannot be read, or would have 2 GB or more; LibraryError without onnx.
    """
    path = as_path(path, "whole_file: path")
    with naming(path):
        message, content = read_message(path)
        graph, reader = message.graph, TensorReader(path.parent)
        tensors = [*graph.initializer, *(attribute.t for node in graph.node for attribute in node.attribute)]
        elsewhere = [tensor for tensor in tensors if reader.is_elsewhere(tensor)]
        size = len(content)
        for tensor in elsewhere:
            values = reader.content(tensor, f"the array {printed(tensor.name)}")
            size += len(values)
            if size > LARGEST_FILE:
                raise OnnxError("it cannot be made one file of less than 2 GB")
            tensor.raw_data = values
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
        return bytes(message.SerializeToString(deterministic=True)) if elsewhere else content
