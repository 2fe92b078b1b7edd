"""The arrays in an ONNX file, in it or in files beside it, with their sizes checked before memory is taken."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.checks import MOST_ELEMENTS
from gpucnn.errors import OnnxError
from gpucnn.regular_file import open_regular
from gpucnn.text import MOST_AXES, printed, shape_text, value_text

BFLOAT16 = np.dtype("V2")
"""NumPy has no such numbers; they are the upper halves of float32."""

DTYPES: dict[int, np.dtype] = {
    1: np.dtype("<f4"), 2: np.dtype("u1"), 3: np.dtype("i1"), 4: np.dtype("<u2"), 5: np.dtype("<i2"), 6: np.dtype("<i4"),
    7: np.dtype("<i8"), 9: np.dtype("?"), 10: np.dtype("<f2"), 11: np.dtype("<f8"), 12: np.dtype("<u4"), 13: np.dtype("<u8"),
    16: BFLOAT16,
}  # fmt: skip
"""Of TensorProto's numbers of dtypes."""

OTHERS = {
    8: "string", 14: "complex64", 15: "complex128", 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2",
    20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2",
}  # fmt: skip
"""Those that are not taken."""

TYPED = {
    1: "float_data", 2: "int32_data", 3: "int32_data", 4: "int32_data", 5: "int32_data", 6: "int32_data", 7: "int64_data",
    9: "int32_data", 10: "int32_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data", 16: "int32_data",
}  # fmt: skip
"""Which field has the numbers of a dtype, where they are not raw bytes."""


def dtype_of(number: int, owner: str) -> np.dtype:
    """What arrays of TensorProto's dtype `number` are here: floats of 16 bits are read as float32. OnnxError for other dtypes."""
    if number not in DTYPES:
        name = OTHERS.get(number, f"number {number}")
        fix = "; export the model as it was before it was quantized" if number > 16 else ""
        raise OnnxError(f"{owner} is of dtype {name}, which is not computed here{fix}")
    dtype = DTYPES[number]
    return np.dtype(np.float32) if dtype in (BFLOAT16, np.float16) else dtype


ELSEWHERE = 1
"""What `data_location` is of an array in another file."""


