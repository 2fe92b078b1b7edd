"""1,797 handwritten digits of 43 writers, 8x8 pixels from 0 to 16, which ship with gpucnn.

Source: the test part of "Optical Recognition of Handwritten Digits", Alpaydin and Kaynak, UCI 1998, CC BY 4.0.
"""

import io
from pathlib import Path

import numpy as np

from gpucnn.backend import own_package
from gpucnn.data.subset import stratified_choice

IMAGE_SIZE = 8
FULL_SCALE = 16
TEST_COUNT = 360


def read_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, training labels, test images, test labels): always the same stratified 1,437 and 360.

    Images are uint8 (N, 1, 8, 8), labels uint8 (N,). Each class gives its share to the test set.
    """
    with np.load(io.BytesIO(own_package.read(Path(__file__).with_name("digits.npz")))) as archive:
        images, labels = archive["images"][:, None], archive["labels"]
    is_test = stratified_choice(labels, TEST_COUNT, 0, "digits split")
    return images[~is_test], labels[~is_test], images[is_test], labels[is_test]
