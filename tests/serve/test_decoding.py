"""Small plain images take a short way, to the very bytes that the long one gives."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn import layers
from gpucnn.data import Preprocess
from gpucnn.runs.trained_run import TrainedRun, Weights
from gpucnn.serve.decoding import Decoder
from gpucnn.serve.multipart import File
from tests.serve.running import image, written


@pytest.mark.parametrize("fit", ["pad", "resize", "crop"])
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
@pytest.mark.parametrize("full_scale", [16, 255])
def test_the_short_way_gives_what_the_run_reads(
    fit: str, mode: str, channels: int, full_scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess = Preprocess(channels, 12, 12 if fit == "crop" else 32, full_scale, fit)  # type: ignore[arg-type]
    trained = TrainedRun(layers.Sequential(), preprocess, ["a", "b"], {}, Weights("last", Path("model"), {}))
    content = written(image(3, 12, mode))
    expected = trained.read(content, trained.shown())
    assert expected.std() > 1
    monkeypatch.setattr(trained, "read", lambda *_: pytest.fail("the long way"))
    found = Decoder(trained, 1000).at_once(File("", content))
    assert found is not None
    assert (found.dtype, found.shape) == (np.uint8, (1, channels, 12, 12))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "content",
    [
        written(image(3, 12, "RGB")),  # to be turned to grey
        written(image(3, 16)),  # to be fitted
        written(image(3, 12).convert("P"), transparency=3),
        written(image(3, 12), dpi=(72, 72)),
    ],
)
def test_others_take_the_long_one(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = Preprocess(1, 12, 32, 255, "pad")
    trained = TrainedRun(layers.Sequential(), preprocess, ["a", "b"], {}, Weights("last", Path("model"), {}))
    asked: list[object] = []
    monkeypatch.setattr(trained, "read", lambda *given: asked.append(given) or np.zeros(1))
    Decoder(trained, 1000).at_once(File("", content))
    assert len(asked) == 1
