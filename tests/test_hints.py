"""Labels and images of a wrong shape, and states of other libraries: the message tells what they are, and the fix."""

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, models
from gpucnn import functions as F
from gpucnn.data import ArrayDataset, CutMix, Mixup, Preprocess, class_weights, split
from gpucnn.errors import DataError, GpucnnError, ShapeError, StateError
from gpucnn.training import ConfusionMatrix
from gpucnn.training.metrics import Metrics, in_top_k

LOGITS = np.zeros((4, 3), np.float32)
LABELS = np.array([0, 2, 1, 2])
ANSWERS = np.array([0, 2, 1, 1])
COLUMN, ROW, ONE_HOT = LABELS[:, None], LABELS[None], np.eye(3, dtype=int)[LABELS]


class _Labelled(ArrayDataset):
    """A data set of one's own, whose labels nothing has looked at."""

    def __init__(self, labels: Any) -> None:
        super().__init__(np.zeros((4, 1, 2, 2), np.uint8), LABELS)
        self.labels = labels


TAKERS: dict[str, Callable[[Any], Any]] = {
    "ArrayDataset": lambda labels: ArrayDataset(np.zeros((4, 1, 2, 2), np.uint8), labels),
    "cross_entropy": lambda labels: F.cross_entropy(LOGITS, labels),
    "nll_loss": lambda labels: F.nll_loss(LOGITS, labels),
    "ConfusionMatrix": lambda labels: ConfusionMatrix(list("abc")).update(ANSWERS, labels),
    "in_top_k": lambda labels: in_top_k(LOGITS, labels, 1),
    "class_weights": lambda labels: class_weights(labels),
    "split": lambda labels: split(_Labelled(labels), 0.5),
    "Metrics": lambda labels: Metrics().update(Tensor(0.0), Tensor(LOGITS), labels),
    "Mixup": lambda labels: Mixup()(np.zeros((4, 1, 2, 2), np.float32), labels, np.arange(4), 0, 0, 3),
    "CutMix": lambda labels: CutMix()(np.zeros((4, 1, 2, 2), np.float32), labels, np.arange(4), 0, 0, 3),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_labels_in_a_column_or_one_hot_are_told_with_the_fix(taker: str) -> None:
    take = TAKERS[taker]
    take(LABELS)
    for labels, fix in ((COLUMN, "labels[:, 0]"), (ONE_HOT, "labels.argmax(axis=1)"), (ROW, "labels[0]")):
        if (taker, labels is ONE_HOT) == ("Metrics", True) or (labels is ROW and taker in ("class_weights", "split")):
            continue  # soft labels; nothing that tells a row from one image
        with pytest.raises(GpucnnError, match=re.escape(fix)):
            take(labels)
        mended = eval(fix, {"labels": labels})
        np.testing.assert_array_equal(mended, LABELS)


def test_floats_that_are_one_hot_are_not_to_be_converted() -> None:
    with pytest.raises(
        GpucnnError, match=r"labels must be integers, got float32; they look one-hot: take labels.argmax"
    ):
        F.nll_loss(LOGITS, ONE_HOT.astype(np.float32))
    with pytest.raises(DataError, match=r"they look one-hot: take labels.argmax\(axis=1\)"):
        ArrayDataset(np.zeros((4, 1, 2, 2)), ONE_HOT.astype(float))
    assert F.cross_entropy(LOGITS, ONE_HOT.astype(np.float32)).item() == pytest.approx(np.log(3), rel=1e-6)


def test_other_shapes_are_no_one_hot() -> None:
    for labels in (np.zeros((5, 3), int), np.zeros(5, int), np.zeros((4, 3, 2), int), np.zeros((), int)):
        with pytest.raises(ShapeError) as raised:
            F.cross_entropy(LOGITS, labels)
        assert "one-hot" not in str(raised.value)
        assert "give one class index per image" in str(raised.value)


def test_logits_are_no_answers() -> None:
    with pytest.raises(ShapeError, match=r"answers are classes: take logits.argmax\(axis=1\)$"):
        ConfusionMatrix(list("abc")).update(LOGITS, LABELS)


def test_a_column_of_labels_is_not_counted_as_class_0() -> None:
    metrics = Metrics()
    with pytest.raises(
        ShapeError, match=r"Metrics: expected labels \(4,\) or \(4, 3\) for logits \(4, 3\), got \(4, 1\)"
    ):
        metrics.update(Tensor(0.0), Tensor(LOGITS), COLUMN)
    assert metrics.total == 0


X = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
GREY = X[:, :1]
IMAGE_TAKERS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "F.conv2d": (lambda x: F.conv2d(x, np.ones((4, 3, 3, 3), np.float32)), X),
    "F.conv_transpose2d": (lambda x: F.conv_transpose2d(x, np.ones((3, 4, 3, 3), np.float32)), X),
    "Conv2d": (layers.Conv2d(3, 4, 3), X),
    "ConvTranspose2d": (layers.ConvTranspose2d(3, 4, 3), X),
    "BatchNorm2d": (layers.BatchNorm2d(3), X),
    "GroupNorm": (layers.GroupNorm(3, 3), X),
    "Sequential": (layers.Sequential(layers.Conv2d(3, 4, 3), layers.ReLU()), X),
    "LeNet5": (models.create("lenet5"), GREY),
    "LeNet5 of colours": (models.create("lenet5", in_channels=3), X),
    "SimpleCNN": (models.create("simplecnn", in_channels=3, image_size=32), X),
    "MLP": (models.create("mlp", in_channels=3, image_size=32), X),
    "ResNet20": (models.create("resnet20"), X),
    "ConvNeXt": (models.create("convnext_tiny", image_size=32), X),
    "UNet": (models.create("unet", image_size=32), X),
    "DenseNet": (models.create("densenet40_12"), X),
}


