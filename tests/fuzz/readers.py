"""All that reads files, each with valid files to start from, changed ones to try, and what must hold if one is read."""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from PIL import Image
from safetensors.numpy import save
from scipy.io import savemat

from gpucnn import Tensor, load_onnx, models
from gpucnn.backend import Device, user_cache
from gpucnn.checks import is_int
from gpucnn.cli.runs import as_json, lines
from gpucnn.data import ImageFolder, Preprocess, read_cifar10, read_idx, read_image, tar_file
from gpucnn.data.cifar import read_cifar100
from gpucnn.data.mnist import find_mnist
from gpucnn.data.npy_images import NpyImages
from gpucnn.data.parquet_images import ParquetImages
from gpucnn.data.svhn import read_svhn
from gpucnn.data.tar_images import TarImages
from gpucnn.errors import GpucnnError, StateError
from gpucnn.files.checkpoint_file import _checksum
from gpucnn.files.weights_file import read_weights
from gpucnn.onnx_model.operators import values
from gpucnn.optim import ReduceOnPlateau
from gpucnn.text import is_printed
from gpucnn.training import EarlyStopping, RunConfig, RunFolder, Trainer, list_runs, load_checkpoint, save_checkpoint
from tests.data.idx_files import idx
from tests.data.parquet_files import write
from tests.data.set_files import pixels, python_2_batch, write_batch, write_table
from tests.data.tar_files import tar
from tests.files.torch_examples import FOLDER
from tests.fuzz.mutation import mutated, mutated_json
from tests.fuzz.onnx_changes import changed_model
from tests.onnx_model.small_files import BESIDE, content_beside, small_files
from tests.training.small_run import assert_same, small_trainer

CREATE = {"name": "mlp", "num_classes": 3, "in_channels": 1, "image_size": 4}
CONFIG = {
    "create": CREATE,
    "preprocess": {"channels": 1, "native_size": 4, "image_size": 4, "full_scale": 255, "fit": "pad"},
    "class_names": ["a", "b", "c"],
    **RunConfig(model="mlp", augment=("flip", "shift:1"), logs=("csv",), optimizer="sgd:momentum=0.5").to_json(),
    "versions": {"gpucnn": "1.0", "numpy": "2.0", "python": "3.11"},
}
NAMES_OF_CONFIG = [key.encode() for key in CONFIG]


