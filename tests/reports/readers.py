"""Reports on reading data sets, and on what is given in another form than is expected."""

import contextlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data, layers, models
from gpucnn import functions as F
from gpucnn.backend import choose_device, cuda
from gpucnn.cli.main import main
from gpucnn.errors import GpucnnError
from gpucnn.training import ConfusionMatrix, RunConfig
from tests.data.idx_files import idx, write_small_mnist
from tests.data.set_files import pixels, write_batch, write_npz, write_svhn, write_table
from tests.reports.report import Report


def _refused(call: Callable[[], Any], *parts: str) -> None:
    with pytest.raises(GpucnnError) as raised:
        call()
    said = str(raised.value)
    assert not [part for part in parts if part not in said], said
    assert "\n" not in said


def _said(*arguments: str) -> str:
    """What a command prints on standard error; it must end well."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        assert main([*arguments, "--device", "cpu"]) == 0, said.getvalue()
    return said.getvalue()


def _train(*arguments: str) -> str:
    return _said("train", *arguments, "--model", "mlp", "--epochs", "1", "--out", "run", "--quiet")


def _emnist(folder: Path, labels: np.ndarray) -> np.ndarray:
    images = pixels(len(labels), 28, 28)
    for part in ("train", "test"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"emnist-letters-{part}-{kind}-ubyte").write_bytes(idx(array))
    return images


def _letters_from_1(folder: Path) -> None:
    images = _emnist(folder, np.array([1, 26, 3], np.uint8))
    train = data.load("emnist-letters", folder).train
    assert isinstance(train, data.ArrayDataset)
    assert train.labels.tolist() == [0, 25, 2]
    np.testing.assert_array_equal(train.images[:, 0], images.transpose(0, 2, 1))
    _train("--data", "emnist-letters", "--data-dir", str(folder))


def _torchvision(folder: Path) -> None:
    (folder / "MNIST" / "raw").mkdir(parents=True)
    write_small_mnist(folder / "MNIST" / "raw")
    _train("--data", "mnist", "--data-dir", str(folder))


def _keras(folder: Path) -> None:
    write_npz(folder / "mnist.npz", 64, 32)
    _train("--data", "mnist", "--data-dir", str(folder))


def _kaggle(folder: Path) -> None:
    images = pixels(40, 28, 28)
    write_table(folder / "train.csv", images, [place % 10 for place in range(40)])
    write_table(folder / "test.csv", images, None)
    assert "test.csv has no labels; 8 of the 40 images in train.csv are for testing" in _train(
        "--data", "mnist", "--data-dir", str(folder)
    )
    assert "test.csv has no labels" in _said("evaluate", "run")
    (folder / "train.csv").rename(folder / "labelled.csv")
    (folder / "test.csv").rename(folder / "train.csv")
    _refused(lambda: data.load("mnist", folder), "train.csv", "no column label, so nothing to learn from")


def _cifar_python(folder: Path) -> None:
    (folder / "cifar-10-batches-py").mkdir()
    for name in ("data_batch_1", "test_batch"):
        write_batch(folder / "cifar-10-batches-py" / name, pixels(10, 3, 32, 32), labels=list(range(10)))
    _train("--data", "cifar10", "--data-dir", str(folder))


class _Planted:
    def __reduce__(self) -> Any:
        return os.system, ("touch planted",)


def _planted_pickle(folder: Path) -> None:
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(pickle.dumps({b"data": _Planted(), b"labels": [0]}, 2))
    _refused(lambda: data.load("cifar10", folder), "data_batch_1", ".system", "nothing of it was run")
    assert not (folder / "planted").exists()


def _cifar100(folder: Path) -> None:
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(bytes([19, 99]) + bytes(3072))
    assert data.load("cifar100", folder).train.labels.tolist() == [99]
    assert data.load("cifar100-coarse", folder).train.labels.tolist() == [19]


def _svhn(folder: Path) -> None:
    for name in ("train", "test"):
        write_svhn(folder / f"{name}_32x32.mat", pixels(10, 3, 32, 32), list(range(1, 11)))
    assert data.load("svhn", folder).train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    _train("--data", "svhn", "--data-dir", str(folder))


def _capitals(folder: Path) -> None:
    config = RunConfig(data="Fashion-MNIST", model="LeNet-5", optimizer="SGD:momentum=0.8", schedule="One-Cycle")
    assert (config.data, config.model) == ("fashion-mnist", "lenet5")
    assert (config.optimizer, config.schedule) == ("sgd:momentum=0.8", "one_cycle")
    assert type(models.create("ResNet18")) is models.ResNet18
    _refused(lambda: data.load("EMNIST"), "did you mean emnist-byclass?")
    _refused(lambda: models.create("ResNet-19"), "did you mean resnet18?")
    write_small_mnist(folder)
    _train("--data", "MNIST", "--data-dir", str(folder))


def _nothing_there(folder: Path) -> None:
    for name, library in (("mnist", "torchvision.datasets.MNIST"), ("cifar100", "cifar-100-binary.tar.gz")):
        _refused(lambda name=name: data.load(name, folder), "looked for", library, "--data-dir")  # type: ignore[misc]


def _one_hot(folder: Path) -> None:
    logits, one_hot = np.zeros((3, 3), np.float32), np.eye(3, dtype=int)
    _refused(lambda: F.cross_entropy(logits, one_hot), "labels.argmax(axis=1)")
    _refused(lambda: ConfusionMatrix(list("abc")).update(np.arange(3), one_hot), "labels.argmax(axis=1)")
    _refused(lambda: data.ArrayDataset(np.zeros((3, 1, 2, 2)), one_hot), "labels.argmax(axis=1)")


def _column(folder: Path) -> None:
    logits, column = np.zeros((3, 3), np.float32), np.arange(3)[:, None]
    _refused(lambda: F.nll_loss(logits, column), "they are a column: take labels[:, 0]")
    _refused(lambda: data.ArrayDataset(np.zeros((3, 1, 2, 2)), column), "take labels[:, 0]")


def _single_image(folder: Path) -> None:
    _refused(lambda: models.create("lenet5")(np.zeros((1, 32, 32), np.float32)), "add a batch axis: x[None]")
    _refused(lambda: layers.Conv2d(3, 4, 3)(np.zeros((3, 8, 8), np.float32)), "add a batch axis: x[None]")


def _channels_last(folder: Path) -> None:
    images = np.zeros((2, 32, 32, 3), np.float32)
    for name in ("resnet20", "mlp"):
        model = models.create(name, in_channels=3, image_size=32)
        _refused(lambda model=model: model(images), "the axes are N,H,W,C: x.transpose(0, 3, 1, 2)")  # type: ignore[misc]


def _prefixed(prefix: str, maker: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        model = models.create("lenet5")
        state = {f"{prefix}{name}": array for name, array in model.state_dict().items()}
        _refused(lambda: model.load_state_dict(state), maker, f"name.removeprefix({prefix!r})")

    return check


def _file_called_cupy(folder: Path) -> None:
    import sys

    (folder / "cupy.py").write_text("import numpy as cp\n")
    before, kept = sys.modules.pop("cupy", None), list(sys.path)
    sys.path.insert(0, str(folder))
    caches = (cuda._import_cupy, cuda.find_problem)
    try:
        for cache in caches:
            cache.cache_clear()
        _refused(lambda: choose_device("cuda"), f"{folder / 'cupy.py'} is in the way of CuPy", "another name")
    finally:
        sys.path[:] = kept
        sys.modules.pop("cupy", None)
        if before is not None:
            sys.modules["cupy"] = before
        for cache in caches:
            cache.cache_clear()


def _ink_on_paper(folder: Path) -> None:
    _train("--data", "digits")
    page = np.full((80, 80), 235, np.uint8)
    page[10:70, 35:45] = 30
    Image.fromarray(page).save(folder / "one.png")
    assert "one.png is dark on light, and digits is light on dark; --invert" in _said("predict", "run", "one.png")
    assert "dark on light" not in _said("predict", "run", "one.png", "--invert")


def _black_logo(folder: Path) -> None:
    logo = np.zeros((8, 8, 4), np.uint8)
    logo[2:6, 2:6, 3] = 255
    Image.fromarray(logo).save(folder / "logo.png")
    preprocess = data.Preprocess(1, 8, 8, 255, "pad")
    assert data.read_image(folder / "logo.png", preprocess).max() == 255
    assert data.read_image(folder / "logo.png", preprocess, "black").max() == 0


def _transparent_colour(folder: Path) -> None:
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image.paste((0, 0, 90), (2, 2, 6, 6))
    image.save(folder / "trns.png", transparency=(255, 0, 0))
    raw = data.read_image(folder / "trns.png", data.Preprocess(3, 8, 8, 255, "pad"))
    assert raw[0, :, 0, 0].tolist() == [255, 255, 255]
    assert raw[0, :, 4, 4].tolist() == [0, 0, 90]


def _transposed(folder: Path) -> None:
    images = _emnist(folder, np.array([1, 2], np.uint8))
    test = data.load("emnist-letters", folder).test
    assert isinstance(test, data.ArrayDataset)
    np.testing.assert_array_equal(test.images[1, 0, 3], images[1, :, 3])


REPORTS = [
    Report(
        "EMNIST's letters",
        "images are upright, labels from 1 are classes from 0 on",
        "pytorch/vision#2630",
        _letters_from_1,
    ),
    Report("--data-dir is the root that torchvision downloaded to", "MNIST/raw below it is found", "", _torchvision),
    Report("mnist.npz of Keras", "is read as it is", "", _keras),
    Report("Kaggle's digits, whose test.csv has no labels", "it is told; a fifth of train.csv tests", "", _kaggle),
    Report("CIFAR-10 in Python's version", "is read without running a pickle", "", _cifar_python),
    Report(
        "a batch of CIFAR-10 with os.system in it",
        "is refused by name, and runs nothing",
        "keras-team/keras#23252",
        _planted_pickle,
    ),
    Report("CIFAR-100 in its binary version", "fine labels, or coarse ones by name", "", _cifar100),
    Report("SVHN, whose label 10 is the digit 0", "the class is the digit", "pytorch/vision#98", _svhn),
    Report("names in capitals, with hyphens or underscores", "are taken; others get the nearest", "", _capitals),
    Report(
        "a data set whose files are not there", "all that was looked for is told, and where it is", "", _nothing_there
    ),
    Report("one-hot labels", "the message says so, with argmax", "pytorch/pytorch#3670", _one_hot),
    Report(
        "labels (N, 1), as a table has them",
        "the message says so, with [:, 0]",
        "zergtant/pytorch-handbook#37",
        _column,
    ),
    Report("one image without a batch axis", "the message says so, with x[None]", "", _single_image),
    Report("images (N, H, W, C)", "the message says so, with transpose; no MLP takes them", "", _channels_last),
    Report(
        'a state whose names begin with "module."',
        "who put it there, and how it comes off",
        "pytorch/pytorch#3805",
        _prefixed("module.", "DataParallel"),
    ),
    Report(
        'a state whose names begin with "_orig_mod."',
        "the same",
        "karpathy/nanoGPT#325",
        _prefixed("_orig_mod.", "torch.compile"),
    ),
    Report("EMNIST's images lie in its files transposed", "they are upright", "tensorflow/datasets#812", _transposed),
    Report(
        "a PNG of colours, one of them transparent",
        "the colour does not show",
        "huggingface/transformers#49003",
        _transparent_colour,
    ),
    Report("a script called cupy.py", "it is told to be in the way", "", _file_called_cupy),
    Report(
        "a photo of ink on paper for a run on MNIST's like",
        "one line, and --invert",
        "9crk/caffe-mnist-test#2",
        _ink_on_paper,
    ),
    Report("a black drawing on nothing", "is on white, not black on black", "NVIDIA/DIGITS#85", _black_logo),
]
