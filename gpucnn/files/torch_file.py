"""The weights in a file that `torch.save` wrote, read without PyTorch, and without running what stands in the file.

Since 1.6 PyTorch writes a zip file: a pickle that tells of tensors, and their storages as entries beside it. Before, it wrote
pickles one after the other, and the storages behind them.
"""

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from gpucnn.files.restricted_pickle import Named, Vocabulary, pairs, read_pickle_from, text
from gpucnn.text import MOST_AXES, names_text, shape_text

ZIP, LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files begin: the zip files of today, and those of PyTorch before 1.6."""

ENTRIES = ("state_dict", "model_state_dict", "model")
"""Under which names checkpoints have the weights beside other things; the first that is there counts."""

BFLOAT16 = np.dtype("V2")
"""NumPy has no such numbers; they are the upper halves of float32."""

DTYPES: dict[str, np.dtype] = {
    "Float": np.dtype("<f4"), "Double": np.dtype("<f8"), "Half": np.dtype("<f2"), "BFloat16": BFLOAT16,
    "Long": np.dtype("<i8"), "Int": np.dtype("<i4"), "Short": np.dtype("<i2"), "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"), "Bool": np.dtype("?"),
}  # fmt: skip
"""By PyTorch's name of a storage's class, without "Storage"."""

DEEPEST = 4
"""Checkpoints in checkpoints."""

MOST_SHARED = 4
"""How often a file's bytes may count, as several tensors can share a storage."""

_LEGACY_VERSION = 1001
_NUMBER = 8
"""Bytes of the length before each storage of an old file."""


class Storage(NamedTuple):
    """Where a file has numbers, one after the other."""

    key: str
    dtype: np.dtype
    numbers: int
    """How many it has."""

    @property
    def nbytes(self) -> int:
        """As many as the numbers take."""
        return self.numbers * self.dtype.itemsize


class SavedTensor(NamedTuple):
    """A tensor that a file tells of: a part of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, content: bytes) -> np.ndarray:
        """Its numbers, of what the storage has, in C order; those of 16 bits as float32."""
        storage = self.storage
        if len(content) != storage.nbytes:
            raise ValueError(f"storage {storage.key} has {len(content):,} bytes, expected {storage.nbytes:,}")
        flat = np.frombuffer(content, storage.dtype if storage.dtype.kind != "b" else np.uint8)[self.offset :]
        size = storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(flat, self.shape, [step * size for step in self.strides])
        return as_numbers(np.array(view, order="C"), storage.dtype)


def as_numbers(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An array that was read as numbers of `dtype`: floats of 16 bits, of either kind, become float32."""
    if dtype == BFLOAT16:
        return (array.view("<u2").astype("<u4") << 16).view("<f4")
    if dtype == np.dtype("<f2"):
        return array.astype("<f4")
    return array != 0 if dtype.kind == "b" else array


class _Storages(Protocol):
    """Where a file's storages are."""

    def read(self, storage: Storage) -> bytes:
        """The bytes of one. ValueError, or what reading raises, if it is not there."""


def read_torch_state(file: BinaryIO) -> tuple[dict[str, np.ndarray], str]:
    """(arrays by name, the entry of a checkpoint that they were in, or "").

    Taken are a state_dict, and a checkpoint that has one as one of `ENTRIES`; only what is taken is read of the storages.
    Raises ValueError, or what zipfile, pickletools and NumPy raise, for a damaged file, and for one which names anything but
    OrderedDict, tensors, parameters and storages: nothing of it is run.
    """
    start = file.read(len(LEGACY))
    file.seek(0)
    storages: _Storages
    if start.startswith(ZIP):
        archive = _Archive(file)
        value, storages = archive.value(), archive
    else:
        value, storages = _read_legacy(file)
    tensors, entry = _state_of(value, 0)
    size, kept = file.seek(0, io.SEEK_END), dict.fromkeys(tensor.storage for tensor in tensors.values())
    if sum(storage.nbytes for storage in kept) > size or sum(map(_nbytes, tensors.values())) > MOST_SHARED * size:
        raise ValueError(f"more tensors than there can be in a file of {size:,} bytes")
    contents = {storage: storages.read(storage) for storage in kept}
    return {name: tensor.array(contents[tensor.storage]) for name, tensor in tensors.items()}, entry


def _nbytes(tensor: SavedTensor) -> int:
    return math.prod(tensor.shape) * tensor.storage.dtype.itemsize


def _state_of(value: Any, depth: int) -> tuple[dict[str, SavedTensor], str]:
    """The tensors by name in what a file holds, and the entry that they were in."""
    entries = {text(key): item for key, item in value.items()} if isinstance(value, dict) else {}
    name = next((name for name in ENTRIES if isinstance(entries.get(name), dict)), None)
    if name is not None and depth < DEEPEST:
        return _state_of(entries[name], depth + 1)[0], name
    tensors = {key: item for key, item in entries.items() if key and isinstance(item, SavedTensor)}
    if not tensors:
        what = f"entries {names_text(list(entries), 4)}" if entries else f"a {type(value).__name__}"
        raise ValueError(f"it holds no tensors by name, but {what}")
    return tensors, ""


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _requires_grad: Any = False, _hooks: Any = None, metadata: Any = None
) -> SavedTensor:  # fmt: skip
    """What `torch._utils._rebuild_tensor_v2` makes, and before 0.4 `_rebuild_tensor`. ValueError if it leaves its storage."""
    sizes = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
    sizes_fit = all(type(number) is int and 0 <= number < 1 << 48 for number in sizes) and len(shape) == len(strides)
    if not isinstance(storage, Storage) or not sizes_fit or len(shape) > MOST_AXES:
        raise ValueError("a tensor that is described wrongly")
    if metadata:
        raise ValueError("a tensor whose values are conjugated or negated as they are read")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if count and (last >= storage.numbers or count > storage.numbers):
        raise ValueError(
            f"a tensor {shape_text(shape)} with strides {shape_text(strides)} from {offset:,} on, in a storage of {storage.numbers:,}"
        )
    return SavedTensor(storage, offset if count else 0, shape, strides)