class Reader(ABC):
    """One reader, in a folder of its own. A changed file is written to `file_name` there."""

    name: ClassVar[str]
    file_name: ClassVar[str]
    tokens: ClassVar[Sequence[bytes]] = ()
    """What stands in such files, to be put in other places."""
    unnamed: ClassVar[tuple[type[GpucnnError], ...]] = ()
    """Errors that cannot know the file, as they come of what was read from it."""
    may_lack_memory: ClassVar[bool] = False
    """Whether a library asks for as much memory as a file promises, and touches no more than is filled."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / self.file_name
        self.path.parent.mkdir(parents=True)
        self.valid = self.valid_files()
        self.path.write_bytes(self.valid[0])
        self.prepare()

    @abstractmethod
    def valid_files(self) -> list[bytes]:
        """Contents that can be read."""

    def prepare(self) -> None:  # noqa: B027 (most have none)
        """Write the files beside the changed one, in whose place the first valid file is."""

    def changed(self, draw: np.random.Generator) -> bytes:
        """A file to try."""
        return mutated(self.valid[draw.integers(len(self.valid))], self.valid, self.tokens, draw)

    @abstractmethod
    def read(self) -> None:
        """Read the changed file; an AssertionError if what comes out cannot be right."""


class Idx(Reader):
    name, file_name = "IDX", "images"

    def valid_files(self) -> list[bytes]:
        return [idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)), idx(np.zeros((1, 28, 28), np.uint8))]

    def read(self) -> None:
        images = read_idx(self.path, 3)
        assert (images.dtype, images.ndim) == (np.dtype(np.uint8), 3)
        assert images.nbytes < 1 << 25


class IdxGzip(Idx):
    name, file_name = "IDX, gzip", "images.gz"

    def valid_files(self) -> list[bytes]:
        return [gzip.compress(content, mtime=0) for content in super().valid_files()]

    def changed(self, draw: np.random.Generator) -> bytes:
        """Every other time a change before the compression."""
        if draw.integers(2):
            return super().changed(draw)
        plain = [gzip.decompress(content) for content in self.valid]
        return gzip.compress(mutated(plain[0], plain, (), draw), mtime=0)


class Cifar(Reader):
    name, file_name = "CIFAR-10", "data_batch_1.bin"

    def valid_files(self) -> list[bytes]:
        return [bytes([label]) + bytes(3072) + bytes([9]) + bytes(range(256)) * 12 for label in (0, 5)]

    def prepare(self) -> None:
        (self.folder / "test_batch.bin").write_bytes(self.valid[0])

    def read(self) -> None:
        images, labels, _, _ = read_cifar10(self.folder)
        assert images.shape == (len(labels), 3, 32, 32)
        assert labels.max() < 10


class CifarPython(Reader):
    """Pickles, changed as bytes, and in what their opcodes say."""

    name, file_name = "CIFAR-10, Python", "data_batch_1"
    tokens = (b"cposix\nsystem\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"R", b"b", b"(", b"t", b"\x85", b"}", b"]", b"e", b"u", b"s", b".",
              b"\x8e" + b"\xff" * 8, b"T\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f",
              b"\x95" + b"\xff" * 8, b"Q", b"I9\n", b"L" + b"9" * 5000 + b"L\n", b"\x93", b"\x96" + b"\x7f" * 8)  # fmt: skip

    def valid_files(self) -> list[bytes]:
        path, files = self.folder / "valid", []
        for protocol in (0, 2, 5):
            write_batch(path, pixels(2, 3, 32, 32) % 16, protocol, labels=[3, 9])
            files.append(path.read_bytes())
        path.unlink()
        return [*files, python_2_batch(pixels(2, 3, 32, 32), [1, 0])]

    def prepare(self) -> None:
        (self.folder / "test_batch").write_bytes(self.valid[1])

    def changed(self, draw: np.random.Generator) -> bytes:
        """Every other time within the opcodes alone, as pixels are most of the bytes."""
        content = self.valid[draw.integers(len(self.valid))]
        if draw.integers(2):
            return mutated(content, self.valid, self.tokens, draw)
        start = content.find(b"data") - 40
        end = start + 260
        return (
            content[: max(start, 0)]
            + mutated(content[max(start, 0) : end], self.valid, self.tokens, draw)
            + content[end:]
        )

    def read(self) -> None:
        images, labels, _, _ = read_cifar10(self.folder)
        assert (images.dtype, images.shape) == (np.dtype(np.uint8), (len(labels), 3, 32, 32))
        assert labels.max() < 10


class Cifar100(Reader):
    name, file_name = "CIFAR-100", "train.bin"

    def valid_files(self) -> list[bytes]:
        return [bytes([label, 99 - label]) + bytes(3072) for label in (0, 19)]

    def prepare(self) -> None:
        (self.folder / "test.bin").write_bytes(self.valid[0])

    def read(self) -> None:
        found = read_cifar100(self.folder, "coarse")
        assert found.train_images.shape == (len(found.train_labels), 3, 32, 32)
        assert found.train_labels.max() < 20


class Cifar100Names(Cifar100):
    name, file_name = "CIFAR-100, names", "coarse_label_names.txt"
    tokens = (b"\n", b"\r", b"\0", b"\xff", "\u2028".encode(), b"a\n" * 40)

    def valid_files(self) -> list[bytes]:
        return ["\n".join(f"name {place}" for place in range(20)).encode() + end for end in (b"", b"\n")]

    def prepare(self) -> None:
        for name in ("train.bin", "test.bin"):
            (self.folder / name).write_bytes(super().valid_files()[0])

    def read(self) -> None:
        super().read()
        names = read_cifar100(self.folder, "coarse").class_names
        assert len(set(names)) == 20
        assert all(map(str.isprintable, names))


class Mat(Reader):
    """SVHN's files, changed as they are, and before their arrays are compressed."""

    name, file_name = "SVHN", "train_32x32.mat"
    tokens = (b"\x0e\0\0\0", b"\x0f\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\1\0X\0\0\0", b"\6\0\0\0\x08\0\0\0", b"MI",
              b"\x11\0\0\0", b"\2\0\0\0\xff\xff\xff\xff")  # fmt: skip

    def valid_files(self) -> list[bytes]:
        files = []
        for compress in (False, True):
            for kind in (np.uint8, np.float64):
                content = io.BytesIO()
                arrays = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [10]], kind)}
                savemat(content, arrays, do_compression=compress)
                files.append(content.getvalue())
        return files

    def prepare(self) -> None:
        (self.folder / "test_32x32.mat").write_bytes(self.valid[0])

    def changed(self, draw: np.random.Generator) -> bytes:
        """Two times of three within what describes an array, as pixels are most of the bytes; then maybe compressed."""
        if draw.integers(3) == 0:
            return super().changed(draw)
        content = self.valid[draw.integers(2)]
        end = 128 + 8 + int.from_bytes(content[132:136], "little")
        described = mutated(content[128:200], [content], self.tokens, draw) + content[200:end]
        if draw.integers(2):
            described = zlib.compress(described)
            described = struct.pack("<II", 15, len(described)) + described
        return content[:128] + described + content[end:]

    def read(self) -> None:
        found = read_svhn(self.folder)
        assert found.train_images.shape == (len(found.train_labels), 3, 32, 32)
        assert found.train_labels.max() < 10


