"""An ONNX file as bytes that need no other file."""

import os
from typing import Any

from gpucnn.checks import as_path
from gpucnn.errors import LibraryError, OnnxError
from gpucnn.regular_file import read_regular
from gpucnn.text import printed


def whole_file(path: str | os.PathLike[str]) -> bytes:
    """The content of an ONNX file that `load_onnx` takes; arrays that lie in files beside it are brought into it.

    OnnxError, which names the file, if it cannot be read, or would have 2 GB or more; LibraryError without onnx.
    """
    path = as_path(path, "whole_file: path")
    try:
        import onnx
    except ImportError as error:
        raise LibraryError(f'ONNX files need onnx ({error}); pip install "gpucnn[onnx]"') from None
    try:
        content = read_regular(path)
        model = onnx.ModelProto()
        model.ParseFromString(content)
        if not _lies_elsewhere(model):
            return content
        onnx.load_external_data_for_model(model, str(path.parent))
        return bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise OnnxError(f"{printed(str(path))}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # protobuf and onnx have several of their own
        raise OnnxError(f"{printed(str(path))}: cannot be made one file of less than 2 GB ({error})") from None


def _lies_elsewhere(model: Any) -> bool:
    """Whether an array is in a file beside it."""
    from onnx.external_data_helper import uses_external_data

    attributes = [attribute.t for node in model.graph.node for attribute in node.attribute]
    return any(uses_external_data(tensor) for tensor in [*model.graph.initializer, *attributes])
