"""Raw images are bytes: what is none is refused with the way to go on, and that way works."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, layers
from gpucnn import functions as F
from gpucnn.errors import DataError, DTypeError
from tests.backends import Backend

BYTES = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4) * 8
PREPROCESS = data.Preprocess(1, 4, 4, 255, "pad")
LEAVE_OUT = (
    r"they are what a Preprocess makes of bytes, so leave it out: data.ArrayDataset\(images.astype\('float32'\), labels\); or make "
    r"them bytes: np.rint\(images \* 255\).astype\('uint8'\)$"
)
OWN_SCALE = r"bring them to \[0, 1\] by a scale of their own, e.g. \(images / {}\).astype\('float32'\), and give them without a Pre"
CAST = r"if that holds for all of them, convert with images.astype\('uint8'\)$"
NO_BYTES: list[tuple[np.ndarray, str]] = [
    ((BYTES / 255).astype(np.float32), f"float32 from 0 to 0.972549; {LEAVE_OUT}"),
    (BYTES / 255, f"float64 from 0 to 0.972549; {LEAVE_OUT}"),
    ((BYTES / 255).astype(np.float16), f"float16 from 0 to 0.97265.*; {LEAVE_OUT}"),
    (BYTES.astype(np.float32), f"float32 from 0 to 248; {CAST}"),
    (BYTES.astype(np.int64), f"int64 from 0 to 248; {CAST}"),
    (BYTES.astype(np.int16), f"int16 from 0 to 248; {CAST}"),
    (BYTES.astype(np.uint16), f"uint16 from 0 to 248; {CAST}"),
    (BYTES.astype(np.uint16) * 257, f"uint16 from 0 to 63736; {OWN_SCALE.format(65535)}"),
    (BYTES.astype(np.int32) - 5, f"int32 from -5 to 243; {OWN_SCALE.format('full_scale')}"),
    (BYTES / 100 - 1, f"float64 from -1 to 1.48; {OWN_SCALE.format('full_scale')}"),
    (BYTES > 100, r"bool from 0 to 1; convert with images.astype\('uint8'\), and take full_scale=1$"),
    (np.full((2, 1, 4, 4), np.nan), f"float64 from nan to nan; {OWN_SCALE.format('full_scale')}"),
]


@pytest.mark.parametrize(("images", "message"), NO_BYTES, ids=lambda value: str(getattr(value, "dtype", "")))
def test_what_is_no_bytes_is_refused_with_dtype_and_fix(images: np.ndarray, message: str) -> None:
    expected = rf"^expected raw images of bytes \(uint8\) from 0 to 255, got {message}"  # whole, where it ends in $
    with pytest.raises(DataError, match=expected):
        PREPROCESS(images)
    dataset = data.ArrayDataset(images, np.array([0, 1]), PREPROCESS)
    with pytest.raises(DataError, match=rf"expected raw images of bytes .* got {images.dtype} from"):
        dataset[0]
    with pytest.raises(DataError, match=expected.removesuffix("$")) as raised:
        next(iter(data.DataLoader(dataset, 2, workers=1)))
    assert "in batch 0 of epoch 0" in raised.value.__notes__[0]


@pytest.mark.parametrize("dtype", [complex, object])
def test_what_is_no_number_is_refused_when_a_data_set_is_made_of_it(dtype: type) -> None:
    images = BYTES.astype(dtype)
    with pytest.raises(DataError, match=rf"^expected raw images of bytes .* got {images.dtype}"):
        PREPROCESS(images)
    with pytest.raises(DataError, match=rf"^images must be numbers, got an array .* of {images.dtype}$"):
        data.ArrayDataset(images, np.array([0, 1]), PREPROCESS)


def test_on_every_device(backend: Backend) -> None:
    with pytest.raises(DataError, match="got float32 from 0 to 0.972549"):
        PREPROCESS(backend.array((BYTES / 255).astype(np.float32)))
    assert PREPROCESS(backend.array(BYTES)).dtype == np.float32


def test_the_fixes_do_what_the_preprocess_does() -> None:
    expected = PREPROCESS(BYTES)
    floats = (BYTES / 255).astype(np.float32)
    images, _ = data.ArrayDataset(floats, np.array([0, 1]))[np.arange(2)]
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(PREPROCESS(np.rint(floats * 255).astype("uint8")), expected)
    np.testing.assert_array_equal(PREPROCESS(BYTES.astype(np.int64).astype("uint8")), expected)
    sixteen = BYTES.astype(np.uint16) * 257
    np.testing.assert_array_equal((sixteen / 65535).astype("float32"), expected)
    masks = data.Preprocess(1, 4, 4, 1, "pad")((BYTES > 100).astype("uint8"))
    np.testing.assert_array_equal(masks, (BYTES > 100).astype(np.float32))


class Net(layers.Layer):
    def __init__(self) -> None:
        self.conv = layers.Conv2d(1, 2, 3)

    def forward(self, x: Any) -> Tensor:
        return self.conv(F.relu(x) if isinstance(x, Tensor) else x)


def test_raw_bytes_given_to_a_model_are_told_once() -> None:
    model = layers.Sequential(Net(), layers.Flatten())
    with pytest.warns(UserWarning, match="got bytes") as caught:
        outputs = [model(BYTES) for _ in range(3)]
    assert outputs[0].dtype == np.float32
    [warning] = caught
    assert str(warning.message) == (
        "Sequential: got bytes (uint8) from 0 to 248, and takes them for floats as large as that; models learn from images from "
        "0 to 1: divide them, e.g. (images / 255).astype('float32'), or feed them through a data.Preprocess"
    )
    assert warning.filename == __file__
    with pytest.warns(
        UserWarning, match=r"^Conv2d: got integers \(int64\) from 0 to 248, and takes them for floats as large"
    ):
        layers.Conv2d(1, 1, 3)(BYTES.astype(np.int64))
    layers.Linear(16, 1)(BYTES.astype(np.int64).reshape(2, 16))  # may count anything, as it is no image
    for images in (
        (BYTES / 255).astype(np.float32),
        (BYTES > 9).astype(np.uint8),
        np.zeros((0, 1, 4, 4), np.uint8),
        BYTES / 255,
    ):
        layers.Sequential(Net(), layers.Flatten())(images)


def test_bytes_as_a_tensor_name_the_layer_and_the_fix() -> None:
    model = layers.Sequential(Net(), layers.Flatten())
    with pytest.raises(DTypeError) as raised:
        model[0].conv(Tensor(BYTES))
    assert str(raised.value) == (
        "0.conv (Conv2d): float32 and uint8 met in one operation; make them one dtype, e.g. array.astype('float32'); if these "
        "are raw images, divide them, e.g. (images / 255).astype('float32'), or feed them through a data.Preprocess"
    )
    for layer, x in (
        (layers.Linear(16, 2), BYTES.reshape(2, 16)),
        (layers.BatchNorm2d(1), BYTES),
        (layers.Conv1d(1, 1, 1), BYTES.reshape(2, 1, 16)),
    ):
        with pytest.raises(DTypeError, match=rf"^{type(layer).__name__}: .*; if these are raw images, divide them"):
            layer(Tensor(x))
    with pytest.raises(
        DTypeError, match=r"^0.conv \(Conv2d\): float64 and float32 met in one operation; make .*float64'\)$"
    ):
        model[0].conv(Tensor(BYTES / 255))
