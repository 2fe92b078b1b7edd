"""Files that fuzzing found: texts that are none, sizes that grow node by node, names of any length, numbers beyond all floats."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest

import gpucnn
from gpucnn.errors import ArgumentError, GpucnnError, OnnxError, ShapeError
from gpucnn.onnx_model import roles
from gpucnn.onnx_model.operators import values
from tests.onnx_model.small_files import BESIDE, beside, content_beside, file_of, ints, node, numbers


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
            OnnxError,
            match="its nodes take and make more than 400,000 elements in all, for inputs and weights this small",
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


def test_what_is_made_of_constants_allows_no_more(tmp_path: Path) -> None:
    """A file of a few bytes with a large constant: nodes may not make so many times that."""
    nodes = [node("Expand", "one large", "c"), node("Expand", "images larger", "v"), node("Add", "v c", "logits")]
    arrays = {"one": np.ones(1, np.float32), "large": ints(1, 1_000), "larger": ints(60, 1_000)}
    model = loaded(tmp_path, file_of(nodes, ["N", 1], arrays))
    with (
        mock.patch.multiple(values, MOST_MADE=10_000, GROWTH=100),
        pytest.raises(
            ShapeError, match=r"node 1 \(Expand\): it would make an array \(60, 1000\); .* at most 10,000 elements"
        ),
    ):
        model(np.ones((1, 1), np.float32))


def test_what_nodes_take_counts_too(tmp_path: Path) -> None:
    """Sums that are one number each, of the same large array; and as constants they are left for later once there are many."""
    sums = [node("ReduceSum", "v", f"s{number}", keepdims=0) for number in range(30)]
    total = node("Sum", " ".join(f"s{number}" for number in range(30)), "logits")
    model = loaded(
        tmp_path, file_of([node("Expand", "images shape", "v"), *sums, total], ["N", 1], {"shape": ints(50_000)})
    )
    with (
        mock.patch.multiple(values, MOST_MADE=100_000, GROWTH=1),
        pytest.raises(OnnxError, match="its nodes take and make more than 400,000 elements in all"),
    ):
        model(np.ones((1, 1), np.float32))
    nodes = [node("ConstantOfShape", "shape", "v"), *sums, total, node("Add", "logits images", "out")]
    nodes[-2].output[0], nodes[-1].input[0], nodes[-1].output[0] = "t", "t", "logits"
    with mock.patch.object(roles, "MOST_FOLDED_IN_ALL", 1_000_000):
        model = loaded(tmp_path, file_of(nodes, ["N", 1], {"shape": ints(50_000)}))
    assert [step.node.operator for step in model._steps] == ["ReduceSum"] * 12 + ["Sum", "Add"]
    assert model(np.ones((1, 1), np.float32)).numpy().item() == 1


def test_a_window_over_constants_is_not_computed_while_the_file_is_read(tmp_path: Path) -> None:
    nodes = [
        node("ConstantOfShape", "shape", "c"),
        node("MaxPool", "c", "p", kernel_shape=[2, 2]),
        node("Add", "images p", "logits"),
    ]
    model = loaded(tmp_path, file_of(nodes, ["N", 1, 3, 3], {"shape": ints(1, 1, 4, 4)}, axes=4))
    assert [step.node.operator for step in model._steps] == ["MaxPool", "Add"]
    np.testing.assert_array_equal(model(numbers(2, 1, 3, 3)).numpy(), numbers(2, 1, 3, 3))


@pytest.mark.parametrize(
    "slow",
    [
        [node("MaxPool", "v", "logits", kernel_shape=[50, 50])],
        [node("AveragePool", "v", "logits", kernel_shape=[50, 50])],
        [node("LpPool", "v", "logits", kernel_shape=[50, 50])],
        [node("Conv", "v kernel", "logits")],
        [node("ConvTranspose", "v kernel", "t"), node("MaxPool", "t", "logits", kernel_shape=[1, 1])],
        [node("Reshape", "v matrix", "m"), *(node("MatMul", f"m{n or ''} m", f"m{n + 1}") for n in range(6)), node("Identity", "m6", "logits")],
        [node("Reshape", "v matrix", "m"), *(node("Gemm", f"m{n or ''} m", f"m{n + 1}") for n in range(6)), node("Identity", "m6", "logits")],
    ],
    ids=lambda nodes: nodes[-2 if len(nodes) > 1 else -1].op_type,
)  # fmt: skip
def test_multiplications_are_counted(slow: list[onnx.NodeProto], tmp_path: Path) -> None:
    """A file of a few bytes with large windows over large images, and large matrices time and again."""
    arrays = {"shape": ints(1, 1, 100, 100), "matrix": ints(100, 100)}
    nodes = [node("Expand", "images shape", "v"), *slow]
    if "kernel" in slow[0].input:
        nodes.insert(0, node("ConstantOfShape", "shape_k", "kernel"))
        arrays["shape_k"] = ints(1, 1, 50, 50)
    model = loaded(tmp_path, file_of(nodes, ["N", 1, 1, 1], arrays, axes=4))
    images = np.ones((1, 1, 1, 1), np.float32)
    assert np.isfinite(model(images).numpy()).all()
    with (
        mock.patch.multiple(values, MOST_MADE=25_000, GROWTH=1, WORK=200, SHARE=100),
        pytest.raises(
            ShapeError,
            match=r"it and the nodes before it multiply more than 5,000,000 times, for inputs and weights this",
        ),
    ):
        model(images)


@pytest.mark.parametrize("operator", ["Expand", "Reshape", "Tile"])
def test_a_shape_is_no_list_of_a_million_sizes(operator: str, tmp_path: Path) -> None:
    """The product of so many sizes is a number of a million digits, and takes minutes."""
    model = loaded(
        tmp_path, file_of([node(operator, "images shape", "logits")], ["N", 1], {"shape": np.full(5_000, 3, np.int64)})
    )
    with pytest.raises(ShapeError, match=r"as a list of at most 4,096 integers, got \(5000,\)"):
        model(np.ones((1, 1), np.float32))


def test_neither_is_an_attribute_and_none_is_what_is_declared(tmp_path: Path) -> None:
    many = file_of([node("Reshape", "images", "logits", shape=[3] * 5_000)], ["N", 1], opset=1)
    with pytest.raises(OnnxError, match=r"node 0 \(Reshape\) has 5,000 integers as shape, expected at most 4,096"):
        loaded(tmp_path, many)
    with pytest.raises(OnnxError, match="the input images has 5,000 axes; an array has at most 64"):
        loaded(tmp_path, file_of([node("Relu", "images", "logits")], [3] * 5_000))


def test_arrays_beside_the_file_are_no_more_than_their_file(tmp_path: Path) -> None:
    """Twenty that lie in the same bytes of a file, which may be sparse."""
    whole = file_of(
        [node("MatMul", "images w0", "logits")], ["N", 4], {f"w{place}": numbers(4, 4) for place in range(20)}
    )
    (tmp_path / BESIDE).write_bytes(content_beside(whole))
    model = beside(whole)
    assert loaded(tmp_path, model)(numbers(1, 4)).shape == (1, 4)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "0" if entry.key == "offset" else entry.value
    (tmp_path / BESIDE).write_bytes(content_beside(whole)[:640])
    with pytest.raises(
        OnnxError, match=r"the array w10 and the arrays before it need 704 bytes, and weights.bin has 640 in all; save"
    ):
        loaded(tmp_path, model)


HOSTILE = [
    "/a\n    exec('1')\n    #/conv/Conv", "a\r\nb", "\x1b[2J", "a b", "<img onerror=x>", "\u202eab", 'w"]; x["', "\u2028", "\0", "..", "/", "a.b\n.c", "__class__", "{x}",
]  # fmt: skip


@pytest.mark.parametrize("as_node", [True, False])
def test_paths_are_of_letters_alone_and_each_is_one(as_node: bool, tmp_path: Path) -> None:
    """Whatever nodes and weights are called: paths are printed, and written into programs."""
    nodes, arrays, before = [], {}, "images"
    for place, name in enumerate([*HOSTILE, *HOSTILE]):
        weight = f"onnx::{place}" if as_node else f"{name}{place % 2}.{'weight' if place % 2 else name}{place}"
        arrays[weight] = numbers(2, 2)
        after = "logits" if place == 2 * len(HOSTILE) - 1 else f"v{place}"
        nodes.append(onnx.helper.make_node("MatMul", [before, weight], [after], name=name if as_node else ""))
        before = after
    model = loaded(tmp_path, file_of(nodes, ["N", 2], arrays))
    paths = [path for path, _ in model.named_parameters()]
    assert len(set(paths)) == len(paths) == 2 * len(HOSTILE)
    for path, _ in [*model.named_parameters(), *model.named_layers()]:
        assert not path or re.fullmatch(r"\w+(\.\w+)*", path), path
    logits = numbers(3, 2)
    for name in arrays:
        logits = logits @ arrays[name]
    np.testing.assert_allclose(model(numbers(3, 2)).numpy(), logits, rtol=1e-4)


def test_a_batch_norm_that_is_used_twice_learns(tmp_path: Path) -> None:
    """As one layer of PyTorch would that is called twice; named weights, and nameless ones."""
    for names in ("bn.scale bn.shift bn.mean bn.var", "s:1 s:2 s:3 s:4"):
        arrays = dict(zip(names.split(), (numbers(2) + 1, numbers(2), numbers(2), np.ones(2, np.float32)), strict=True))
        nodes = [node("BatchNormalization", f"images {names}", "a"), node("BatchNormalization", f"a {names}", "logits")]
        model = loaded(tmp_path, file_of(nodes, ["N", 2, 3, 3], arrays, axes=4))
        own = gpucnn.layers.BatchNorm2d(2)
        scale, shift, mean, variance = arrays.values()
        own.load_state_dict({"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance})
        x = numbers(4, 2, 3, 3) * 3 + 5
        np.testing.assert_allclose(model.train()(x).numpy(), own.train()(own(x)).numpy(), rtol=1e-4, atol=1e-5)
        moved = dict(
            zip(arrays, (one.array for one in (own.weight, own.bias, own.running_mean, own.running_var)), strict=True)
        )
        assert not np.array_equal(moved[names.split()[2]], mean)
        buffers = [buffer.array for _, buffer in model.named_buffers()]
        assert len(buffers) >= 2
        for name in names.split()[2:]:
            assert any(np.allclose(one, moved[name], rtol=1e-5) for one in buffers)