class Npz(Reader):
    """Keras's mnist.npz, changed as it is, and in one of its arrays."""

    name, file_name = "mnist.npz", "mnist.npz"
    tokens = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04", b"\xff\xff\xff\xff", b"\x0e\0", b"\x0c\0", b"\x5d\0")

    def valid_files(self) -> list[bytes]:
        files = []
        for save_arrays in (np.savez, np.savez_compressed):
            content = io.BytesIO()
            save_arrays(content, **self.arrays())
            files.append(content.getvalue())
        return files

    @staticmethod
    def arrays() -> dict[str, Any]:
        images, labels = np.zeros((2, 28, 28), np.uint8), np.array([3, 9])
        return {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}

    def changed(self, draw: np.random.Generator) -> bytes:
        if draw.integers(2):
            return super().changed(draw)
        content = io.BytesIO()
        which = list(self.arrays())[draw.integers(4)]
        compression = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)[draw.integers(4)]
        with zipfile.ZipFile(content, "w", compression) as archive:
            for name, array in self.arrays().items():
                inside = io.BytesIO()
                np.save(inside, array)
                plain = inside.getvalue()
                # A constant time, so that the number of a file decides it.
                entry = zipfile.ZipInfo(f"{name}.npy")
                entry.compress_type = compression if name == which else zipfile.ZIP_DEFLATED
                changed = mutated(plain[:140], [plain], Npy.tokens, draw) + plain[140:]
                archive.writestr(entry, changed if name == which else plain)
        return content.getvalue()

    def read(self) -> None:
        found = find_mnist(self.folder)
        assert found.train_images.shape == (len(found.train_labels), 1, 28, 28)
        assert 0 <= found.train_labels.min() <= found.train_labels.max() < 10


class Table(Reader):
    """Kaggle's tables."""

    name, file_name = "Kaggle's table", "train.csv"
    tokens = (
        b",",
        b"\n",
        b'"',
        b"\0",
        b"\xff",
        b"label",
        b"-1",
        b"1.0",
        b"nan",
        b"9" * 30,
        b"#",
        b"\r",
        b"\xef\xbb\xbf",
        b" ",
        b"256",
        b"\n\n",
    )

    def valid_files(self) -> list[bytes]:
        files = []
        for labels, header in (([1, 2, 0, 3], True), ([1, 2, 0, 3], False)):
            write_table(self.folder / "valid", pixels(4, 28, 28), labels, header)
            files.append((self.folder / "valid").read_bytes())
        (self.folder / "valid").unlink()
        return files

    def read(self) -> None:
        found = find_mnist(self.folder)
        assert found.train_images.shape == (len(found.train_labels), 1, 28, 28)
        assert 0 <= found.train_labels.min() <= found.train_labels.max() < 10


class Picture(Reader):
    """Image files, by their format."""

    format: ClassVar[str]
    modes: ClassVar[Sequence[str]]
    preprocesses = (Preprocess(1, 8, 8, 16, "pad"), Preprocess(3, 5, 9, 255, "resize"))

    def valid_files(self) -> list[bytes]:
        files = []
        for mode in self.modes:
            pixels = np.arange(16 * 12 * 3, dtype=np.uint32).astype(np.uint8).reshape(12, 16, 3)
            source = Image.fromarray(pixels if mode == "RGB" else pixels[:, :, 0])
            exif = Image.Exif()
            exif[0x0112] = 6  # turned by 90 degrees
            content = io.BytesIO()
            source.convert(mode).save(
                content, self.format, **({"exif": exif} if self.format in ("PNG", "JPEG") else {})
            )
            files.append(content.getvalue())
        return files

    def read(self) -> None:
        for preprocess in self.preprocesses:
            image = read_image(self.path, preprocess)
            assert (image.dtype, image.shape) == (
                np.dtype(np.uint8),
                (1, preprocess.channels, *[preprocess.native_size] * 2),
            )
            assert image.max() <= preprocess.full_scale


class Png(Picture):
    name, file_name, format, modes = "PNG", "image.png", "PNG", ("RGB", "L", "P", "RGBA", "LA", "1", "I;16")
    tokens = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fdAT", b"iCCP", b"\0\0\0\0IEND")

    def changed(self, draw: np.random.Generator) -> bytes:
        """Every other time a change within a chunk whose checksum is right, or within what is compressed there."""
        if draw.integers(2):
            return super().changed(draw)
        content, chunks, place = self.valid[draw.integers(len(self.valid))], [], 8
        while place < len(content):
            length = int.from_bytes(content[place : place + 4], "big")
            chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
            place += 12 + length
        number = int(draw.integers(len(chunks)))
        kind, inside = chunks[number]
        if kind == b"IDAT" and draw.integers(2):
            plain = zlib.decompress(inside)
            chunks[number] = kind, zlib.compress(mutated(plain, [plain], (), draw))
        else:
            others = [other for _, other in chunks]
            chunks[number] = kind, mutated(inside, others, (), draw)
        if draw.integers(4) == 0:
            chunks.insert(
                int(draw.integers(len(chunks))), (self.tokens[draw.integers(10)], mutated(inside, [inside], (), draw))
            )
        return content[:8] + b"".join(
            struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(kind + inside))
            for kind, inside in chunks
        )


class Jpeg(Picture):
    name, file_name, format, modes = "JPEG", "image.jpg", "JPEG", ("RGB", "L", "CMYK")
    tokens = (
        b"\xff\xd8",
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xc4",
        b"\xff\xda",
        b"\xff\xd9",
        b"\xff\xe1",
        b"Exif\0\0MM\0*",
    )


class Bmp(Picture):
    name, file_name, format, modes = "BMP", "image.bmp", "BMP", ("RGB", "L", "1", "P", "RGBA")


class Gif(Picture):
    name, file_name, format, modes = "GIF", "image.gif", "GIF", ("P", "L", "RGB")
    tokens = (b"\x21\xf9\x04", b"\x2c", b"\x3b", b"\x21\xff\x0bNETSCAPE2.0")


