"""Files that fuzzing found: texts that are none, sizes that grow node by node, names of any length, numbers beyond all floats."""

from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest

import gpucnn
from gpucnn.errors import ArgumentError, GpucnnError, OnnxError, ShapeError
from gpucnn.onnx_model.operators import values
from tests.onnx_model.small_files import file_of, ints, node


def loaded(folder: Path, content: onnx.ModelProto | bytes) -> Any:
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return gpucnn.load_onnx(path)


def test_texts_that_are_no_utf_8(tmp_path: Path) -> None:
    content = file_of([node("Relu", "images", "logits")], [1, 2]).SerializeToString().replace(b"Relu", b"R\xff\xfeu")
    with pytest.raises(OnnxError, match=r"a text in it, onnx\.NodeProto\.op_type, is no UTF-8; is it damaged\?"):
        loaded(tmp_path, content)


def test_what_doubles_node_by_node(tmp_path: Path) -> None:
    names = ["images", *(f"v{number}" for number in range(40)), "logits"]
    nodes = [node("Concat", f"{one} {one}", other, axis=0) for one, other in pairwise(names)]
    model = loaded(tmp_path, file_of(nodes, ["N", 2]))
    with (
        mock.patch.object(values, "MOST_MADE", 1 << 12),
        pytest.raises(
            ShapeError,
            match=r"node 10 \(Concat\): it would make an array \(4,096|node 1\d \(Concat\): it would make an array",
        ),
    ):
        model(np.zeros((1, 2), np.float32))


def test_what_all_nodes_make_together(tmp_path: Path) -> None:
    nodes = [
        node("Expand", "images shape", "v0"),
        *(node("Neg", f"v{number}", f"v{number + 1}") for number in range(9)),
    ]
    nodes.append(node("ReduceMean", "v9", "logits"))
    model = loaded(tmp_path, file_of(nodes, ["N", 2], {"shape": ints(30_000, 2)}))
    assert model(np.ones((1, 2), np.float32)).numpy().item() == -1
    with (
        mock.patch.multiple(values, MOST_MADE=100_000, GROWTH=1),
        pytest.raises(
            OnnxError, match="its nodes take and make more than 400,000 elements in all, for inputs and weights this small"
        ),
    ):
        model(np.ones((1, 2), np.float32))


def test_what_broadcasts_to_more_than_there_may_be(tmp_path: Path) -> None:
    nodes = [node("Unsqueeze", "images axes", "column"), node("Add", "images column", "logits")]
    model = loaded(tmp_path, file_of(nodes, ["N"], {"axes": ints(1)}))
    with (
        mock.patch.multiple(values, MOST_MADE=100_000, GROWTH=1),
        pytest.raises(ShapeError, match=r"node 1 \(Add\): it would make an array \(1000, 1000\)"),
    ):
        model(np.ones(1000, np.float32))


def test_names_and_texts_of_any_length_are_cut(tmp_path: Path) -> None:
    long = "x" * 5000
    for nodes in (
        [node(long, "images", "logits")],
        [node("Relu", long, "logits")],
        [node("Relu", "images", "logits", name=long, **{long: 1})],
        [node("DepthToSpace", "images", "logits", blocksize=2, mode=long)],
    ):
        with pytest.raises(GpucnnError) as raised:
            loaded(tmp_path, file_of(nodes, [1, 4, 2, 2], axes=4))(np.ones((1, 4, 2, 2), np.float32))
        assert len(str(raised.value).replace(str(tmp_path), "")) < 1000


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (node("Pad", "images pads", "logits", mode="mirror"), r"expected mode to be one of constant, reflect, edge, wrap, got 'mirror'"),
        (node("DepthToSpace", "images", "logits", blocksize=2, mode="RGB"), r"expected mode to be one of DCR, CRD, got 'RGB'"),
        (node("Resize", "images - scales", "logits", mode="area"), r"expected mode to be one of nearest, linear, bilinear, cubic, got 'area'"),
        (node("Resize", "images - scales", "logits", coordinate_transformation_mode="half"), r"expected coordinate_transformation_mode to be one of half_pixel, .*, got 'half'"),
        (node("Resize", "images - scales", "logits", nearest_mode="up"), r"expected nearest_mode to be one of round_prefer_floor, round_prefer_ceil, floor, ceil, got 'up'"),
    ],
)  # fmt: skip
def test_a_mode_that_there_is_not_is_refused(one: onnx.NodeProto, said: str, tmp_path: Path) -> None:
    model = loaded(
        tmp_path,
        file_of(
            [one],
            [1, 4, 2, 2],
            {"scales": np.array([1, 1, 2, 2], np.float32), "pads": ints(*[0] * 8)},
            opset=18,
            axes=4,
        ),
    )
    with pytest.raises(ArgumentError, match=rf"node 0 \({one.op_type}\): {said}"):
        model(np.ones((1, 4, 2, 2), np.float32))


def test_numbers_beyond_all_floats_give_no_warning(tmp_path: Path) -> None:
    """Constants of them, computed while the file is read; and the mean of nothing."""
    large = np.full((2, 2), 1e30, np.float32)
    product = loaded(
        tmp_path, file_of([node("MatMul", "a a", "c"), node("Add", "images c", "logits")], [2, 2], {"a": large})
    )
    assert np.isinf(product(np.ones((2, 2), np.float32)).numpy()).all()
    mean = loaded(tmp_path, file_of([node("ReduceMean", "images", "logits", axes=[1], keepdims=0)], [2, "N"], axes=1))
    assert np.isnan(mean(np.ones((2, 0), np.float32)).numpy()).all()
