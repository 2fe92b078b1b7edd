"""Preprocessing as ONNX nodes: what Pillow and `Preprocess` make of an image, to the bit, whatever its size."""

from collections.abc import Callable, Iterator

import numpy as np
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from PIL import Image

from gpucnn.data import Preprocess, read_image
from gpucnn.export import onnx_pixels
from gpucnn.export.onnx_graph import OnnxGraph

KINDS = {
    "digits": Preprocess(1, 8, 32, 16, "resize"),
    "mnist": Preprocess(1, 28, 33, 255, "pad", (0.13,), (0.31,)),
    "cifar": Preprocess(3, 32, 32, 255, "pad"),
    "photos": Preprocess(3, 24, 24, 255, "crop", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)),
    "grey photos": Preprocess(1, 17, 17, 255, "crop"),
    "odd": Preprocess(3, 7, 13, 200, "resize"),
}
SIZES = (
    (1, 1), (1, 50), (50, 1), (2, 3), (8, 8), (28, 28), (24, 24), (32, 32), (31, 33), (24, 90), (90, 24), (33, 20), (150, 60),
    (60, 150), (97, 89), (301, 7), (7, 301), (400, 3), (49, 98), (107, 103), (161, 196),
)  # fmt: skip


def built(preprocess: Preprocess, opset: int = 17) -> bytes:
    graph = OnnxGraph(opset)
    graph.put("Identity", [onnx_pixels.add_pixels(graph, "images", preprocess)], name="logits")
    shape = ("N", preprocess.channels, preprocess.image_size, preprocess.image_size)
    images = ("images", np.dtype(np.uint8), ("N", "H", "W", "C"))
    return graph.finished([images], [("logits", np.dtype(np.float32), shape)]).SerializeToString()


def in_onnxruntime(model: bytes) -> Callable[[np.ndarray], np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def images(channels: int = 3) -> Iterator[np.ndarray]:
    """Noise, and smooth ones, whose sums lie at the edge of rounding."""
    draw = np.random.default_rng(5)
    for number, (height, width) in enumerate(SIZES):
        few = draw.integers(0, 256, (4, 5, channels), np.uint8)
        if number % 2:
            yield draw.integers(0, 256, (height, width, channels), np.uint8)
        else:
            squeezed = few if channels == 3 else few[:, :, 0]
            yield np.asarray(Image.fromarray(squeezed).resize((width, height), 3)).reshape(height, width, channels)


def picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])


@pytest.mark.parametrize(("name", "opset"), list(zip(KINDS, (13, 21) * 3, strict=True)))
def test_an_image_of_any_size_is_what_pillow_and_preprocess_make_of_it(name: str, opset: int) -> None:
    preprocess = KINDS[name]
    run = in_onnxruntime(built(preprocess, opset))
    for channels in (1, 3):
        for image in images(channels):
            expected = preprocess(read_image(picture(image), preprocess))
            np.testing.assert_array_equal(run(image[None]), expected, str(image.shape), strict=True)


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_the_reference_evaluator_finds_the_same(name: str) -> None:
    run, reference = in_onnxruntime(built(KINDS[name])), ReferenceEvaluator(built(KINDS[name]))
    for image in images():
        np.testing.assert_array_equal(reference.run(None, {"images": image[None]})[0], run(image[None]), strict=True)


def test_images_of_a_batch_do_not_mix() -> None:
    run = in_onnxruntime(built(KINDS["photos"]))
    batch = np.random.default_rng(2).integers(0, 256, (5, 40, 31, 3), np.uint8)
    np.testing.assert_array_equal(run(batch), np.concatenate([run(image[None]) for image in batch]), strict=True)
    assert run(batch[:0]).shape == (0, 3, 24, 24)


def test_sums_of_a_very_wide_image_do_not_overflow() -> None:
    run = in_onnxruntime(built(KINDS["cifar"]))
    assert (run(np.full((1, 2, 70_000, 1), 255, np.uint8)) == 1).all()


@pytest.mark.parametrize("channels", [2, 4])
def test_images_of_other_channels_are_refused(channels: int) -> None:
    with pytest.raises(Exception, match="[Ee]xpand"):
        in_onnxruntime(built(KINDS["cifar"]))(np.zeros((1, 9, 9, channels), np.uint8))


def test_the_order_of_the_two_ways_is_that_of_the_installed_pillow() -> None:
    """Of an image that is high, and one that is higher than a hundred times its width."""
    rules = []
    for height in (90, 3100):
        image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, 30), np.uint8))
        narrower_first = image.resize((20, height), 2).resize((20, 20), 2)
        lower_first = image.resize((30, 20), 2).resize((20, 20), 2)
        assert narrower_first.tobytes() != lower_first.tobytes()
        rules.append(image.resize((20, 20), 2).tobytes() == lower_first.tobytes())
    assert (
        onnx_pixels.tall_rule() == {(False, False): None, (False, True): (100, 0), (True, True): (2, -1)}[tuple(rules)]
    )


@pytest.mark.parametrize("rule", [None, (100, 0), (2, -1)])
def test_other_pillows_would_be_followed_too(rule: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_pixels, "tall_rule", lambda: rule)
    run, native = in_onnxruntime(built(KINDS["odd"])), 7
    for height, width in ((40, 7), (40, 6), (900, 6), (30, 20), (800, 5), (6, 3)):
        image = picture(np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8))
        is_tall = rule is not None and height > native and height > rule[0] * width + rule[1] * native
        method = Image.Resampling.BOX if width > native else Image.Resampling.BILINEAR
        first = image.resize((width, native) if is_tall else (native, height), method)
        raw = np.asarray(first.resize((native, native), method)).transpose(2, 0, 1)
        expected = KINDS["odd"](np.rint(raw[None] * (200 / 255)).astype(np.uint8))
        np.testing.assert_array_equal(run(np.asarray(image)[None]), expected, str(image.size), strict=True)
