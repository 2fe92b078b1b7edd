"""Weights by name from files of others, and of gpucnn: safetensors, and what `torch.save` writes."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.checks import as_path
from gpucnn.errors import StateError
from gpucnn.files.torch_file import BFLOAT16, LEGACY, ZIP, as_numbers, read_torch_state
from gpucnn.regular_file import open_regular
from gpucnn.text import value_text
from gpucnn.text_table import shortened

LONGEST = 200
"""Columns of what libraries say of a file that they cannot read."""

TAR = 257, b"ustar"
"""Where the files of the first PyTorch, tar files, have this word."""

KINDS: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16, "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
"""What safetensors calls the dtypes that are read."""


class SavedWeights(NamedTuple):
    """What a file of weights holds."""

    path: Path
    arrays: dict[str, np.ndarray]
    """By name, as the file has them; floats of 16 bits as float32."""
    entry: str
    """Under which name a checkpoint had them beside other things; "" if they were all there is."""
    create: dict[str, Any] | None
    """The arguments of `models.create` that gpucnn wrote with them; None in files of others."""


def read_weights(path: str | os.PathLike[str]) -> SavedWeights:
    """The weights in a file of safetensors, or of `torch.save`: a state_dict, or a checkpoint that has one.

    PyTorch is not needed, and nothing that stands in a file is run. Raises StateError, which names the file, and what it is
    refused for: it is missing, damaged, of another kind, or names what could run anything.
    """
    path = as_path(path, "weights")
    try:
        with open_regular(path) as file:
            start = file.read(TAR[0] + len(TAR[1]))
            file.seek(0)
            if start.startswith((ZIP, LEGACY)):
                arrays, entry = read_torch_state(file)
                return SavedWeights(path, arrays, entry, None)
            if start[TAR[0] :] == TAR[1]:
                raise ValueError("a tar file, as the first PyTorch wrote; load and save it with a newer one")
            if start[8:9] == b"{":
                return _read_safetensors(path, file.read())
            if start.startswith(b"\x80"):
                raise ValueError("a pickle, and none of torch.save")
            raise ValueError("neither safetensors nor what torch.save writes")
    except IsADirectoryError:
        raise StateError(
            f"{path}: a folder, expected a file of weights; of a run of gpucnn give its best.safetensors or model.safetensors"
        ) from None
    except FileNotFoundError:
        raise StateError(f"{path}: no such file of weights; give a file of safetensors, or one of torch.save") from None
    except OSError as error:
        raise StateError(f"{path}: cannot be read ({error.strerror or error})") from None
    except MemoryError:
        raise
    except Exception as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise StateError(
            f"{path}: not weights that can be read ({shortened(' '.join(reason.split()), LONGEST)}); nothing of it was run; save "
            f"weights alone, with torch.save(model.state_dict(), PATH), or as safetensors"
        ) from None


def _read_safetensors(path: Path, content: bytes) -> SavedWeights:
    from safetensors import deserialize

    arrays = {}
    for name, found in deserialize(content):  # type: ignore[no-untyped-call]
        if found["dtype"] not in KINDS:
            raise ValueError(f"{value_text(name)} is of dtype {found['dtype']}, expected one of {', '.join(KINDS)}")
        dtype = KINDS[found["dtype"]]
        flat = np.frombuffer(found["data"], np.uint8 if dtype.kind == "b" else dtype)
        arrays[name] = as_numbers(flat.reshape(found["shape"]), dtype)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    written = json.loads(header.get("__metadata__", {}).get("gpucnn", "null"))
    return SavedWeights(path, arrays, "", written if isinstance(written, dict) else None)
