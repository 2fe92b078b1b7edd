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

LARGEST = 1e-3
"""Difference of a probability, and of a logit as a share of the largest. Float32 rounds to some 1e-6."""
IMAGES = {True: 32, False: 8}
"""How many are tried where running is fast, and where it is not."""


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
        if raw and images.have_one_size and number % 2:
            image = image.resize((image.width * 2 + number, image.height + 3 * number), Image.Resampling.BICUBIC)
        sizes.add(image.size)
        read = trained.preprocess(trained.read(image, shown))
        given = as_input(trained, [image], raw)
        with no_grad(), evaluating(trained.model):
            logits = trained.model(read)
            expected = to_host(logits.array), to_host(F.softmax(logits).array)
        found = [rows[-1:] for rows in evaluator.run(np.repeat(given, 1 + number % 3, axis=0))]
        for one in (*expected, *found):
            if not np.isfinite(one).all():
                whose = "gpucnn's" if any(one is own for own in expected) else "the file's"
                raise GraphError(
                    f"{whose} answers to an image are not finite numbers, so that nothing can be compared, and no file is written; "
                    f"train with a lower --lr, or choose --weights best"
                )
        scale = max(float(np.abs(expected[0]).max()), 1e-6)
        largest = max(largest, float(np.abs(found[0] - expected[0]).max()) / scale)
        probabilities = max(probabilities, float(np.abs(found[1] - expected[1]).max()))
    checked = Checked(evaluator.name, len(places), images.what, len(sizes), probabilities, largest)
    if max(largest, probabilities) > LARGEST:
        raise GraphError(
            f"the file's answers are not the run's, so that no file is written: {checked}; {LARGEST:g} is allowed. A layer "
            f"that computes with NumPy, or decides by numbers, is none that can be written: use gpucnn.functions in it"
        )
    return checked