class TensorReader:
    """Reads the arrays of one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """That of the file: arrays may lie beside it."""
        self._read: dict[Path, int] = {}
        """How many bytes have been read from the files there."""

    def array(self, proto: Any, owner: str) -> np.ndarray:
        """The array of a TensorProto, which messages call `owner`. OnnxError for what is no array, or not there."""
        dtype, shape = _dtype_and_shape(proto, owner)
        if not (self.is_elsewhere(proto) or proto.HasField("raw_data")):
            return self._typed(proto, owner, dtype, shape)
        content = self.content(proto, owner)
        return _numbers(np.frombuffer(content, np.uint8 if dtype.kind == "b" else dtype).reshape(shape), dtype)

    def content(self, proto: Any, owner: str) -> bytes:
        """The bytes of an array that has them, in the file or beside it. OnnxError, which calls it `owner`, unless they are all there."""
        dtype, shape = _dtype_and_shape(proto, owner)
        size = math.prod(shape) * dtype.itemsize
        content = self._beside(proto, owner, size) if self.is_elsewhere(proto) else bytes(proto.raw_data)
        if len(content) != size:
            raise OnnxError(f"{owner} {shape_text(shape)} of {_name(dtype)} needs {size:,} bytes, got {len(content):,}")
        return content

    def is_elsewhere(self, proto: Any) -> bool:
        """Whether the array lies in a file beside this one."""
        return bool(proto.data_location == ELSEWHERE)

    def _typed(self, proto: Any, owner: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        numbers = getattr(proto, TYPED[proto.data_type])
        if len(numbers) != math.prod(shape):
            raise OnnxError(f"{owner} {shape_text(shape)} needs {math.prod(shape):,} numbers, got {len(numbers):,}")
        if dtype in (BFLOAT16, np.float16):  # their bits
            bits = np.array(numbers, np.int64)
            _check_range(bits, np.dtype(np.uint16), owner)
            return _numbers(bits.astype("<u2").view(dtype).reshape(shape), dtype)
        if dtype.kind in "iub":
            wide = np.array(numbers, np.uint64 if dtype.kind == "u" and dtype.itemsize > 2 else np.int64)
            _check_range(wide, dtype, owner)
            return wide.astype(dtype).reshape(shape)
        return np.array(numbers, dtype).reshape(shape)

    def _beside(self, proto: Any, owner: str, size: int) -> bytes:
        """The bytes of an array in another file, which must lie in the folder of this one, or below."""
        entries = {entry.key: entry.value for entry in proto.external_data}
        location = entries.get("location", "")
        parts = location.replace("\\", "/").split("/")
        if (
            not location
            or "\0" in location
            or ".." in parts
            or parts[0].endswith(":")
            or os.path.isabs(location)
            or not parts[0]
        ):
            raise OnnxError(
                f"{owner} lies in the file {value_text(location)}, expected one beside the model, given without .. and not from the root"
            )
        path, folder = (self.folder / location).resolve(), self.folder.resolve()
        if folder not in path.parents:
            raise OnnxError(
                f"{owner} lies in {printed(str(path))}, to which a link leads; expected a file in {printed(str(folder))}"
            )
        try:
            offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(size)))
        except ValueError:
            raise OnnxError(f"{owner} has an offset or a length in {printed(location)} that is no number") from None
        if offset < 0 or length != size:
            raise OnnxError(
                f"{owner} needs {size:,} bytes, and the file tells of {length:,} from {offset:,} on in {printed(location)}"
            )
        try:
            with open_regular(path) as file:
                there = os.fstat(file.fileno()).st_size
                if offset + size > there:
                    raise OnnxError(
                        f"{owner} needs {size:,} bytes from {offset:,} on, and {printed(location)} has {there:,} in all"
                    )
                self._read[path] = self._read.get(path, 0) + size
                if self._read[path] > there:
                    raise OnnxError(
                        f"{owner} and the arrays before it need {self._read[path]:,} bytes, and {printed(location)} has {there:,} in "
                        f"all; save the model with onnx.save, which gives each its own"
                    )
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise OnnxError(
                f"{owner} lies in {printed(location)}, which cannot be read: {error.strerror or error}"
            ) from None


def _dtype_and_shape(proto: Any, owner: str) -> tuple[np.dtype, tuple[int, ...]]:
    """Those of a TensorProto; OnnxError, which calls it `owner`, if no array has them."""
    dtype_of(proto.data_type, owner)
    shape = tuple(proto.dims)
    if len(shape) > MOST_AXES:
        raise OnnxError(f"{owner} has {len(shape):,} axes; an array has at most {MOST_AXES}")
    if min(shape, default=0) < 0 or math.prod(max(size, 1) for size in shape) >= MOST_ELEMENTS:
        raise OnnxError(f"{owner} has no shape that an array can have: {shape_text(shape)}")
    if proto.HasField("segment"):
        raise OnnxError(f"{owner} is a segment of an array; save the model with onnx.save, which writes whole ones")
    return DTYPES[proto.data_type], shape


def _check_range(numbers: np.ndarray, dtype: np.dtype, owner: str) -> None:
    least, most = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if numbers.size and (int(numbers.min()) < least or int(numbers.max()) > most):
        raise OnnxError(f"{owner} has numbers that {dtype} cannot hold")


def _numbers(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Bytes that were read as `dtype`, as numbers that are computed with."""
    if dtype == BFLOAT16:
        return (array.view("<u2").astype("<u4") << 16).view("<f4")
    if dtype == np.float16:
        return array.astype(np.float32)
    return array != 0 if dtype.kind == "b" else array


def _name(dtype: np.dtype) -> str:
    return "bfloat16" if dtype == BFLOAT16 else str(dtype)