class Npy(Picture):
    name, file_name = ".npy", "image.npy"
    dtypes: ClassVar[list[Any]] = ["<f8", ">f4", "<f2", "|u1", "|b1", "<i8", "<u8", "<c8", "<M8[s]", "|O", "<U3", "|V0", "|S0",
                                   [("a", "<f4")], ("<f4", (2,)), [], "", None]  # fmt: skip
    sizes: ClassVar[list[Any]] = [0, 1, 2, 3, 6, 7, 42, -1, -6, 2**31, 2**32, 2**63, 2**64, -(2**62), True, 3.0, None]
    tokens = (b"'|O'", b"'<f8'", b"'>i8'", b"'<U9'", b"'|V4'", b"(0, 5)", b"True", b"99999999999", b"__import__", b"(" * 300,
              b"-3", b"[('a', '<f4')]", b"'<M8[s]'", b"'<c8'", b"nan")  # fmt: skip

    def valid_files(self) -> list[bytes]:
        square = np.linspace(0, 1, 42).reshape(6, 7)
        arrays = [
            square, (square * 255).astype(np.uint8), np.stack([square] * 3), np.asfortranarray(square.astype(np.float32)),
            (square[..., None] * 255).astype(">i8"), square > 0.5, square.astype(np.float16), square.astype(np.longdouble),
        ]  # fmt: skip
        files = []
        for array in arrays:
            content = io.BytesIO()
            np.save(content, array)
            files.append(content.getvalue())
        return files

    def changed(self, draw: np.random.Generator) -> bytes:
        """Every third time with a header that is well written and says something else."""
        if draw.integers(3):
            return super().changed(draw)
        content = self.valid[draw.integers(len(self.valid))]
        header = {
            "descr": self.dtypes[draw.integers(len(self.dtypes))],
            "fortran_order": bool(draw.integers(2)),
            "shape": tuple(self.sizes[place] for place in draw.integers(len(self.sizes), size=draw.integers(5))),
        }
        text = f"{header!r}\n".encode()
        return content[:8] + len(text).to_bytes(2, "little") + text + content[128:]


class Tiff(Picture):
    name, file_name, format, modes = "TIFF", "image.tif", "TIFF", ("RGB", "L", "1", "I;16")


class Webp(Picture):
    name, file_name, format, modes = "WebP", "image.webp", "WEBP", ("RGB", "RGBA")
    tokens = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF", b"ANIM")


class Ppm(Picture):
    name, file_name, format, modes = "PPM", "image.ppm", "PPM", ("RGB", "L", "1")
    tokens = (b"P1", b"P2", b"P3", b"P6", b"Pf", b"#", b"\n", b"65535", b"-1", b"99999999999999999999")


class Tar(Reader):
    """A tar of images, as each program writes it; every other time with checksums that are right."""

    name, file_name = "tar", "x.tar"
    tokens = (b"ustar\x0000", b"ustar  \0", b"L", b"x", b"g", b"S", b"1", b"5", b"\x80" + b"\xff" * 11, b"77777777777\0", b"../", b"30 path=cat/1.png\n", b".cls", b".json",
              b'{"label": 1}', b"9999 size=", bytes(512))  # fmt: skip

    def valid_files(self) -> list[bytes]:
        folders = {f"{name}/{'long' * 30}{name}.png": name.encode() for name in ("cat", "dog")}
        labels = {"1.png": b"one", "1.cls": b"0", "2.jpg": b"two", "2.json": b'{"label": 1}'}
        kinds = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)
        return [tar(files, kind) for kind, files in zip(kinds, (folders, folders, labels), strict=True)]

    def changed(self, draw: np.random.Generator) -> bytes:
        content = bytearray(super().changed(draw))
        if draw.integers(2):
            for at in range(0, len(content) - 511, 512):
                if content[at + 257 : at + 262] == b"ustar":
                    content[at + 148 : at + 156] = b" " * 8
                    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
        return bytes(content)

    def read(self) -> None:
        images = TarImages(self.folder, 8)
        assert len(images) == len(images.labels) == len(set(images.paths)) > 0
        contents = list(images.contents(np.arange(len(images))))
        assert sum(map(len, contents)) <= self.path.stat().st_size


class TarIndexFile(Reader):
    """What is kept of a tar that is whole: none of it is trusted, and all of the images come of the tar, whatever it says."""

    name, file_name = "index of a tar", ".x.tar.index"

    def prepare(self) -> None:
        (self.folder / "x.tar").write_bytes(self._tar())
        os.utime(self.folder / "x.tar", (0, 0))

    def _tar(self) -> bytes:
        return tar({"cat/1.png": b"one", "dog/2.png": b"two"})

    def valid_files(self) -> list[bytes]:
        self.prepare()
        with self._as_ever():
            TarImages(self.folder, 8)
        return [self.path.read_bytes()]

    @staticmethod
    def _as_ever() -> AbstractContextManager[object]:
        """Inside, tars of one size have not changed since long: an index of another one would be passed over."""
        return mock.patch.object(tar_file, "stamp", lambda status: (status.st_size, 0, 0))

    def changed(self, draw: np.random.Generator) -> bytes:
        """Every other time with a checksum that is right."""
        if draw.integers(2):
            return super().changed(draw)
        values = json.loads(self.valid[0][user_cache.DIGEST_SIZE :])
        return user_cache.with_checksum(mutated_json(values, draw).encode("utf-8", "surrogatepass"))

    def read(self) -> None:
        with self._as_ever():
            images = TarImages(self.folder, 8)
            contents = list(images.contents(np.arange(len(images))))
        assert sum(map(len, contents)) <= (self.folder / "x.tar").stat().st_size * len(images)
        if user_cache.without_checksum(self.path.read_bytes()) is None:
            assert contents == [b"one", b"two"]


