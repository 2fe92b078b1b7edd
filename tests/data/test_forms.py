"""Data sets in every form in which they are downloaded, found by themselves wherever an archive or a library puts them."""

import gzip
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpucnn import data, models
from gpucnn.data import catalog, emnist
from gpucnn.data.cifar import COARSE_NAMES, FINE_NAMES, read_cifar100
from gpucnn.data.mnist import FILES
from gpucnn.errors import ArgumentError, DataError
from gpucnn.runs.recipe import DATA_SETS
from gpucnn.training import RunConfig
from tests.data.idx_files import idx
from tests.data.set_files import pixels, write_batch, write_npz, write_svhn, write_table

GREY, COLOUR = pixels(10, 28, 28), pixels(6, 3, 32, 32)
TENS = np.arange(10, dtype=np.uint8)
EMNIST_SPLITS = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}


def files(folder: Path, **contents: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".").replace("_0", "-")).write_bytes(content)


def write_idx(folder: Path, names: tuple[str, ...], images: np.ndarray, labels: np.ndarray, suffix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        step = 1 if "train" in name else -1
        content = idx(images[::step] if "images" in name else labels[::step])
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix == ".gz" else content)


def write_emnist(folder: Path, split: str, labels: np.ndarray, suffix: str = "") -> None:
    names = [
        f"emnist-{split}-{part}-{kind}-ubyte" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")
    ]
    write_idx(folder, tuple(names), GREY[: len(labels)], labels, suffix)


