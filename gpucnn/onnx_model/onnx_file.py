"""The message of protobuf that an ONNX file is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from gpucnn.errors import GpucnnError, LibraryError, OnnxError
from gpucnn.regular_file import open_regular
from gpucnn.text import printed
from gpucnn.text_table import shortened

LARGEST_FILE = (1 << 31) - 1
"""Bytes of a message of protobuf. Larger models have their arrays in files beside it."""

LONGEST = 800
"""Columns of a message: names in a file may be of any length."""


class OnnxFile(NamedTuple):
    """What was read of a file."""

    message: Any
    """A ModelProto."""
    content: bytes
    """The same as bytes."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, errors of ours and of the operating system become an OnnxError that names the file; but not those of libraries that lack."""
    try:
        yield
    except LibraryError:
        raise
    except OSError as error:
        raise OnnxError(f"{printed(str(path))}: cannot be read: {error.strerror or error}") from None
    except GpucnnError as error:
        raise OnnxError(f"{printed(str(path))}: {shortened(str(error), LONGEST)}") from None


def read_message(path: Path) -> OnnxFile:
    """The message in the file at `path`. OnnxError if it holds none, OSError if it cannot be read, LibraryError without onnx."""
    library()
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise OnnxError(f"{size:,} bytes are more than an ONNX file can have, {LARGEST_FILE:,}")
        content = file.read(size)
    return OnnxFile(message_of(content), content)


def message_of(content: bytes) -> Any:
    """The ModelProto that a file of this content holds. OnnxError if it is none, LibraryError without onnx."""
    message = library().ModelProto()
    try:
        message.ParseFromString(content)
    except Exception:  # protobuf has several kinds, and more than one implementation
        raise OnnxError("no ONNX file, or a damaged one") from None
    _check_texts(message)
    return message


def library() -> ModuleType:
    """onnx; LibraryError, which says how to install it, where it is not."""
    try:
        import onnx
        import onnx.defs
        import onnx.helper
    except ImportError as error:
        raise LibraryError(f'ONNX files need onnx ({error}); pip install "gpucnn[onnx]"') from None
    return onnx


def _check_texts(message: Any) -> None:
    """OnnxError unless all texts are UTF-8: protobuf gives others as bytes."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        # Of an array only its name and place: to look at its content would copy it.
        names = (
            ("name", "external_data") if message.DESCRIPTOR.name == "TensorProto" else message.DESCRIPTOR.fields_by_name
        )
        for name in names:
            field = message.DESCRIPTOR.fields_by_name[name]
            if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
                continue
            value = getattr(message, name)
            is_repeated = not isinstance(value, str | bytes) and hasattr(value, "__len__")
            if field.type == field.TYPE_MESSAGE:
                waiting += list(value) if is_repeated else [value] if message.HasField(name) else []
            elif any(isinstance(one, bytes) for one in (value if is_repeated else [value])):
                raise OnnxError(f"a text in it, {field.full_name}, is no UTF-8; is it damaged?")