class Folder(Picture):
    """A folder of images, one of them changed; of several formats behind one suffix."""

    name, file_name = "ImageFolder", "b/changed.png"

    def valid_files(self) -> list[bytes]:
        files = []
        for mode, format_ in (
            ("L", "PNG"),
            ("RGB", "JPEG"),
            ("P", "GIF"),
            ("RGBA", "TIFF"),
            ("RGB", "BMP"),
            ("RGB", "WEBP"),
        ):
            content = io.BytesIO()
            Image.effect_mandelbrot((9, 7), (-2, -1, 1, 1), 50).convert(mode).save(content, format_)
            files.append(content.getvalue())
        return files

    def prepare(self) -> None:
        for name in ("a/1.png", "b/1.png"):
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_bytes(self.valid[0])

    def read(self) -> None:
        images, labels = ImageFolder(self.folder, 5)[[0, 1, 2]]
        assert (images.dtype, images.shape) == (np.dtype(np.float32), (3, 3, 5, 5))
        assert labels.tolist() == [0, 1, 1]
        assert 0 <= images.min() <= images.max() <= 1


def sealed(header: str, content: bytes) -> bytes:
    """A safetensors file with this header."""
    text = header.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + content


class Parquet(Reader):
    """Tables of images, changed in their footers and pages, where most of the bytes are not."""

    name, file_name = "Parquet", "train.parquet"
    may_lack_memory = True
    tokens = (b"PAR1", b"PARE", b"\x15\xfe\xff\xff\xff\x0f", b"\x15\x00", b"\x19\xfc", b"\x18\x80\x80\x80\x80\x10", b"\x16\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
              b"huggingface", b'"names": ["\\ud800", "b"]', b"bytes", b"label", b"\0")  # fmt: skip

    def valid_files(self) -> list[bytes]:
        picture = io.BytesIO()
        Image.new("L", (2, 2)).save(picture, "PNG")
        files = []
        for struct_column, compression, dictionary in (
            (True, "snappy", False),
            (True, "none", True),
            (False, "gzip", False),
            (False, "none", False),
        ):
            images = [picture.getvalue() + bytes([row]) for row in range(4)]
            rows = (
                [{"bytes": image, "path": f"{row}.png"} for row, image in enumerate(images)]
                if struct_column
                else images
            )
            labels = [0, 1, 1, 0] if struct_column else ["cat", "dog", "dog", "cat"]
            write(
                self.folder / "valid",
                rows,
                labels,
                ("cat", "dog") if struct_column else (),
                3,
                compression=compression,
                use_dictionary=dictionary,
            )
            files.append((self.folder / "valid").read_bytes())
        (self.folder / "valid").unlink()
        return files

    def changed(self, draw: np.random.Generator) -> bytes:
        """Every other time within the footer alone, whose length is then set right."""
        content = self.valid[draw.integers(len(self.valid))]
        if draw.integers(2):
            return super().changed(draw)
        end = len(content) - 8
        start = end - int.from_bytes(content[end : end + 4], "little")
        footer = mutated(content[start:end], [content], self.tokens, draw)
        return content[:start] + footer + struct.pack("<I", len(footer)) + content[-4:]

    def read(self) -> None:
        images = ParquetImages(self.folder, 2)
        pixels, labels = images[:]
        assert pixels.shape == (len(labels), 3, 2, 2)
        assert 0 <= labels.min() <= labels.max() < images.num_classes


class NpyArray(Reader):
    """One array of many images, mostly changed in its header."""

    name, file_name = "images.npy", "images.npy"
    tokens = (b"(", b")", b",", b"'descr': '|O'", b"<U9", b"<f8", b"True", b"9" * 30, b"-1", b"\x93NUMPY", b"\0")

    def valid_files(self) -> list[bytes]:
        files = []
        for images in (np.zeros((4, 2, 2, 3), np.uint8), np.ones((4, 2, 2), np.float32)):
            content = io.BytesIO()
            np.save(content, images)
            files.append(content.getvalue())
        return files

    def prepare(self) -> None:
        np.save(self.folder / "labels.npy", np.arange(4) % 2)

    def read(self) -> None:
        pixels, labels = NpyImages(self.folder, 2)[:]
        assert pixels.shape == (len(labels), 3, 2, 2)
        assert np.isfinite(pixels).all()


