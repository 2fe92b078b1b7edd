"""A model's loss and accuracy on a data set."""

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.data import DataLoader
from gpucnn.layers import Layer
from gpucnn.training.metrics import Metrics, Scores


def evaluate(model: Layer, loader: DataLoader) -> Scores:
    """The scores of `model` over one epoch of `loader`, in evaluation mode; every layer's mode is put back."""
    modes = [(layer, layer.training) for _, layer in model.named_layers()]
    metrics = Metrics()
    model.eval()
    try:
        with no_grad():
            for images, labels in loader:
                logits = model(images)
                metrics.update(F.cross_entropy(logits, labels), logits, labels)
    finally:
        for layer, training in modes:
            layer.training = training
    return metrics.scores()
