"""Options of convolution and pooling: what they mean at the edges, and what is refused."""

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, GpucnnError, ShapeError
from tests.backends import Backend, host


def test_indices_of_max_pooling_put_the_maxima_back(backend: Backend) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 7, 6))
    x = backend.tensor(images, True)
    maxima, indices = F.max_pool2d(x, 2, return_indices=True)
    assert (maxima.shape, indices.dtype) == ((2, 3, 3, 3), np.int32)
    back = F.max_unpool2d(maxima, indices, 2, output_size=(7, 6))
    kept = back.numpy() != 0
    assert kept.sum() == maxima.size
    np.testing.assert_array_equal(back.numpy()[kept], images[kept])
    (back * 2.0).sum().backward()
    np.testing.assert_array_equal(host(x.grad), 2.0 * kept)
    assert F.max_unpool2d(maxima, indices, 2).shape == (2, 3, 6, 6)


def test_the_first_maximum_of_a_cell_gets_the_gradient_and_nan_wins(backend: Backend) -> None:
    x = backend.tensor(np.array([[1.0, 1.0, np.nan], [1.0, 0.0, 5.0]])[None, None], True)
    output = F.adaptive_max_pool2d(x, (1, 3))
    np.testing.assert_array_equal(output.numpy()[0, 0], [[1, 1, np.nan]])
    output.backward(np.array([[[[1.0, 2.0, 3.0]]]]))
    np.testing.assert_array_equal(host(x.grad)[0, 0], [[1, 2, 3], [0, 0, 0]])


def test_indices_of_maxima_padded_at_one_side_put_them_back(backend: Backend) -> None:
    images = np.random.default_rng(1).standard_normal((2, 2, 5, 5))
    padding = ((1, 0), (0, 1))
    maxima, indices = F.max_pool2d(backend.tensor(images), (2, 3), (2, 3), padding, return_indices=True)
    back = F.max_unpool2d(maxima, indices, (2, 3), (2, 3), padding, images.shape).numpy()
    np.testing.assert_array_equal(back[back != 0], images[back != 0])
    assert (back != 0).sum() == maxima.size
    assert F.max_unpool2d(maxima, indices, (2, 3), (2, 3), padding).shape == (2, 2, 5, 5)


def test_indices_of_adaptive_maxima_and_of_sequences_say_where_they_were(backend: Backend) -> None:
    images = np.random.default_rng(2).standard_normal((2, 3, 7, 5))
    images[0, 0, :4] = 1.0
    images[1, 1, 2, 3] = np.nan
    maxima, indices = F.adaptive_max_pool2d(backend.tensor(images), (3, 2), return_indices=True)
    assert indices.dtype == np.int32
    flat = images.reshape(2, 3, 35)
    taken = np.take_along_axis(flat, indices.numpy().reshape(2, 3, 6).astype(int), 2).reshape(maxima.shape)
    np.testing.assert_array_equal(taken, maxima.numpy())
    np.testing.assert_array_equal(maxima.numpy(), F.adaptive_max_pool2d(backend.tensor(images), (3, 2)).numpy())
    assert indices.numpy()[0, 0].tolist() == [[0, 2], [10, 12], [*indices.numpy()[0, 0, 2]]], "the first of equal ones"
    sequences = images[:, :, 0].copy()
    for pooled, where in (
        F.max_pool1d(backend.tensor(sequences), 2, 2, (0, 1), return_indices=True),
        F.adaptive_max_pool1d(backend.tensor(sequences), 3, return_indices=True),
    ):
        assert where.shape == pooled.shape == (2, 3, 3)
        np.testing.assert_array_equal(np.take_along_axis(sequences, where.numpy().astype(int), 2), pooled.numpy())


def test_gradients_reach_images_through_maxima_with_indices(backend: Backend) -> None:
    x = backend.tensor(np.random.default_rng(3).standard_normal((1, 2, 6)), True)
    maxima, indices = F.max_pool1d(x, 3, return_indices=True)
    F.max_unpool1d(maxima, indices, 3).sum().backward()
    expected = np.zeros((1, 2, 6))
    np.put_along_axis(expected, indices.numpy().astype(int), 1, 2)
    np.testing.assert_array_equal(host(x.grad), expected)