class Model(Reader):
    """Changed bytes, a changed header, and a changed description."""

    name, file_name = "model file", "model.safetensors"
    tokens = (
        b'"F32"',
        b'"F16"',
        b'"BF16"',
        b'"I64"',
        b'"F8_E4M3"',
        b'"shape":[0]',
        b'"__metadata__"',
        b"\\ud800",
        b"[" * 300,
    )

    def valid_files(self) -> list[bytes]:
        states = [models.create(**CREATE, seed=seed).state_dict() for seed in (0, 1)]  # type: ignore[arg-type]
        return [save(state, {"gpucnn": json.dumps(CREATE)}) for state in states]

    def prepare(self) -> None:
        (self.folder / "config.json").write_text(json.dumps(CONFIG))

    def changed(self, draw: np.random.Generator) -> bytes:
        kind = draw.integers(3)
        if kind == 0:
            return super().changed(draw)
        end = 8 + int.from_bytes(self.valid[0][:8], "little")
        header, content = json.loads(self.valid[0][8:end]), self.valid[0][end:]
        if kind == 1:
            return sealed(mutated_json(header, draw), content)
        header["__metadata__"]["gpucnn"] = mutated_json(CREATE, draw)
        return sealed(json.dumps(header), content)

    def read(self) -> None:
        model = RunFolder(self.folder).load_model()
        expected = models.create(**CREATE).state_dict()  # type: ignore[arg-type]
        assert {path: array.shape for path, array in model.state_dict().items()} == {
            path: array.shape for path, array in expected.items()
        }


class Onnx(Reader):
    """Changed bytes, and changed graphs. What can be loaded is computed and trained, which may fail, too, with an error of ours."""

    name, file_name = "ONNX", "model.onnx"
    tokens = (b"\x0a\x7f", b"\x08\x80\x80\x80\x80\x10", b"\x12\x00", b"images", b"logits", b"Conv", b"axis")

    def __init__(self, folder: Path) -> None:
        self.files = small_files()
        super().__init__(folder)

    def valid_files(self) -> list[bytes]:
        return [model.SerializeToString() for model in self.files.values()]

    def prepare(self) -> None:
        (self.folder / BESIDE).write_bytes(content_beside(self.files["convolutions"]))

    def changed(self, draw: np.random.Generator) -> bytes:
        if draw.integers(4) == 0:
            return super().changed(draw)
        return changed_model(list(self.files.values())[draw.integers(len(self.files))], draw)

    def read(self) -> None:
        """With lower limits of what a node may make: what is not held to them stands out, and what is takes little time."""
        with mock.patch.multiple(values, MOST_MADE=1 << 22, MOST_FOLDED=1 << 20, GROWTH=1 << 6):
            self._compute()

    def _compute(self) -> None:
        model = load_onnx(self.path)
        shapes = [one.shape or () for one in model._inputs]
        dtypes = [one.dtype or np.dtype(np.float32) for one in model._inputs]
        sizes = [tuple(min(size, 64) if is_int(size) else 2 for size in shape)[:6] for shape in shapes]
        inputs = [Tensor(np.ones(shape, dtype)) for shape, dtype in zip(sizes, dtypes, strict=True)]
        try:
            with np.errstate(all="ignore"):  # of odd numbers come odd sums and gradients
                loss = sum(output.sum() for output in model.train().outputs(*inputs) if output.dtype.kind == "f")
                if isinstance(loss, Tensor) and loss.requires_grad:
                    loss.backward()
        except GpucnnError as error:
            if len(str(error)) > 1000:
                raise AssertionError(f"a message of {len(str(error))} characters: {str(error)[:1000]}") from None


class Weights(Reader):
    """Files of others, whose arrays are plain, and of which there are no more than the file has bytes for."""

    file_name = "weights.pth"

    def read(self) -> None:
        found = read_weights(self.path)
        assert found.arrays
        assert all(array.dtype.kind in "fiub" and array.flags.c_contiguous for array in found.arrays.values())
        assert sum(array.nbytes for array in found.arrays.values()) <= 8 * self.path.stat().st_size


class TorchLegacy(Weights):
    """Old files of PyTorch: pickles, and what they tell of behind them."""

    name, written = "torch.save, legacy", "legacy.pth"
    tokens: Sequence[bytes] = (*CifarPython.tokens, b"Q", b"ctorch\nFloatStorage\n", b"ctorch\nBoolStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
                               b"ccollections\nOrderedDict\n", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\x7f" * 8, b"K\x00", b"\x87", b"N", b"\x88")  # fmt: skip

    def valid_files(self) -> list[bytes]:
        return [(FOLDER / self.written).read_bytes()]

    def changed(self, draw: np.random.Generator) -> bytes:
        """Two times of three within the pickles, anywhere."""
        content = self.valid[0]
        start = int(draw.integers(len(content) - 600)) if draw.integers(3) else 0
        return (
            content[:start]
            + mutated(content[start : start + 200], self.valid, self.tokens, draw)
            + content[start + 200 :]
        )


class TorchZip(TorchLegacy):
    """Those of today, changed as they are, and in their pickle, whose checksum is then right."""

    name, written = "torch.save, zip", "zip.pth"

    def changed(self, draw: np.random.Generator) -> bytes:
        if draw.integers(3) == 0:
            return mutated(self.valid[0], self.valid, (*Npz.tokens, *self.tokens), draw)
        content = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(self.valid[0])) as old, zipfile.ZipFile(content, "w") as new:
            for name in old.namelist():
                inside = old.read(name)
                if name.endswith("data.pkl"):
                    start = int(draw.integers(len(inside)))
                    inside = (
                        inside[:start]
                        + mutated(inside[start : start + 100], [inside], self.tokens, draw)
                        + inside[start + 100 :]
                    )
                new.writestr(zipfile.ZipInfo(name), inside)
        return content.getvalue()