@pytest.mark.parametrize("taker", IMAGE_TAKERS)
def test_a_missing_batch_axis_and_channels_last_are_told_with_the_fix(taker: str) -> None:
    take, images = IMAGE_TAKERS[taker]
    channels = images.shape[1]
    wrong = {"x[None]": images[0], "x.transpose(0, 3, 1, 2)": images.transpose(0, 2, 3, 1)}
    wrong["x.transpose(2, 0, 1)[None]"] = images[0].transpose(1, 2, 0)
    if channels == 1:
        wrong["x[:, None]"] = images[:, 0]
    for fix, x in wrong.items():
        with pytest.raises(ShapeError, match=re.escape(fix)) as raised:
            take(x)
        assert f"got ({', '.join(map(str, x.shape))})" in str(raised.value)
        mended = eval(fix, {"x": x})
        assert mended.shape in (images.shape, (1, *images.shape[1:]))
    words = {
        "x[None]": "add a batch axis: x[None]",
        "x.transpose(0, 3, 1, 2)": "the axes are N,H,W,C: x.transpose(0, 3, 1, 2)",
    }
    for fix, sentence in words.items():
        with pytest.raises(ShapeError, match=re.escape(sentence)):
            take(wrong[fix])


def test_sequences_and_raw_images_have_the_fix_too() -> None:
    conv = layers.Conv1d(3, 4, 3)
    with pytest.raises(ShapeError, match=r"got \(3, 8\); add a batch axis: x\[None\]$"):
        conv(np.zeros((3, 8), np.float32))
    with pytest.raises(ShapeError, match=r"got \(2, 8, 3\); the axes are N,L,C: x.transpose\(0, 2, 1\)$"):
        conv(np.zeros((2, 8, 3), np.float32))
    with pytest.raises(
        DataError, match=r"raw images \(N, 3, 8, 8\), got \(2, 8, 8, 3\); the axes are N,H,W,C: x.transpose"
    ):
        Preprocess(3, 8, 8, 255, "pad")(np.zeros((2, 8, 8, 3), np.uint8))


def test_pixels_of_channels_last_do_not_pass_an_mlp_in_another_order() -> None:
    model = models.create("mlp", in_channels=3, image_size=32)
    with pytest.raises(
        ShapeError, match=r"MLP: expected input \(N, 3, H, W\), got \(2, 32, 32, 3\); the axes are N,H,W,C"
    ):
        model(X.transpose(0, 2, 3, 1))


def test_other_images_have_the_message_that_they_had() -> None:
    conv = layers.Conv2d(3, 4, 3)
    with pytest.raises(ShapeError, match=r"got \(2, 5, 8, 8\); give it 3 channels or build it with in_channels=5$"):
        conv(np.zeros((2, 5, 8, 8), np.float32))
    with pytest.raises(
        ShapeError, match=r"got \(8, 8\); images need a batch and a channel axis: add them with images\[:, None\]"
    ):
        conv(np.zeros((8, 8), np.float32))
    with pytest.raises(ShapeError, match=r"got \(2, 1, 28, 28\); pad or resize the images to 32x32$"):
        models.create("lenet5")(np.zeros((2, 1, 28, 28), np.float32))


@pytest.mark.parametrize(
    ("prefix", "origin"),
    [("module.", ", as torch.nn.DataParallel or DistributedDataParallel puts it there"), ("_orig_mod.", ", as torch.compile puts it there"),
     ("module._orig_mod.", ", as torch.nn.DataParallel or DistributedDataParallel and torch.compile puts it there"), ("model.", ", as a LightningModule puts it there"), ("net.", "")],
)  # fmt: skip
def test_a_prefix_of_another_library_is_told_with_the_fix(prefix: str, origin: str) -> None:
    model = models.create("lenet5", seed=1)
    state, other = model.state_dict(), models.create("lenet5", seed=2)
    prefixed = {f"{prefix}{name}": array for name, array in state.items()}
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(StateError) as raised:
        other.load_state_dict(prefixed)
    message = str(raised.value)
    assert f'every name begins with "{prefix}"{origin}' in message
    assert "build the model with" not in message
    np.testing.assert_equal(other.state_dict(), before)
    other.load_state_dict(eval(message.partition("take it off, ")[2], {"state": prefixed}))
    np.testing.assert_equal(other.state_dict(), state)


def test_a_checkpoint_around_the_state_is_told() -> None:
    model = models.create("lenet5")
    for state in (model.state_dict(), {f"module.{name}": array for name, array in model.state_dict().items()}):
        with pytest.raises(StateError, match=r"they are in one entry of a checkpoint: give state\['state_dict'\]"):
            model.load_state_dict({"epoch": 3, "state_dict": state, "optimizer": {"lr": 1}})
    with pytest.raises(StateError, match="build the model with the arguments it was saved with"):
        model.load_state_dict(models.create("mlp").state_dict())