def test_layers_keep_arrays_as_tuples() -> None:
    sizes = np.array([2, 1])
    layer = layers.MaxPool2d(sizes, padding=np.array([[1, 0], [0, 0]]))
    sizes[:] = 7
    assert layer(np.ones((1, 1, 4, 4), np.float32)).shape == (1, 1, 2, 4)
    assert repr(layer) == "MaxPool2d((2, 1), stride=(2, 1))"
    assert repr(layers.Conv2d(1, 2, np.array([3, 2]))) == "Conv2d(1, 2, kernel_size=(3, 2), stride=1, padding=0)"
    assert repr(layers.AdaptiveAvgPool2d((None, 3))) == "AdaptiveAvgPool2d(Hx3)"
    assert layers.AdaptiveAvgPool2d(None).output_shape((2, 3, 5, 4)) == (2, 3, 5, 4)


def test_an_empty_batch_is_put_back(backend: Backend) -> None:
    x = backend.tensor(np.zeros((0, 2, 4, 6)), True)
    maxima, indices = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(maxima, indices, 2)
    back.backward(np.zeros((0, 2, 4, 6)))
    assert back.shape == x.grad.shape == (0, 2, 4, 6)


def test_same_padding_keeps_the_size() -> None:
    for kernel, dilation in ((3, 1), (4, 1), ((2, 5), 1), (3, 2)):
        layer = layers.Conv2d(1, 1, kernel, padding="same", dilation=dilation)
        assert layer.output_shape((2, 1, 9, 8)) == layer(np.ones((2, 1, 9, 8))).shape == (2, 1, 9, 8)


MAXIMA = np.ones((1, 1, 2, 2))


def places(*indices: float) -> Tensor:
    return Tensor(np.array(indices).reshape(1, 1, 2, 2))


HALF = "padding must be at most half of kernel_size, got padding"