class Safetensors(Weights):
    """Changed bytes, and a changed header."""

    name = "safetensors of others"
    tokens = (*Model.tokens, b'"F64"', b'"BOOL"', b'"U8"')

    def valid_files(self) -> list[bytes]:
        arrays = {"a": np.ones((2, 3), np.float16), "b": np.arange(4), "c": np.ones(2, bool)}
        return [save(arrays), save(arrays, {"gpucnn": json.dumps(CREATE)})]

    def changed(self, draw: np.random.Generator) -> bytes:
        if draw.integers(2):
            return super().changed(draw)
        end = 8 + int.from_bytes(self.valid[1][:8], "little")
        return sealed(mutated_json(json.loads(self.valid[1][8:end]), draw), self.valid[1][end:])


class CheckpointBytes(Reader):
    name, file_name = "checkpoint", "step-000000001.safetensors"

    def valid_files(self) -> list[bytes]:
        files = []
        for epochs in (0, 1):
            trainer = self.trainer()
            if epochs:
                trainer.fit(epochs)
            save_checkpoint(self.path, *trainer.state(), CONFIG)
            files.append(self.path.read_bytes())
        return files

    @staticmethod
    def trainer() -> Trainer:
        """One whose state has all that a state can have."""
        return small_trainer(EarlyStopping(2), schedule=ReduceOnPlateau(0.1), average=True)

    def prepare(self) -> None:
        self.states = []
        for content in self.valid:
            self.path.write_bytes(content)
            found = load_checkpoint(self.path)
            self.states.append((found.arrays, found.values))

    def read(self) -> None:
        """What is read is what was written: a checksum is over all of it."""
        found = load_checkpoint(self.path)
        expected = self.states[0 if found.values["epoch"] == 0 else 1]
        assert_same((found.arrays, found.values), expected)


class CheckpointContent(CheckpointBytes):
    """Checkpoints whose checksum is right and whose content is none of gpucnn's."""

    name, file_name = "checkpoint content", "step-000000002.safetensors"
    unnamed = (StateError,)

    def changed(self, draw: np.random.Generator) -> bytes:
        arrays, values = self.states[draw.integers(2)]
        kind = draw.integers(3)
        if kind == 0:
            arrays = self._changed_arrays(arrays, draw)
        text = mutated_json(values, draw) if kind == 1 else json.dumps(values)
        config = mutated_json(CONFIG, draw) if kind == 2 else json.dumps(CONFIG)
        versions = json.dumps(CONFIG["versions"])
        content = f'{{"format": 1, "values": {text}, "config": {config}, "versions": {versions}}}'
        return save(arrays, {"gpucnn checkpoint": f"{_checksum(arrays, content)} {content}"})

    @staticmethod
    def _changed_arrays(arrays: dict[str, np.ndarray], draw: np.random.Generator) -> dict[str, np.ndarray]:
        arrays = dict(arrays)
        name = list(arrays)[draw.integers(len(arrays))]
        array = arrays.pop(name)
        others: list[np.ndarray] = [
            np.zeros(0), np.zeros((1, 1, 1)), array.astype(np.int8), array.astype(np.float16), array.astype(np.float64),
            array.reshape(-1), array[..., None].copy(), np.full_like(array, -1), np.asarray(array, bool),
        ]  # fmt: skip
        if draw.integers(5):
            other = name if draw.integers(5) else f"{name}/{next(iter(arrays))}"
            arrays[other] = np.ascontiguousarray(others[draw.integers(len(others))])
        return arrays

    def read(self) -> None:
        """It fits a trainer and a configuration, or is refused by them."""
        found = load_checkpoint(self.path)
        self.trainer().restore(found.arrays, found.values)
        RunConfig.from_run(found.config, str(self.path))


class Toml(Reader):
    name, file_name = "TOML", "run.toml"
    tokens = (
        *NAMES_OF_CONFIG, b"nan", b"-inf", b"0x7fffffffffffffff", b"1e400", b"1979-05-27T07:32:00Z", b"[[a]]\n", b"[a.b]\n",
        b'"""', b"'''", b"{a = 1}", b"\xed\xa0\x80", b"\\ud800", b"\\U0010ffff", b"[" * 3000, b"9" * 5000, b"a." * 3000 + b"a = 1\n",
        b"\0", b"\r", b"true", b"=", b"\n", b"_", b"\xef\xbb\xbf",
    )  # fmt: skip

    def valid_files(self) -> list[bytes]:
        small = b'model = "lenet5"\nepochs = 3\nlr = 0.01\naugment = ["shift:1", "cutout:4"]\nschedule = "step_decay:2"\nnormalize = true\n'
        whole = RunConfig(optimizer="sgd:momentum=0.9,nesterov=true", average=0.99, clip_norm=1.0).to_json()
        lines = [f"{name} = {json.dumps(value)}" for name, value in whole.items() if value is not None]
        return [small, "\n".join(lines).encode()]

    def read(self) -> None:
        config = RunConfig.from_toml(self.path)
        assert RunConfig.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False)), "again") == config


