"""Small data sets in the forms in which they are downloaded, written without gpucnn's readers."""

import csv
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Bytes (count, *shape), no two images alike."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def write_npz(path: Path, train: int = 6, test: int = 3, **changed: np.ndarray) -> dict[str, np.ndarray]:
    """Keras's mnist.npz."""
    arrays = {
        "x_train": pixels(train, 28, 28), "y_train": np.arange(train, dtype=np.uint8) % 10,
        "x_test": pixels(test, 28, 28, seed=1), "y_test": np.arange(test, dtype=np.uint8) % 10, **changed,
    }  # fmt: skip
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return arrays


def write_table(path: Path, images: np.ndarray, labels: Sequence[int] | None, header: bool = True) -> None:
    """Kaggle's table: label, if there are any, and pixel0, pixel1, ..."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = [f"pixel{place}" for place in range(images[0].size)]
        if header:
            writer.writerow(names if labels is None else ["label", *names])
        for place, image in enumerate(images):
            writer.writerow([*([] if labels is None else [labels[place]]), *image.ravel().tolist()])


def write_batch(path: Path, images: np.ndarray, protocol: int = 2, **lists: list[int]) -> None:
    """A file of CIFAR's Python version: `images` (N, 3, 32, 32) and lists of labels."""
    content = {
        b"batch_label": b"training batch 1 of 5", **{name.encode(): values for name, values in lists.items()},
        b"data": images.reshape(-1, 3072), b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * len(images),
    }  # fmt: skip
    path.write_bytes(pickle.dumps(content, protocol))


def python_2_batch(images: np.ndarray, labels: Sequence[int]) -> bytes:
    """The bytes of such a file as Python 2 and NumPy 1 wrote it: its text is of bytes, put together by hand."""

    def text(value: bytes) -> bytes:
        return (
            b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + len(value).to_bytes(4, "little") + value
        )

    flat = images.reshape(-1, 3072)
    rows = b"K" + bytes([len(flat)])
    dtype = (
        b"cnumpy\ndtype\nq\x06"
        + text(b"u1")
        + b"K\x00K\x01\x87Rq\x07(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85" + text(b"b") + b"\x87Rq\x05(K\x01"
        + rows + b"M" + (3072).to_bytes(2, "little") + b"\x86" + dtype + b"\x89" + text(flat.tobytes()) + b"tb"
    )  # fmt: skip
    listed = b"]q\x08(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text(b"data") + b"q\x02" + array + text(b"labels") + b"q\x09" + listed + b"u."


def write_svhn(path: Path, images: np.ndarray, labels: Sequence[int], compress: bool = True) -> None:
    """A file of SVHN: X (32, 32, 3, N), y (N, 1), in which 10 stands for 0."""
    from scipy.io import savemat

    savemat(
        path, {"X": images.transpose(2, 3, 1, 0), "y": np.array(labels, np.uint8)[:, None]}, do_compression=compress
    )