REFUSED = [
    *[
        (lambda call=call: call(np.ones((1, 1, 9, 9)), 3, 1, ((0, 2), (0, 0))), ArgumentError,
         f"{call.__name__}: {HALF} ((0, 2), (0, 0)) for a kernel of 3x3: some windows would see no image at all")
        for call in (F.max_pool2d, F.avg_pool2d)
    ],
    *[
        (lambda call=call, padding=padding: call(np.ones((1, 1, 9)), 2, 1, padding), ArgumentError,
         f"{call.__name__}: {HALF} {padding} for kernel_size 2: some windows would see no sequence at all")
        for call in (F.max_pool1d, F.avg_pool1d)
        for padding in (2, (0, 2), (2, 0))
    ],
    (lambda: layers.AvgPool2d(2, padding=((0, 0), (0, 2))), ArgumentError, f"AvgPool2d: {HALF} ((0, 0), (0, 2)) for a kernel of 2x2"),
    (lambda: layers.MaxPool1d(3, padding=(0, 2)), ArgumentError, f"MaxPool1d: {HALF} (0, 2) for kernel_size 3"),
    (lambda: layers.AvgPool1d(3, padding=-1), ArgumentError,
     'AvgPool1d: padding must be "same", "valid", an int >= 0 or a (before, after) pair of them, got -1'),
    (lambda: F.max_pool2d(np.ones((1, 1, 4, 4)), 2, padding="same"), ArgumentError,
     'padding "same" needs stride 1, got (2, 2); give the padding in numbers'),
    (lambda: F.max_pool2d(np.ones((1, 1, 9, 9)), 3, 1, "same", 2), ArgumentError, f"max_pool2d: {HALF} 'same' for a kernel of 3x3"),
    (lambda: F.avg_pool2d(np.ones((1, 1, 4, 4)), 2, divisor_override=0), ArgumentError,
     "avg_pool2d: divisor_override must be an int, and not 0, got 0"),
    (lambda: F.adaptive_max_pool2d(np.ones((1, 1, 4, 4)), (None, 0)), ArgumentError,
     "adaptive_max_pool2d: output_size must be an int >= 1 or a (height, width) pair of them, got (None, 0); None keeps the images' size"),
    (lambda: F.adaptive_avg_pool1d(np.ones((1, 1, 4)), 0), ArgumentError, "adaptive_avg_pool1d: output_size must be an int >= 1, got 0"),
    (lambda: F.adaptive_max_pool1d(np.ones((1, 4)), 2), ShapeError,
     "adaptive_max_pool1d: expected sequences (N, C, L), at least 1 long, got (1, 4)"),
    (lambda: layers.AdaptiveMaxPool1d(2)(np.ones((1, 4, 0))), ShapeError,
     "AdaptiveMaxPool1d: expected sequences (N, C, L), at least 1 long, got (1, 4, 0)"),
    (lambda: F.avg_pool1d(np.ones((1, 1, 4), int), 2), DTypeError, "avg_pool1d: expected floats, got int64"),
    (lambda: F.max_unpool1d(np.ones((1, 2, 3)), np.zeros((1, 2), int), 2), ShapeError,
     "max_unpool1d: expected maxima (N, C, L) and indices of their shape, got (1, 2, 3) and (1, 2)"),
    (lambda: F.max_unpool1d(np.ones((1, 2, 3)), np.full((1, 2, 3), 6), 2), ArgumentError, "max_unpool2d: indices must be from 0 to 5"),
    (lambda: F.max_unpool2d(MAXIMA, places(0, 2, 8, 10), 2, output_size=4), ArgumentError,
     "max_unpool2d: output_size must be (height, width), got 4"),
    (lambda: F.max_pool1d(np.ones((1, 1, 4)), (2, 2)), ArgumentError, "max_pool1d: kernel_size must be an int >= 1, got (2, 2)"),
    (lambda: layers.ConvTranspose2d(1, 1, 3, padding=((0, 1), (0, 1))), ArgumentError,
     "padding must be an int >= 0 or a (height, width) pair of them, got ((0, 1), (0, 1))"),
    (lambda: F.max_unpool2d(MAXIMA, places(0, 2, 8, 16), 2), ArgumentError,
     "max_unpool2d: indices must be from 0 to 15 for an output of 4x4, got 0 to 16; give the output_size of the images that"),
    (lambda: F.max_unpool2d(MAXIMA, places(0, 2, 8, -1), 2), ArgumentError, "max_unpool2d: indices must be from 0 to 15 for"),
    (lambda: F.max_unpool2d(MAXIMA, places(0, 2, 8, 10), 2, output_size=(2, 3)), ArgumentError,
     "max_unpool2d: indices must be from 0 to 5 for an output of 2x3, got 0 to 10"),
    (lambda: F.max_unpool2d(MAXIMA, places(0.0, 2.0, 8.0, 10.0), 2), DTypeError,
     "max_unpool2d: indices must be integers, got float64; take those of max_pool2d"),
    (lambda: F.max_unpool2d(MAXIMA, places(0, 0, 0, 0), 2, 1, 1, output_size=(0, 1)), ShapeError,
     "max_unpool2d: maxima (1, 1, 2, 2) would give 0x1; give the output_size of the images that were pooled"),
    (lambda: F.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), stride=2, padding="same"), ArgumentError,
     'padding "same" needs stride 1, got (2, 2); give the padding in numbers'),
    (lambda: layers.Conv2d(1, 1, 3, padding="full"), ArgumentError, 'padding must be "same", "valid" or ints >= 0, got \'full\''),
    (lambda: layers.Conv2d(1, 1, 3, padding=((1, -1), (0, 0))), ArgumentError, "padding must be an int >= 0 or a (height, width)"),
    (lambda: F.conv_transpose2d(np.ones((1, 2, 3, 3)), np.ones((3, 1, 2, 2))), ShapeError,
     "conv_transpose2d: expected input (N, 3, H, W), got (1, 2, 3, 3)"),
    (lambda: F.conv_transpose2d(np.ones((1, 2, 3, 3)), np.ones((2, 1, 2, 2)), output_padding=1), ArgumentError,
     "conv_transpose2d: output_padding must be smaller than stride or dilation, got 1 for stride (1, 1) and dilation (1, 1)"),
    (lambda: F.conv_transpose2d(np.ones((1, 2, 1, 1)), np.ones((2, 1, 2, 2)), padding=1), ShapeError,
     "conv_transpose2d: images of 1x1 would give 0x0; use less padding"),
    (lambda: F.conv_transpose2d(np.ones((1, 2, 3, 3)), np.ones((2, 1, 2, 2)), np.ones(2)), ShapeError,
     "conv_transpose2d: expected bias (1,), one per output channel, got (2,)"),
    (lambda: layers.ConvTranspose2d(2, 3, 2, groups=2), ArgumentError, "ConvTranspose2d: groups must divide out_channels"),
    (lambda: F.adaptive_avg_pool2d(np.ones((2, 3)), 1), ShapeError, "adaptive_avg_pool2d: expected images (N, C, H, W)"),
    (lambda: layers.AdaptiveMaxPool2d(0), ArgumentError, "AdaptiveMaxPool2d: output_size must be an int >= 1"),
    (lambda: layers.AdaptiveAvgPool2d(1)(np.ones((1, 2, 0, 3))), ShapeError, "AdaptiveAvgPool2d: expected images (N, C, H, W)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED, ids=[text[:45] for _, _, text in REFUSED])
def test_what_is_refused(call: object, kind: type[GpucnnError], text: str) -> None:
    with pytest.raises(kind) as raised:
        call()  # type: ignore[operator]
    assert str(raised.value).startswith(text)