class RunFile(Reader):
    """A file of a run, in which the others are whole."""

    def prepare(self) -> None:
        run = RunFolder(self.folder)
        files = {
            run.config_file: json.dumps(CONFIG).encode(),
            run.metrics_file: b'{"epoch": 1, "test_accuracy": 0.5, "test_loss": 1e-05}\n{"epoch": 2, "test_accuracy": 0.75}\n',
            run.times_file: b'{"epoch": 1, "seconds": 0.5}\n{"epoch": 2, "seconds": 0.25}\n',
            run.summary_file: b'{"test_accuracy": 0.75, "epochs": 2, "seconds": 0.75}\n',
            run.model_file: save(models.create(**CREATE).state_dict(), {"gpucnn": json.dumps(CREATE)}),  # type: ignore[arg-type]
        }
        for path, content in files.items():
            if path != self.path:
                path.write_bytes(content)

    def read(self) -> None:
        """`gpucnn runs` tells of the run whatever is in it, in text and JSON, and of damage which file it is."""
        (entry,) = list_runs(self.folder)
        assert all(is_printed(letter) for line in lines([entry]) for letter in line)
        json.dumps(as_json(entry), allow_nan=False).encode()
        if entry.reason:
            raise Damaged(entry.reason)


class Damaged(GpucnnError):
    """What `gpucnn runs` says of a damaged run, as an error."""


class RunConfigFile(RunFile):
    name, file_name = "config.json", "config.json"
    tokens = (
        *NAMES_OF_CONFIG,
        b"NaN",
        b"-Infinity",
        b"\\ud800",
        b"\xed\xa0\x80",
        b"[" * 3000,
        b"null",
        b"{}",
        b"[]",
        b'"',
        b"\xef\xbb\xbf",
    )

    def valid_files(self) -> list[bytes]:
        return [json.dumps(CONFIG).encode(), json.dumps(CONFIG, indent=2).encode()]

    def changed(self, draw: np.random.Generator) -> bytes:
        return (
            super().changed(draw) if draw.integers(2) else mutated_json(CONFIG, draw).encode("utf-8", "surrogatepass")
        )

    def read(self) -> None:
        """What `gpucnn evaluate`, `gpucnn predict` and a resumed run do with it, and `gpucnn runs`."""
        super().read()
        trained = RunFolder(self.folder).load(Device())
        image = np.zeros((1, trained.preprocess.channels, *[trained.preprocess.native_size] * 2), np.uint8)
        assert trained.model(trained.preprocess(image)).shape == (1, len(trained.class_names))
        RunConfig.from_run(trained.config, str(self.path))


class LinesFile(RunFile):
    """Lines of JSON, or one."""

    tokens = (b"NaN", b"-Infinity", b"\\ud800", b"\xed\xa0\x80", b"[" * 3000, b"null", b"{}", b"[]", b"true", b"1e999", b"\n", b"9" * 5000,
              "\u2028".encode())  # fmt: skip
    rows: ClassVar[list[Any]]

    def valid_files(self) -> list[bytes]:
        return ["".join(json.dumps(row) + "\n" for row in self.rows).encode()]

    def changed(self, draw: np.random.Generator) -> bytes:
        if draw.integers(2):
            return super().changed(draw)
        rows = [mutated_json(row, draw) if draw.integers(2) else json.dumps(row) for row in self.rows]
        return "".join(f"{row}\n" for row in rows).encode("utf-8", "surrogatepass")


class MetricsFile(LinesFile):
    name, file_name = "metrics.jsonl", "metrics.jsonl"
    rows: ClassVar[list[Any]] = [{"epoch": epoch, "test_accuracy": 0.5, "test_loss": 1e-5} for epoch in (1, 2)]


class SummaryFile(LinesFile):
    name, file_name = "summary.json", "summary.json"
    rows: ClassVar[list[Any]] = [{"test_accuracy": 0.75, "epochs": 2, "seconds": 0.75}]


class TimesFile(LinesFile):
    name, file_name = "times.jsonl", "times.jsonl"
    rows: ClassVar[list[Any]] = [{"epoch": epoch, "seconds": 0.5} for epoch in (1, 2)]

    def read(self) -> None:
        """No run is lost for want of its times."""
        times = RunFolder(self.folder).read_times()
        assert all(isinstance(epoch, int) and isinstance(seconds, float) for epoch, seconds in times.items())


READERS: list[type[Reader]] = [
    Idx, IdxGzip, Cifar, CifarPython, Cifar100, Cifar100Names, Mat, Npz, Table, Png, Jpeg, Bmp, Gif, Tiff, Webp, Ppm, Npy, Folder, Tar, TarIndexFile, Parquet, NpyArray, Model, Onnx, TorchZip, TorchLegacy, Safetensors,
    CheckpointBytes, CheckpointContent, Toml, RunConfigFile, MetricsFile,
    SummaryFile, TimesFile,
]  # fmt: skip
