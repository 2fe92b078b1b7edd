"""What computes a service's answers: onnxruntime where it is installed, else gpucnn; and that both say the same."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import to_host
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.training.evaluate import device_of_model
from gpucnn.training.out_of_memory import in_parts


class ServedModel(NamedTuple):
    """What computes the answers."""

    backend: str
    """Its name, as the start line tells it."""
    probabilities: Callable[[np.ndarray], np.ndarray]
    """Raw images (N, C, S, S), bytes, to probabilities (N, K)."""


def of_gpucnn(trained: TrainedRun) -> ServedModel:
    """gpucnn's own model, on its device."""
    device = device_of_model(trained.model)

    def probabilities(raw: np.ndarray) -> np.ndarray:
        with no_grad():
            images = trained.preprocess(raw)
            return to_host(in_parts(lambda part: F.softmax(trained.model(part)), images, device))

    return ServedModel(f"gpucnn on {device}", probabilities)


def of_onnxruntime(trained: TrainedRun, content: bytes) -> ServedModel:
    """The exported model in onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def probabilities(raw: np.ndarray) -> np.ndarray:
        (found,) = session.run(["probabilities"], {"images": trained.preprocess(raw)})
        return np.asarray(found)

    return ServedModel(f"onnxruntime {onnxruntime.__version__}", probabilities)
