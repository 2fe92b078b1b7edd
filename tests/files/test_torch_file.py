"""Files that PyTorch wrote are read without it, to the bit; what is hostile or damaged is refused, and nothing of it runs."""

import io
import json
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import StateError
from gpucnn.files.weights_file import read_weights
from tests.files.torch_examples import EXPECTED, FILES, FOLDER

ZIP, LEGACY = ((FOLDER / name).read_bytes() for name in FILES)


def written(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "weights.pth").write_bytes(content)
    return tmp_path / "weights.pth"


def rezipped(members: Mapping[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The zip file with other members, by their names in it; None leaves one out."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ZIP)) as old, zipfile.ZipFile(content, "w", compression) as new:
        (top,) = {name.partition("/")[0] for name in old.namelist()}
        kept = {name.removeprefix(f"{top}/"): old.read(name) for name in old.namelist()}
        for name, member in {**kept, **members}.items():
            if member is not None:
                new.writestr(f"{top}/{name}", member)
    return content.getvalue()


def pickle_of_zip() -> bytes:
    with zipfile.ZipFile(io.BytesIO(ZIP)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


def changed(before: bytes, after: bytes) -> bytes:
    """The zip file with something else in its pickle."""
    assert before in pickle_of_zip()
    return rezipped({"data.pkl": pickle_of_zip().replace(before, after)})


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_is_what_pytorch_wrote(name: str) -> None:
    found = read_weights(FOLDER / name)
    assert (found.path, found.entry, found.create) == (FOLDER / name, "", None)
    assert list(found.arrays) == list(EXPECTED)
    for path, expected in EXPECTED.items():
        assert (path, found.arrays[path].dtype, found.arrays[path].shape) == (path, expected.dtype, expected.shape)
        assert found.arrays[path].tobytes() == np.ascontiguousarray(expected).tobytes(), path


@pytest.mark.parametrize("name", FILES)
def test_pytorch_is_not_imported(name: str) -> None:
    before = set(sys.modules)
    read_weights(FOLDER / name)
    assert not any(module.partition(".")[0] == "torch" for module in set(sys.modules) - before)


class Runs:
    """What pickle.load would call a function for."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: dict[str, tuple[Any, str]] = {
    "a command": (Runs(__import__("os").system, "touch planted"), r"it names (posix|nt)\.system, which could run anything"),
    "code": (Runs(eval, "open('planted', 'w')"), r"it names (__builtin__|builtins)\.eval, which could run anything"),
    "a way around": (Runs(getattr, OrderedDict, "fromkeys"), r"it names (__builtin__|builtins)\.getattr, which"),
    "a class of one's own": (Runs(Runs, 1), r"it names .*\.Runs, which could run anything"),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_planted_file_runs_nothing_and_is_refused_by_name(case: str, protocol: int, in_tmp_path: Path) -> None:
    planted, message = HOSTILE[case]
    content = pickle.dumps({"state_dict": OrderedDict(), "epoch": planted}, protocol)
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    for whole in (rezipped({"data.pkl": content}), head + content, head + pickle.dumps([], 2) + content):
        path = written(in_tmp_path, whole)
        with pytest.raises(
            StateError, match=message if head + content == whole or whole[:2] == b"PK" else "."
        ) as raised:
            read_weights(path)
        assert str(raised.value).startswith(f"{path}: not weights that can be read (")
        assert "; nothing of it was run; save weights alone, with torch.save(model.state_dict(), PATH)" in str(
            raised.value
        )
        assert not (in_tmp_path / "planted").exists()


FLOAT = b"ctorch\nFloatStorage\n"
DAMAGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no storage": (lambda: rezipped({"data/0": None}), "There is no item named .*/data/0"),
    "a short storage": (lambda: rezipped({"data/0": b"\0" * 92}), "storage 0 has 92 bytes, expected 96"),
    "a long storage": (lambda: rezipped({"data/0": b"\0" * 100}), "storage 0 has 100 bytes, expected 96"),
    "other numbers": (lambda: changed(FLOAT, b"ctorch\nDoubleStorage\n"), "storage 0 has 96 bytes, expected 192"),
    "complex numbers": (lambda: changed(FLOAT, b"ctorch\nComplexFloatStorage\n"), r"it names torch\.ComplexFloatStorage"),
    "no storage's class": (lambda: changed(FLOAT, b"ctorch.nn.parameter\nParameter\n"), "a storage that is described wrongly"),
    "an index beyond": (lambda: changed(b"K\x02K\x03K\x04\x87", b"K\x02K\x03K\x05\x87"), r"a tensor \(2, 3, 5\) with strides \(12, 4, 1\) from 0 on, in a storage of 24"),
    "a stride beyond": (lambda: changed(b"K\x0cK\x04K\x01\x87", b"K\x0dK\x04K\x01\x87"), r"with strides \(13, 4, 1\) from 0 on, in a storage of 24"),
    "a huge expanded one": (lambda: changed(b"K\x02K\x03K\x04\x87q\tK\x0cK\x04K\x01\x87", b"J\0\0\0\x7fK\x03K\x04\x87q\tK\0K\0K\0\x87"), "from 0 on, in a storage of 24"),
    "a negative stride": (lambda: changed(b"K\x0cK\x04K\x01\x87", b"J\xff\xff\xff\xffK\x04K\x01\x87"), "a tensor that is described wrongly"),
    "sizes without strides": (lambda: changed(b"K\x0cK\x04K\x01\x87", b"K\x04K\x01\x86"), "a tensor that is described wrongly"),
    "big-endian": (lambda: rezipped({"byteorder": b"big"}), "numbers in big-endian order"),
    "big-endian, legacy": (lambda: LEGACY.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "numbers in big-endian order"),
    "compressed": (lambda: rezipped({}, zipfile.ZIP_DEFLATED), "is compressed, as torch.save does not"),
    "a program": (lambda: rezipped({"constants.pkl": b""}), "a TorchScript program; load it with torch.jit.load"),
    "another zip file": (lambda: rezipped({"data.pkl": None}), "a zip file, and none of torch.save"),
    "no tensors": (lambda: rezipped({"data.pkl": pickle.dumps({"a": 1, "b": "c"}, 2)}), "it holds no tensors by name, but entries a, b"),
    "a list": (lambda: rezipped({"data.pkl": pickle.dumps([1], 2)}), "it holds no tensors by name, but a list"),
    "entries in themselves": (lambda: rezipped({"data.pkl": b"\x80\x02}q\0X\5\0\0\0modelh\0s."}), "it holds no tensors by name, but entries model"),
    "a text's opcode": (lambda: rezipped({"data.pkl": b"\x80\x02S'\\q'\n."}), "it has the opcode STRING"),
    "bits that do not fit": (lambda: ZIP.replace(b"\0\0\x80\xbf", b"\0\0\x81\xbf", 1), "Bad CRC-32"),
    "more numbers than bytes": (lambda: changed(b"K\x18tq", b"J\0\0\0\x7ftq"), "more tensors than there can be in a file of"),
    "more numbers than bytes, legacy": (lambda: LEGACY.replace(b"K\x18Nt", b"J\0\0\0\x7fNt"), "storage .* has 24 numbers, expected 2,130,706,432"),
    "another count, legacy": (lambda: LEGACY.replace((24).to_bytes(8, "little"), (25).to_bytes(8, "little"), 1), "storage .* has 25 numbers, expected 24"),
    "other keys, legacy": (lambda: LEGACY.replace(b"\x80\x02]q\0(X\x0e\0\0\x009", b"\x80\x02]q\0(X\x0e\0\0\x008"), "other storages than its tensors name"),
    "a tar file": (lambda: b"\0" * 257 + b"ustar" + b"\0" * 500, "a tar file, as the first PyTorch wrote"),
    "a plain pickle": (lambda: pickle.dumps({"a": np.zeros(3)}), "a pickle, and none of torch.save"),
    "something else": (lambda: b"weights!", "neither safetensors nor what torch.save writes"),
    "nothing": (lambda: b"", "neither safetensors nor what torch.save writes"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_refused(case: str, tmp_path: Path) -> None:
    make, message = DAMAGED[case]
    path = written(tmp_path, make())
    with pytest.raises(StateError, match=message) as raised:
        read_weights(path)
    assert str(raised.value).startswith(f"{path}: not weights that can be read (")


@pytest.mark.parametrize("content", [ZIP, LEGACY], ids=FILES)
def test_a_file_cut_off_anywhere(content: bytes, tmp_path: Path) -> None:
    for kept in {*range(0, len(content), 97), len(content) - 1}:
        with pytest.raises(StateError, match=r"weights\.pth: not weights that can be read \("):
            read_weights(written(tmp_path, content[:kept]))


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        StateError, match=r"no: no such file of weights; give a file of safetensors, or one of torch\.save"
    ):
        read_weights(tmp_path / "no")
    with pytest.raises(
        StateError, match="a folder, expected a file of weights; of a run of gpucnn give its best.safetensors"
    ):
        read_weights(tmp_path)


def test_files_of_before_0_4_have_parameters_themselves(tmp_path: Path) -> None:
    """Its pickles, put together as they were then: no `_rebuild_tensor_v2`, and the class Parameter with a state."""
    before = b"ctorch._utils\n_rebuild_tensor_v2\n"
    old = pickle_of_zip().replace(before, b"ctorch._utils\n_rebuild_tensor\n")
    assert read_weights(written(tmp_path, rezipped({"data.pkl": old}))).arrays["half"][0] == 1.5
    tensor = b"ctorch._utils\n_rebuild_tensor\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\x18tQK\2K\3\x85K\4\x85tR"
    state = (
        b"\x80\x02ccollections\nOrderedDict\n]]U\1aactorch.nn.parameter\nParameter\n"
        + tensor
        + b"\x85R(\x88\x89Ntbaa\x85R."
    )
    found = read_weights(written(tmp_path, rezipped({"data.pkl": state})))
    np.testing.assert_array_equal(found.arrays["a"], EXPECTED["conv.weight"].reshape(-1)[2:14:4])


@pytest.mark.parametrize("entry", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_has_weights_as_one_of_its_entries(entry: str, tmp_path: Path) -> None:
    whole = pickle_of_zip()
    assert whole.startswith(b"\x80\x02")
    name = entry.encode()
    wrapped = (
        b"\x80\x02}(X\5\0\0\0epochK\3X\4\0\0\0bestG?\xe0\0\0\0\0\0\0X"
        + len(name).to_bytes(4, "little")
        + name
        + whole[2:-1]
        + b"u."
    )
    found = read_weights(written(tmp_path, rezipped({"data.pkl": wrapped})))
    assert found.entry == entry
    assert list(found.arrays) == list(EXPECTED)


SAFE = {
    "F64": ([1 / 3], np.float64), "F32": ([0.1], np.float32), "F16": ([1.5, -0.25], np.float16), "I64": ([1 << 40], np.int64),
    "I32": ([-5], np.int32), "I16": ([-5], np.int16), "I8": ([-5], np.int8), "U8": ([250], np.uint8), "BOOL": ([True, False], np.bool_),
}  # fmt: skip


def safetensors(tensors: Mapping[str, tuple[str, list[int], bytes]], **metadata: str) -> bytes:
    """A file as its format's page says: the header's length, the header in JSON, the bytes."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    place = 0
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(content)]}
        place += len(content)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(content for *_, content in tensors.values())


def test_safetensors_of_every_dtype(tmp_path: Path) -> None:
    tensors = {
        dtype: (dtype, [len(values)], np.array(values, kind).tobytes()) for dtype, (values, kind) in SAFE.items()
    }
    tensors["BF16"] = "BF16", [2, 1], b"\x80\x3f\x20\xc0"
    found = read_weights(written(tmp_path, safetensors(tensors)))
    assert found.create is None
    for dtype, (values, kind) in SAFE.items():
        expected = np.array(values, np.float32 if kind is np.float16 else kind)
        assert (found.arrays[dtype].dtype, found.arrays[dtype].tolist()) == (expected.dtype, expected.tolist())
    np.testing.assert_array_equal(found.arrays["BF16"], np.array([[1.0], [-2.5]], np.float32))
    assert found.arrays["BF16"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors({"a": ("F8_E4M3", [1], b"0")}), "'a' is of dtype F8_E4M3, expected one of F64, F32, F16, BF16"),
        (safetensors({"a": ("F32", [2], b"0000")}), "invalid shape, data type, or offset"),
        (safetensors({"a": ("F32", [1], b"0000")})[:-1], "Incomplete|MetadataIncompleteBuffer"),
        (b"\xff" * 7 + b"\0{}", "HeaderTooLarge|InvalidHeader|header too large"),
    ],
)
def test_damaged_safetensors(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=f"(?i){message}"):
        read_weights(written(tmp_path, content))


def test_what_gpucnn_wrote_tells_its_model(tmp_path: Path) -> None:
    content = {"a": ("F32", [1], b"0000")}
    found = read_weights(written(tmp_path, safetensors(content, gpucnn='{"name": "resnet20"}')))
    assert found.create == {"name": "resnet20"}
    assert read_weights(written(tmp_path, safetensors(content, gpucnn="[1]"))).create is None


def test_a_list_that_is_copied_again_and_again_is_refused(tmp_path: Path) -> None:
    """A small file could else fill all memory: it names one long list, and has a dict made of it at every mention."""
    pairs = b"".join(b"(J" + number.to_bytes(4, "little") + b"K\x01t" for number in range(1000))
    pickled = b"\x80\x02(ccollections\nOrderedDict\nq\x00(" + pairs + b"lq\x01" + b"h\x00h\x01\x85R" * 1_000 + b"t."
    path = tmp_path / "many.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("many/data.pkl", pickled)
    with pytest.raises(StateError, match="it would have one thing copied again and again"):
        read_weights(path)
