"""A classifier of images as scikit-learn has them: fit, predict, score. Imported when `gpucnn.ImageClassifier` is asked for."""

from gpucnn.image_classifier.classifier import ImageClassifier as ImageClassifier

__all__ = ["ImageClassifier"]


def __dir__() -> list[str]:
    return __all__
