"""Sizes and positions of Resize that ONNX's recorded cases do not have, beside the numbers that onnxruntime gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from tests.onnx_model.small_files import file_of, node

ROW = np.array([1, 2, 4, 8, 16], np.float32)


@pytest.mark.parametrize(
    ("row", "attributes", "scale", "expected"),
    [
        (ROW, {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}, 0.2, [4.8]),  # at 0.55 of 4
        (ROW, {"mode": "cubic", "coordinate_transformation_mode": "pytorch_half_pixel"}, 0.2, [1]),  # at 0
        (np.arange(10), {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 0.7, [0, 1, 2, 4, 5, 7, 8]),
        (np.arange(13), {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 0.3, [0, 3, 6]),
    ],
)  # fmt: skip
def test_sizes_and_positions(
    row: np.ndarray, attributes: dict[str, Any], scale: float, expected: list[float], tmp_path: Path
) -> None:
    arrays = {
        "scales": np.array([1, 1, 1, scale], np.float32),
        "roi": np.array([0, 0, 0, 0.2, 1, 1, 1, 0.9], np.float32),
    }
    model = file_of(
        [node("Resize", "images roi scales", "logits", **attributes)], ["N", 1, 1, len(row)], arrays, axes=4
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    images = row.reshape(1, 1, 1, -1).astype(np.float32)
    given = gpucnn.load_onnx(path)(images).numpy()
    np.testing.assert_allclose(given, np.reshape(expected, (1, 1, 1, -1)), rtol=1e-5)
    runtime = pytest.importorskip("onnxruntime")
    (wanted,) = runtime.InferenceSession(str(path)).run(None, {"images": images})
    np.testing.assert_allclose(given, wanted, rtol=1e-5)
