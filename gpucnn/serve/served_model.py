"""What computes a service's answers: onnxruntime on the exported model where it can, else gpucnn's own model."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import to_host
from gpucnn.backend.threads import thread_count
from gpucnn.errors import ArgumentError, GraphError, LibraryError, StateError
from gpucnn.export.answer_check import check
from gpucnn.export.onnx_run import run_to_onnx
from gpucnn.export.onnx_runtime import Evaluator, onnxruntime_library
from gpucnn.export.run_images import images_to_try
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.training.evaluate import device_of_model
from gpucnn.training.out_of_memory import in_parts


class ServedModel(NamedTuple):
    """What computes the answers."""

    name: str
    """Of what computes, with its version or device."""
    probabilities: Callable[[np.ndarray], np.ndarray]
    """Raw images (N, C, S, S), bytes, to probabilities (N, K)."""
    notes: tuple[str, ...] = ()
    """What is to be told of it at the start."""


def served_model(trained: TrainedRun, max_batch: int) -> ServedModel:
    """onnxruntime on a CPU, where it is installed and the model can be exported; else gpucnn. It is warm for up to `max_batch` images.

    StateError for a model whose answers are not finite, GraphError if they are not the same in both.
    """
    model = _fastest(trained)
    preprocess = trained.preprocess
    for count in (1, max_batch):
        raw = np.zeros((count, preprocess.channels, preprocess.native_size, preprocess.native_size), np.uint8)
        if not np.isfinite(model.probabilities(raw)).all():
            raise StateError(
                f"{trained.weights.file}: the model's answers are not finite numbers; train with a lower --lr, or choose other --weights"
            )
    return model


def _fastest(trained: TrainedRun) -> ServedModel:
    if device_of_model(trained.model).kind != "cpu":
        return of_gpucnn(trained)
    try:
        onnxruntime_library("a faster service")
        content = run_to_onnx(trained, raw=False).SerializeToString()
    except (LibraryError, GraphError, ArgumentError) as error:
        return of_gpucnn(trained)._replace(notes=(f"gpucnn computes, which is slower: {error}",))
    return of_onnxruntime(trained, content)


def of_gpucnn(trained: TrainedRun) -> ServedModel:
    """gpucnn's own model, on its device."""
    device = device_of_model(trained.model)

    def probabilities(raw: np.ndarray) -> np.ndarray:
        with no_grad():
            images = trained.preprocess(raw)
            return to_host(in_parts(lambda part: F.softmax(trained.model(part)), images, device))

    return ServedModel(f"gpucnn on {device}", probabilities)


def of_onnxruntime(trained: TrainedRun, content: bytes) -> ServedModel:
    """The exported model in onnxruntime, compared with gpucnn's on some images. GraphError if they differ."""
    library = onnxruntime_library("a faster service")
    options = library.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the event loop needs the processor, too
    session = library.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def probabilities(raw: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["probabilities"], {"images": trained.preprocess(raw)})[0])

    name = f"onnxruntime {library.__version__}"
    both = Evaluator(name, True, lambda images: tuple(session.run(["logits", "probabilities"], {"images": images})))
    return ServedModel(name, probabilities, (str(check(trained, both, images_to_try(trained, None), raw=False)),))