def write_records(path: Path, label_bytes: int) -> None:
    """CIFAR's binary form, of the images COLOUR: label 0, 1, ..., before it for CIFAR-100 the coarse one, 19, 18, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.arange(6)[:, None] if label_bytes == 1 else np.stack([19 - np.arange(6), np.arange(6)], axis=1)
    path.write_bytes(np.concatenate([labels.astype(np.uint8), COLOUR.reshape(6, 3072)], axis=1).tobytes())


def write_python_10(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_batch(folder / "data_batch_1", COLOUR[:4], labels=[0, 1, 2, 3])
    write_batch(folder / "data_batch_2", COLOUR[4:], labels=[4, 5])
    write_batch(folder / "test_batch", COLOUR, labels=list(range(6)))


def write_python_100(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        write_batch(folder / name, COLOUR, fine_labels=list(range(6)), coarse_labels=[19, 18, 17, 16, 15, 14])


def write_tables(
    folder: Path, train: str, test: str, images: np.ndarray = GREY, first: int = 0, header: bool = True
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, step in ((train, 1), (test, -1)):
        write_table(folder / name, images[::step], list(range(first, first + 10))[::step], header)


GREY_FORMS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "IDX": ("mnist", lambda folder: write_idx(folder, FILES, GREY, TENS)),
    "torchvision": ("mnist", lambda folder: write_idx(folder / "MNIST" / "raw", FILES, GREY, TENS)),
    "torchvision, both": ("mnist", lambda folder: [write_idx(folder / "MNIST" / "raw", FILES, GREY, TENS, end) for end in ("", ".gz")]),
    "torchvision's own folder": ("mnist", lambda folder: write_idx(folder / "raw", FILES, GREY, TENS)),
    "Keras": ("mnist", lambda folder: write_npz(folder / "mnist.npz", x_train=GREY, y_train=TENS, x_test=GREY[::-1], y_test=TENS[::-1])),
    "tables": ("mnist", lambda folder: write_tables(folder, "mnist_train.csv", "mnist_test.csv")),
    "Kaggle, with labels": ("mnist", lambda folder: write_tables(folder, "train.csv", "test.csv")),
    "Fashion, IDX": ("fashion-mnist", lambda folder: write_idx(folder, FILES, GREY, TENS, ".gz")),
    "Fashion, torchvision": ("fashion-mnist", lambda folder: write_idx(folder / "FashionMNIST" / "raw", FILES, GREY, TENS)),
    "Fashion, tables": ("fashion-mnist", lambda folder: write_tables(folder, "fashion-mnist_train.csv", "fashion-mnist_test.csv")),
    "EMNIST, torchvision": ("emnist-digits", lambda folder: write_emnist(folder / "EMNIST" / "raw", "digits", TENS)),
    "EMNIST, archive": ("emnist-mnist", lambda folder: write_emnist(folder / "gzip", "mnist", TENS, ".gz")),
    "EMNIST, tables": ("emnist-balanced", lambda folder: write_tables(folder, "emnist-balanced-train.csv", "emnist-balanced-test.csv", header=False)),
}  # fmt: skip
COLOUR_FORMS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "binary": ("cifar10", lambda folder: [write_records(folder / name, 1) for name in ("data_batch_1.bin", "test_batch.bin")]),
    "binary, archive": ("cifar10", lambda folder: [write_records(folder / "cifar-10-batches-bin" / name, 1) for name in ("data_batch_1.bin", "test_batch.bin")]),
    "Python": ("cifar10", write_python_10),
    "Python, torchvision": ("cifar10", lambda folder: write_python_10(folder / "cifar-10-batches-py")),
    "100, binary": ("cifar100", lambda folder: [write_records(folder / name, 2) for name in ("train.bin", "test.bin")]),
    "100, archive": ("cifar100", lambda folder: [write_records(folder / "cifar-100-binary" / name, 2) for name in ("train.bin", "test.bin")]),
    "100, Python": ("cifar100", write_python_100),
    "100, torchvision": ("cifar100", lambda folder: write_python_100(folder / "cifar-100-python")),
    "SVHN": ("svhn", lambda folder: [write_svhn(folder / f"{name}_32x32.mat", COLOUR, [10, 1, 2, 3, 4, 5]) for name in ("train", "test")]),
}  # fmt: skip


@pytest.mark.parametrize("form", GREY_FORMS)
def test_grey_images_are_found_in_every_form(form: str, tmp_path: Path) -> None:
    name, write = GREY_FORMS[form]
    write(tmp_path)
    splits = data.load(name, tmp_path)
    expected = GREY.swapaxes(1, 2) if name.startswith("emnist") else GREY
    for part, step in ((splits.train, 1), (splits.test, -1)):
        assert isinstance(part, data.ArrayDataset)
        np.testing.assert_array_equal(part.images, expected[::step, None])
        assert part.images.flags.c_contiguous
        assert part.labels.tolist() == list(range(10))[::step]
    assert splits.notes == ()


@pytest.mark.parametrize("form", COLOUR_FORMS)
def test_colour_images_are_found_in_every_form(form: str, tmp_path: Path) -> None:
    name, write = COLOUR_FORMS[form]
    write(tmp_path)
    splits = data.load(name, tmp_path)
    for part in (splits.train, splits.test):
        assert isinstance(part, data.ArrayDataset)
        np.testing.assert_array_equal(part.images, COLOUR)
        assert part.labels.tolist() == list(range(6))


@pytest.mark.parametrize("split", EMNIST_SPLITS)
def test_emnist_has_the_classes_of_its_mapping(split: str, tmp_path: Path) -> None:
    classes, first = EMNIST_SPLITS[split], int(split == "letters")
    write_emnist(tmp_path, split, np.array([first, first + classes - 1, first + 9], np.uint8))
    splits = data.load(f"emnist-{split}", tmp_path)
    assert len(splits.class_names) == splits.train.num_classes == classes
    assert splits.train.labels.tolist() == [0, classes - 1, 9]
    ends = {"byclass": "0z", "bymerge": "0t", "balanced": "0t", "letters": "AZ", "digits": "09", "mnist": "09"}[split]
    assert splits.class_names[0] + splits.class_names[-1] == ends
    if classes == 47:  # the paper's list of small letters that are a class of their own
        assert "".join(splits.class_names) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    for wrong in [first + classes, 0][: 1 + first]:
        write_emnist(tmp_path, split, np.array([first, wrong], np.uint8))
        with pytest.raises(DataError, match=f"labels-idx1-ubyte: label {wrong} found, expected {first} to {first + classes - 1}"):  # fmt: skip
            data.load(f"emnist-{split}", tmp_path)


def test_images_of_emnist_are_turned_part_by_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(emnist, "CHUNK", 3)
    write_emnist(tmp_path, "digits", TENS)
    splits = data.load("emnist-digits", tmp_path)
    assert isinstance(splits.train, data.ArrayDataset)
    np.testing.assert_array_equal(splits.train.images[:, 0], np.transpose(GREY, (0, 2, 1)))


def test_cifar100_fine_and_coarse_with_the_names_in_the_folder(tmp_path: Path) -> None:
    COLOUR_FORMS["100, binary"][1](tmp_path)
    assert data.load("cifar100", tmp_path).class_names == FINE_NAMES
    assert (len(FINE_NAMES), len(COARSE_NAMES)) == (100, 20)
    assert list(FINE_NAMES) == sorted(set(FINE_NAMES))
    coarse = data.load("cifar100-coarse", tmp_path)
    assert (coarse.class_names, coarse.train.labels.tolist()) == (COARSE_NAMES, [19, 18, 17, 16, 15, 14])
    (tmp_path / "fine_label_names.txt").write_text("".join(f"fine {place}\n" for place in range(100)))
    assert data.load("cifar100", tmp_path).class_names[99] == "fine 99"
    assert data.load("cifar100-coarse", tmp_path).class_names == COARSE_NAMES
    (tmp_path / "fine_label_names.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"fine_label_names.txt: 2 names, expected 100 of them"):
        data.load("cifar100", tmp_path)
    with pytest.raises(ArgumentError, match='labels must be "fine" or "coarse", got \'superclass\''):
        read_cifar100(tmp_path, "superclass")


def test_cifar100_of_python_takes_the_names_in_meta(tmp_path: Path) -> None:
    import pickle

    write_python_100(tmp_path)
    coarse = data.load("cifar100-coarse", tmp_path)
    assert (coarse.class_names, coarse.train.labels.tolist()) == (COARSE_NAMES, [19, 18, 17, 16, 15, 14])
    names = {b"fine_label_names": [f"f{place}".encode() for place in range(100)], b"coarse_label_names": [b"c"]}
    (tmp_path / "meta").write_bytes(pickle.dumps(names, 2))
    assert data.load("cifar100", tmp_path).class_names[99] == "f99"
    with pytest.raises(DataError, match="meta: 1 names, expected 20"):
        data.load("cifar100-coarse", tmp_path)


def test_a_form_that_is_whole_goes_before_one_that_is_not(tmp_path: Path) -> None:
    write_npz(tmp_path / "mnist.npz")
    files(tmp_path, train_0images_0idx3_0ubyte=idx(GREY))
    assert len(data.load("mnist", tmp_path).train) == 6
    (tmp_path / "mnist.npz").unlink()
    with pytest.raises(DataError, match="^no train-labels-idx1-ubyte, no t10k-images-idx3-ubyte, no t10k-labels"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", "no train-images-idx3-ubyte, .* or mnist.npz of Keras, or train.csv, .* looked for there and in MNIST/raw, raw below; torchvision.datasets.MNIST downloads"),
        ("fashion-mnist", "or fashion-mnist_train.csv .* FashionMNIST/raw, raw below; torchvision.datasets.FashionMNIST"),
        ("cifar10", r"no data_batch_1.bin .* data_batch_5 and test_batch of the Python version; .* cifar-10-batches-py below; the archives cifar-10-binary.tar.gz"),
        ("cifar100", r"no train.bin, no test.bin .* or train and test of the Python version; .* cifar-100-binary.tar.gz"),
        ("svhn", r"no train_32x32.mat, no test_32x32.mat .* SVHN.* below; .*Cropped Digits"),
        *((f"emnist-{split}", f"no emnist-{split}-train-images-idx3-ubyte, .* EMNIST/raw.*; .*NIST") for split in EMNIST_SPLITS),
    ],
)  # fmt: skip
def test_where_nothing_is_the_message_tells_files_and_origin(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as raised:
        data.load(name, tmp_path)
    assert "--data-dir" in str(raised.value)
    assert len(str(raised.value)) < 1000
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=f"file: is a file; give the folder that holds it, {tmp_path}"):
        data.load(name, tmp_path / "file")


def test_an_archive_that_lies_there_is_to_be_unpacked(tmp_path: Path) -> None:
    for name, archive in (
        ("cifar10", "cifar-10-python.tar.gz"),
        ("emnist-letters", "gzip.zip"),
        ("mnist", "digit-recognizer.zip"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / archive).write_bytes(b"")
        with pytest.raises(DataError, match=f"{archive} is an archive: unpack it there$"):
            data.load(name, tmp_path / name)


def test_a_table_without_labels_is_told_and_a_fifth_of_the_other_tested_on(tmp_path: Path) -> None:
    images, labels = pixels(100, 28, 28), [place % 10 for place in range(100)]
    write_table(tmp_path / "train.csv", images, labels)
    for test in (None, tmp_path / "test.csv"):
        if test:
            write_table(test, images, None)
        splits = data.load("mnist", tmp_path)
        (note,) = splits.notes
        why = f"{test} has no labels" if test else f"no table to test on beside {tmp_path / 'train.csv'}"
        assert note == f"{why}; 20 of the 100 images in train.csv are for testing, the same every time"
        assert isinstance(splits.train, data.ArrayDataset)
        assert isinstance(splits.test, data.ArrayDataset)
        assert np.bincount(splits.test.labels).tolist() == [2] * 10
        together = np.concatenate([splits.train.images, splits.test.images]).reshape(100, -1).tolist()
        assert sorted(together) == sorted(images.reshape(100, -1).tolist())


def test_kaggles_test_table_alone(tmp_path: Path) -> None:
    write_table(tmp_path / "test.csv", GREY, None)
    with pytest.raises(
        DataError, match=f"no train.csv in {tmp_path}; put it there, as it has the labels to learn from"
    ):
        data.load("mnist", tmp_path)


def table(**cells: object) -> bytes:
    lines = [["label", *(f"pixel{place}" for place in range(784))], [1, *[0] * 784], [2, *[255] * 784]]
    for name, value in cells.items():
        row, column = map(int, name.strip("_").split("_"))
        lines[row][column] = value  # type: ignore[index]
    return "\n".join(",".join(map(str, line)) for line in lines).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no images in it"),
        (b"label,pixel0\n1,2\n", "2 columns, the first 'label'; expected 785: label, then 784 pixels"),
        (table(_0_0="digit"), "785 columns, the first 'digit'; expected 785: label"),
        (b",".join(b"pixel%d" % place for place in range(784)) + b"\n" + b",".join([b"0"] * 784), "784 columns and no column label, so nothing to learn from; give the table that has labels, which Kaggle calls train.csv"),
        (table(_1_5=256), "image 0 has pixels from 0 to 256, expected 0 to 255"),
        (table(_2_5=-1), "image 1 has pixels from -1 to 255, expected 0 to 255"),
        (table(_1_5="x"), "not a table of whole numbers that can be read"),
        (table(_1_5="1.5"), "not a table of whole numbers that can be read"),
        (b"label\n1\n", "1 columns, the first 'label'; expected 785"),
        (table().split(b"\n")[0] + b"\n1,2\n", "images of 1 pixels; expected 784"),
        (table(_1_5=""), "not a table of whole numbers that can be read"),
        (table(_1_5="9" * 30), "not a table of whole numbers that can be read"),
        (table(_1_5="1,2"), "not a table of whole numbers that can be read"),
        (table()[:-4], "not a table of whole numbers that can be read"),
        (table().split(b"\n")[0], "no images in it"),
        (table(_1_0=10), "label 10 found, expected 0 to 9"),
        (b"\xff\xfe" + table(), "not a table of text"),
        (table(_1_5="\0"), "not a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        data.load("mnist", tmp_path)
    assert str(tmp_path / "train.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_quotes_and_a_mark_of_byte_order_are_no_matter(tmp_path: Path) -> None:
    quoted = b"\xef\xbb\xbf" + b"\n".join(
        b",".join(b'"%s"' % cell for cell in line.split(b",")) for line in table().split(b"\n")
    )
    (tmp_path / "train.csv").write_bytes(quoted + b"\n" + table(_1_0=1).split(b"\n")[1])
    assert len(data.load("mnist", tmp_path).train) == 2
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + b"\n".join(table().split(b"\n")[1:]))
    assert sorted(np.concatenate([part.labels for part in data.load("mnist", tmp_path)[:2]]).tolist()) == [1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": np.zeros((6, 28, 28))}, r"x_train is float64 \(6, 28, 28\), expected bytes \(N, 28, 28\)"),
        ({"x_test": np.zeros((3, 28), np.uint8)}, r"x_test is uint8 \(3, 28\), expected bytes"),
        ({"x_train": np.zeros((6, 27, 28), np.uint8)}, "x_train: images of 27x28, expected 28x28"),
        ({"y_train": np.eye(6, 10)}, r"y_train is float64 \(6, 10\), expected integers \(N,\)"),
        ({"y_train": np.zeros(5, int)}, "x_train has 6 images, but .*y_train 5 labels"),
        ({"y_test": np.array([0, 10, 1])}, "y_test: label 10 found, expected 0 to 9"),
        ({"y_test": np.array([0, -1, 1])}, "y_test: label -1 found, expected 0 to 9"),
        ({"y_train": np.array([{}] * 6, object)}, "not a .npz file that can be read .an array of object, which only unpickling would make"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_npz_is_named(changed: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "mnist.npz", **changed)
    with pytest.raises(DataError, match=message):
        data.load("mnist", tmp_path)


def test_an_npz_with_other_arrays_names_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", images=TENS, labels=TENS)
    with pytest.raises(DataError, match="no array x_train, no y_train, .* in it; its arrays are images, labels"):
        data.load("mnist", tmp_path)
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="not a .npz file that can be read"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_promise_of_an_npz_takes_no_memory(compression: int, tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (300000, 28, 28), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w", compression) as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x_train: the header promises \(300000, 28, 28\) of uint8, 235,200,000 bytes, the file has 0"):  # fmt: skip
        data.load("mnist", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_the_catalog_and_the_recipes_know_the_same_sets() -> None:
    assert sorted(DATA_SETS) == sorted(data.names())
    for name in data.names():
        config = RunConfig(data=name).resolved()
        assert config.epochs
        if name == "folder":
            continue
        source = catalog._SOURCES[name]
        size = models.image_size_for("lenet5", data.native_size(name) or 0)
        assert models.create("lenet5", len(source.class_names), source.channels, size).parameter_count()
        has_mirror = "flip" in (config.augment or ())
        assert has_mirror == name.startswith("cifar"), "a mirror makes another character of a digit or letter"


@pytest.mark.parametrize(
    ("written", "name"),
    [("MNIST", "mnist"), ("Fashion-MNIST", "fashion-mnist"), ("fashion_mnist", "fashion-mnist"), ("FashionMNIST", "fashion-mnist"),
     ("CIFAR10", "cifar10"), ("CIFAR-10", "cifar10"), ("cifar-100", "cifar100"), ("SVHN", "svhn"), ("EMNIST Letters", "emnist-letters")],
)  # fmt: skip
def test_names_are_taken_in_whatever_capitals(written: str, name: str, tmp_path: Path) -> None:
    assert data.native_size(written) == data.native_size(name)
    assert RunConfig(data=written).data == name
    with pytest.raises(DataError) as raised:
        data.load(written, tmp_path)
    with pytest.raises(DataError) as same:
        data.load(name, tmp_path)
    assert str(raised.value) == str(same.value)


def test_no_two_names_are_one_but_for_capitals() -> None:
    for names in (data.names(), models.names()):
        bare = [name.replace("-", "").replace("_", "").lower() for name in names]
        assert len(set(bare)) == len(names)
    with pytest.raises(ArgumentError, match="unknown data set 'emnist', expected .*; did you mean emnist-byclass?"):
        data.load("emnist")
    with pytest.raises(ArgumentError, match="unknown data set 'cifar-20', .*; did you mean cifar10?"):
        data.load("cifar-20")
