"""A classifier of images as scikit-learn has them: fit, predict, score."""