def _parameter(tensor: Any, *_: Any) -> SavedTensor:
    """What `torch._utils._rebuild_parameter` makes, and PyTorch's `Parameter` itself before 0.4."""
    if not isinstance(tensor, SavedTensor):
        raise ValueError("a parameter that is no tensor")
    return tensor


def _ordered(items: Any = ()) -> dict[Any, Any]:
    """An OrderedDict, empty, or of pairs as Python 2 writes it."""
    if not isinstance(items, list | tuple) or not all(
        isinstance(item, list | tuple) and len(item) == 2 for item in items
    ):
        raise ValueError("an OrderedDict that is described wrongly")
    return pairs([part for item in items for part in item])


def _set_state(made: Any, state: Any) -> None:
    """Pass over what says nothing of numbers: the versions of layers in a state_dict, the hooks of a parameter."""
    if not isinstance(made, dict | SavedTensor):
        raise ValueError("it sets the state of what has none")


_MAKERS: dict[str, Callable[..., Any] | None] = {
    "collections OrderedDict": _ordered,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch.nn.parameter Parameter": _parameter,
    **{f"torch {name}Storage": None for name in DTYPES},
}
"""By module and name, what stands for it; nothing else is taken, and PyTorch's own is never called."""


def _storage(identity: Any) -> Storage:
    """The storage of a persistent identity: ("storage", its class, key, device, count), in old files with None behind it."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or text(identity[0]) != "storage":
        raise ValueError("it keeps outside of its pickle what is no storage")
    _, kind, key, _, count, *view = identity
    name = kind.name.removeprefix("torch ").removesuffix("Storage") if isinstance(kind, Named) else ""
    if name not in DTYPES or not text(key) or type(count) is not int or not 0 <= count < 1 << 48:
        raise ValueError("a storage that is described wrongly")
    if view not in ([], [None]):
        raise ValueError("a storage that is a part of another, as PyTorch before 0.4 has them")
    return Storage(text(key), DTYPES[name], count)


_WORDS = Vocabulary(_MAKERS, _set_state, _storage, frozenset({"STRING"}))


class _Archive:
    """A zip file of `torch.save`."""

    def __init__(self, file: BinaryIO) -> None:
        self.archive = zipfile.ZipFile(file)
        names = self.archive.namelist()
        tops = [name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(tops) != 1:
            raise ValueError("a zip file, and none of torch.save")
        self.top = tops[0]
        if f"{self.top}constants.pkl" in names:
            raise ValueError("a TorchScript program; load it with torch.jit.load")
        order = f"{self.top}byteorder"
        if order in names and self._content(order) != b"little":
            raise ValueError("numbers in big-endian order")

    def value(self) -> Any:
        """What the pickle tells."""
        return read_pickle_from(io.BytesIO(self._content(f"{self.top}data.pkl")), _WORDS)

    def read(self, storage: Storage) -> bytes:
        """The bytes of a storage."""
        return self._content(f"{self.top}data/{storage.key}")

    def _content(self, name: str) -> bytes:
        info = self.archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"{name} is compressed, as torch.save does not")
        return self.archive.read(info)


class _Behind:
    """The storages of an old file, which lie behind its pickles."""

    def __init__(self, file: BinaryIO, places: Mapping[str, int]) -> None:
        self.file, self.places = file, places

    def read(self, storage: Storage) -> bytes:
        """The bytes of a storage."""
        self.file.seek(self.places[storage.key])
        return self.file.read(storage.nbytes)


def _read_legacy(file: BinaryIO) -> tuple[Any, _Behind]:
    """What an old file holds, and where its storages are."""
    plain = Vocabulary({}, _set_state, refused=_WORDS.refused)
    read_pickle_from(file, plain)  # the number by which the file is known
    version, system = read_pickle_from(file, plain), read_pickle_from(file, plain)
    if version != _LEGACY_VERSION:
        raise ValueError(f"version {version!r} of PyTorch's old files, expected {_LEGACY_VERSION}")
    if (
        not isinstance(system, dict)
        or {text(key): item for key, item in system.items()}.get("little_endian") is not True
    ):
        raise ValueError("numbers in big-endian order")
    storages: dict[str, Storage] = {}

    def noted(identity: Any) -> Storage:
        found = _storage(identity)
        return storages.setdefault(found.key, found)

    value = read_pickle_from(file, _WORDS._replace(persistent=noted))
    keys = read_pickle_from(file, plain)
    if not isinstance(keys, list) or sorted(map(text, keys)) != sorted(storages):
        raise ValueError("other storages than its tensors name")
    places, start = {}, file.tell()
    for key in map(text, keys):
        file.seek(start)
        numbers, expected = int.from_bytes(file.read(_NUMBER), "little", signed=True), storages[key].numbers
        if numbers != expected:
            raise ValueError(f"storage {key} has {numbers:,} numbers, expected {expected:,}")
        places[key] = start + _NUMBER
        start += _NUMBER + storages[key].nbytes
    return value, _Behind(file, places)
