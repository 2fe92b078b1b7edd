"""A model's loss and accuracy on a data set."""

from gpucnn import functions as F
from gpucnn.autograd import Tensor, no_grad
from gpucnn.backend import Device
from gpucnn.data import DataLoader
from gpucnn.layers import Layer
from gpucnn.training.memory import in_parts
from gpucnn.training.metrics import Metrics, Scores


def evaluate(model: Layer, loader: DataLoader) -> Scores:
    """The scores of `model` over the first epoch of `loader`, in evaluation mode; every layer's mode is put back.

    A batch that does not fit into a GPU's memory is computed in parts; OutOfMemoryError if a single image does not.
    """
    modes = [(layer, layer.training) for _, layer in model.named_layers()]
    metrics = Metrics()
    device = next((parameter.device for parameter in model.parameters()), Device())
    model.eval()
    try:
        with no_grad():
            for images, labels in loader.batches(0):
                logits = Tensor(in_parts(model, images, device))
                metrics.update(F.cross_entropy(logits, labels), logits, labels)
    finally:
        for layer, training in modes:
            layer.training = training
    return metrics.scores()
