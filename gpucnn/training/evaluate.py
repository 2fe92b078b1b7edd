"""A model's loss and accuracy on a data set."""

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.data import DataLoader
from gpucnn.layers import Layer
from gpucnn.training.metrics import Metrics, Scores


def evaluate(model: Layer, loader: DataLoader) -> Scores:
    """The scores of `model` over one epoch of `loader`, in evaluation mode; the model's mode is put back afterwards."""
    was_training = model.training
    metrics = Metrics()
    model.eval()
    try:
        with no_grad():
            for images, labels in loader:
                logits = model(images)
                metrics.update(F.cross_entropy(logits, labels), logits, labels)
    finally:
        if was_training:
            model.train()
    return metrics.scores()
