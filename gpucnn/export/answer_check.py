"""Whether a file of a run, ONNX or another, gives what `predict` does: tried on real images."""

from typing import NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import to_host
from gpucnn.errors import GraphError
from gpucnn.export.onnx_runtime import Evaluator
from gpucnn.export.run_images import RunImages, as_input
from gpucnn.layers.forward_state import evaluating
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import shape_text

LARGEST = 1e-3
"""Difference of a probability, and of a logit as a share of the largest. Float32 rounds to some 1e-6."""
IMAGES = {True: 32, False: 8}
"""How many are tried where running is fast, and where it is not."""
MANY = 17
"""In the first batch, of the first image, small and turned; others are alone. A graph is made of two and of five, and what is
the same for both, such as n // 8, is another number here."""
SMALL = (48, 40)


class Checked(NamedTuple):
    """What trying a file has found."""

    evaluator: str
    images: int
    what: str
    sizes: int
    """Of different images."""
    probabilities: float
    """The largest difference of one."""
    logits: float
    """The largest difference of one, as a share of the largest logit."""

    def __str__(self) -> str:
        sizes = f" in {self.sizes} sizes" if self.sizes > 1 else ""
        return (
            f"checked with {self.evaluator} on {self.images} of {self.what}{sizes}: probabilities differ from gpucnn's by "
            f"{self.probabilities:.1e} at most, logits by {self.logits:.1e} of the largest"
        )


def check(trained: TrainedRun, evaluator: Evaluator, images: RunImages, raw: bool) -> Checked:
    """Compare what the file gives for some images with what the run gives; raw ones that have one size are tried in others, too.

    GraphError for answers that are not finite, or too far from the run's: nothing to be used.
    """
    from PIL import Image

    shown, largest, probabilities = trained.shown(), 0.0, 0.0
    sizes = set()
    places = images.spread(IMAGES[evaluator.is_fast])
    for number, place in enumerate(places):
        image = images.at(place)
        if number == 0:
            image = image.resize(SMALL, Image.Resampling.BICUBIC)
        elif raw and images.have_one_size and number % 2:
            image = image.resize((image.width * 2 + number, image.height + 3 * number), Image.Resampling.BICUBIC)
        sizes.add(image.size)
        batch = [image] if number else [image.rotate(turn * 360 / MANY) for turn in range(MANY)]
        read = trained.preprocess(np.concatenate([trained.read(one, shown) for one in batch]))
        with no_grad(), evaluating(trained.model):
            logits = trained.model(read)
            expected = to_host(logits.array), to_host(F.softmax(logits).array)
        found = _answers(evaluator, as_input(trained, batch, raw))
        for one in (*expected, *found):
            if not np.isfinite(one).all():
                whose = "gpucnn's" if any(one is own for own in expected) else "the file's"
                raise GraphError(
                    f"{whose} answers to an image are not finite numbers, so that nothing can be compared, and no file is written; "
                    f"train with a lower --lr, or choose --weights best"
                )
        if found[0].shape != expected[0].shape:
            gives = f"gives {shape_text(found[0].shape)} where the run gives {shape_text(expected[0].shape)}"
            raise GraphError(f"the file {gives}, so that no file is written; {USE_FUNCTIONS}")
        scale = max(float(np.abs(expected[0]).max()), 1e-6)
        largest = max(largest, float(np.abs(found[0] - expected[0]).max()) / scale)
        probabilities = max(probabilities, float(np.abs(found[1] - expected[1]).max()))
    checked = Checked(evaluator.name, len(places), images.what, len(sizes), probabilities, largest)
    if max(largest, probabilities) > LARGEST:
        raise GraphError(
            f"the file's answers are not the run's, so that no file is written: {checked}; {LARGEST:g} is allowed; "
            f"{USE_FUNCTIONS}"
        )
    return checked


USE_FUNCTIONS = (
    "a layer that computes with NumPy, or decides by numbers, that of the images among them, is none that can be written: use "
    "gpucnn.functions in it, and take sizes from x.shape as they are"
)


def _answers(evaluator: Evaluator, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the file gives; GraphError where it fails, with an error of whatever runs it."""
    try:
        return evaluator.run(images)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise GraphError(
            f"the file fails for images {shape_text(images.shape)} ({reason}), so that no file is written; {USE_FUNCTIONS}"
        ) from None
