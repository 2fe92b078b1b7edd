"""A model as a graph: what it computes can be computed from its nodes alone."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, models, no_grad
from gpucnn import functions as F
from gpucnn.autograd import Function
from gpucnn.errors import GraphError, ShapeError
from gpucnn.layers.graph import Batch, Constant, Input, ModelGraph, Repeated, Saved, graph_of_any_batch, model_graph
from gpucnn.models.vgg import VGG
from tests.backends import Backend, host

SMALLEST = {
    "lenet5": 32, "simplecnn": 4, "mlp": 2, "vgg_mini": 4, "alexnet": 29, "nin": 4, "vgg11": 32, "vgg11_bn": 32, "vgg13": 32, "vgg13_bn": 32,
    "vgg16": 32, "vgg16_bn": 32, "resnet20": 5, "resnet32": 4, "resnet56": 4, "resnet18": 33, "resnet34": 8, "resnet50": 8,
    "wide_resnet16_4": 8, "densenet40_12": 4, "mobilenet_v2": 8, "squeezenet": 17, "convnext_tiny": 32, "unet": 8,
    "airbench94": 9, "airbench94_half": 9,
}  # fmt: skip
"""Image sizes, small ones."""


def replayed(graph: ModelGraph, model: Any) -> list[np.ndarray]:
    """The images, and what each node gives, by nothing but the graph, the model's arrays and functions by their names."""
    saved = {path: member.array for path, member in [*model.named_parameters(), *model.named_buffers()]}
    arrays = [graph.images]

    def value(argument: Any) -> Any:
        if isinstance(argument, Input):
            return arrays[argument.number + 1]
        if isinstance(argument, Saved):
            return saved[argument.path]
        if isinstance(argument, Constant):
            return argument.array
        return tuple(map(value, argument)) if isinstance(argument, tuple) else argument

    for node in graph.nodes:
        with no_grad():
            output = getattr(F, node.function)(**{name: value(one) for name, one in node.arguments.items()})
        arrays.append(output.numpy())
    return arrays


def images_for(model: Any, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(3).random((batch, *model.built_for())).astype(np.float32)


def fill(model: layers.Layer) -> None:
    """Numbers that cost no draws, of about the size that weights have."""
    numbers = np.random.default_rng(5).uniform(-1, 1, 997)
    for parameter in model.parameters():
        fan_in = max(1, parameter.size // parameter.shape[0])
        parameter.data = np.resize((numbers * (6 / fan_in) ** 0.5).astype(np.float32), parameter.shape)
    for path, buffer in model.named_buffers():
        buffer.assign(np.resize(numbers**2 + 0.5 if path.endswith("var") else numbers, buffer.shape))


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", models.names())
def test_every_model_is_computed_from_its_graph_to_the_bit(name: str) -> None:
    model = models.create(name, image_size=SMALLEST[name])
    if isinstance(model, VGG):  # whose linear layers take a gigabyte
        model.classifier[0], model.classifier[3] = layers.Linear(512 * 7 * 7, 16), layers.Linear(16, 16)
        model.classifier[6] = layers.Linear(16, 10)
    fill(model)
    images = images_for(model)
    graph = model_graph(model, images)
    assert model.training
    arrays = replayed(graph, model)
    model.eval()
    with no_grad():
        expected = model(Tensor(images)).numpy()
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(arrays[-1], expected)
    for node, array in zip(graph.nodes, arrays[1:], strict=True):
        np.testing.assert_array_equal(node.output, array)
        assert node.shape == array.shape
        assert node.path in {path for path, _ in model.named_layers()}


def test_lenet5_node_by_node() -> None:
    model = models.LeNet5()
    nodes = model_graph(model, images_for(model)).nodes
    assert [(node.function, node.path, node.inputs, node.shape) for node in nodes] == [
        ("conv2d", "conv1", (-1,), (1, 6, 28, 28)),
        ("max_pool2d", "pool1", (0,), (1, 6, 14, 14)),
        ("conv2d", "conv2", (1,), (1, 16, 10, 10)),
        ("max_pool2d", "pool2", (2,), (1, 16, 5, 5)),
        ("flatten", "flatten", (3,), (1, 400)),
        ("linear", "fc1", (4,), (1, 120)),
        ("linear", "fc2", (5,), (1, 84)),
        ("linear", "output", (6,), (1, 10)),
    ]
    first = nodes[0].arguments
    assert list(first)[:3] == ["x", "weight", "bias"]
    assert (first["x"], first["weight"], first["bias"]) == (Input(-1), Saved("conv1.weight"), Saved("conv1.bias"))
    assert (first["stride"], first["groups"], first["activation"]) == (1, 1, "relu")


def test_the_model_stays_as_it_was(backend: Backend) -> None:
    model = layers.Sequential(
        layers.Conv2d(1, 2, 3), layers.BatchNorm2d(2), layers.Dropout(0.5), layers.Flatten(), layers.Linear(8, 2)
    ).to(backend.device_name)
    images = np.random.default_rng(0).random((3, 1, 4, 4)).astype(np.float32)
    model(images).sum().backward()
    model[1].eval()
    state, gradients = model.state_dict(), [one.grad.copy() for one in model.parameters() if one.grad is not None]
    seen: list[str] = []
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append(layer.path))
    graph = model_graph(model, images)
    assert (model.training, model[1].training, model[2].training) == (True, False, True)
    assert all(np.array_equal(one, state[path]) for path, one in model.state_dict().items())
    assert all(np.array_equal(host(a), host(one.grad)) for a, one in zip(gradients, model.parameters(), strict=True))
    assert set(seen) == {"0"}
    assert "forward" not in vars(model[0])
    assert [node.function for node in graph.nodes] == ["conv2d", "batch_norm", "flatten", "linear"]
    assert graph.nodes[1].arguments["running_var"] == Saved("1.running_var")
    assert graph.nodes[0].inputs == (-1,)
    assert {type(array) for array in (graph.images, *(node.output for node in graph.nodes))} == {np.ndarray}
    np.testing.assert_array_equal(graph.images, images)
    np.testing.assert_array_equal(graph.nodes[-1].output, model.eval()(images).numpy())


class Forward(layers.Layer):
    """A layer of one function of the layer's input."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.scale = layers.Parameter(np.float32([2.0]))

    def forward(self, x: Any) -> Tensor:
        result: Tensor = self.function(self, x)
        return result


def around(function: Any) -> layers.Sequential:
    return layers.Sequential(layers.Conv2d(1, 4, 1), Forward(function), layers.Conv2d(4, 2, 1))


SMALL = np.random.default_rng(1).random((1, 1, 3, 3)).astype(np.float32)


def test_plain_values_arrays_slices_and_lists() -> None:
    row = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)

    def forward(self: Forward, x: Tensor) -> Tensor:
        F.exp(x)  # nobody takes it
        y = F.concatenate([x * row, x[:, :2] + np.float32(0.3)], axis=1)
        return (y[:, [0, 1, 4, 5]] * self.scale)[[0]].detach().astype(np.float32)

    model = around(forward)
    graph = model_graph(model, SMALL)
    named = [(node.function, node.inputs) for node in graph.nodes]
    assert named == [
        ("conv2d", (-1,)), ("multiply", (0,)), ("getitem", (0,)), ("add", (2,)), ("concatenate", (1, 3)), ("getitem", (4,)),
        ("multiply", (5,)), ("getitem", (6,)), ("astype", (7,)), ("conv2d", (8,)),
    ]  # fmt: skip
    multiply, taken, add, joined, picked, scaled, first, converted = (node.arguments for node in graph.nodes[1:-1])
    np.testing.assert_array_equal(multiply["b"].array, row)
    assert taken["index"] == (slice(None), slice(None, 2))
    assert type(add["b"]) is float
    assert joined["tensors"] == (Input(1), Input(3))
    np.testing.assert_array_equal(picked["index"][1].array, [0, 1, 4, 5])
    np.testing.assert_array_equal(first["index"].array, [0])
    assert scaled["b"] == Saved("1.scale")
    assert converted["dtype"] == "float32"
    with no_grad():
        expected = model.eval()(Tensor(SMALL)).numpy()
    np.testing.assert_array_equal(replayed(graph, model)[-1], expected)


def test_a_shared_layer_has_one_path_and_several_nodes() -> None:
    shared = layers.Conv2d(2, 2, 1)
    nodes = model_graph(layers.Sequential(shared, layers.Tanh(), shared), np.ones((1, 2, 2, 2), np.float32)).nodes
    assert [(node.path, node.inputs) for node in nodes] == [("0", (-1,)), ("1", (0,)), ("0", (1,))]
    assert nodes[0].arguments["weight"] == nodes[2].arguments["weight"] == Saved("0.weight")


def test_a_part_of_a_model_has_paths_of_its_own() -> None:
    model = models.create("resnet20", image_size=4)
    nodes = model_graph(model.layer1, np.ones((2, 16, 4, 4), np.float32)).nodes
    assert [node.path for node in nodes[:4]] == ["0.conv1", "0.bn1", "0.conv2", "0.bn2"]
    assert nodes[3].inputs == (2, -1)
    assert nodes[3].arguments["residual"] == Input(-1)
    assert nodes[0].arguments["weight"] == Saved("0.conv1.weight")


def test_what_computes_nothing_has_no_nodes() -> None:
    graph = model_graph(layers.Identity(), SMALL)
    assert graph.nodes == []
    np.testing.assert_array_equal(graph.images, SMALL)


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


ELSEWHERE = (
    r"1 \(Forward\): a graph cannot follow what it gives, as not all of it was computed by gpucnn.functions; use those"
)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda self, x: Tensor(np.tanh(x.numpy())), ELSEWHERE),
        (lambda self, x: x + np.tanh(x.numpy()), ELSEWHERE),
        (lambda self, x: x * float(x.numpy().mean()), ELSEWHERE + r".*found at b of multiply"),
        (
            lambda self, x: F.relu(x) if x.numpy().mean() > 0.8 else x,
            r"which functions it calls depends on the values",
        ),
        (lambda self, x: F.max_pool2d(x, 1, return_indices=True)[0], r"1 \(Forward\): max_pool2d gives a tuple here"),
        (lambda self, x: Cube.apply(x), r"1 \(Forward\): a graph has functions of gpucnn.functions alone, not Cube"),
        (lambda self, x: x + np.random.default_rng().random(), ELSEWHERE),
        (lambda self, x: Tensor(np.zeros_like(x.numpy())), r"^Sequential: a graph cannot follow"),
    ],
)
def test_what_a_graph_cannot_follow_is_an_error_that_names_the_layer(function: Any, message: str) -> None:
    model = around(function)
    model[0].weight.assign(np.ones((4, 1, 1, 1)))
    with pytest.raises(GraphError, match=message):
        model_graph(model, SMALL)
    assert model.training
    assert not any("forward" in vars(layer) for _, layer in model.named_layers())
    alone = message.replace(r"1 \(Forward\)", "Forward").replace("Sequential", "Forward")
    with pytest.raises(GraphError, match=alone):
        model_graph(model[1].__class__(function), SMALL)


def test_a_graph_is_of_one_output() -> None:
    class Two(layers.Layer):
        def forward(self, x: Any) -> Any:
            return x, x

    with pytest.raises(GraphError, match=r"Two: a graph is that of one output, a tensor; got"):
        model_graph(Two(), SMALL)


def replayed_of_any_batch(graph: ModelGraph, images: np.ndarray) -> np.ndarray:
    """The output for some images, by nothing but the graph."""
    arrays: list[Any] = [images]

    def value(argument: Any) -> Any:
        if isinstance(argument, Batch):
            assert argument.times is not None
            return argument.times * len(images)
        if isinstance(argument, Repeated):
            return np.broadcast_to(argument.array, [value(size) for size in argument.sizes])
        if isinstance(argument, Input):
            return arrays[argument.number + 1]
        if isinstance(argument, slice):
            return slice(value(argument.start), value(argument.stop), argument.step)
        if isinstance(argument, Constant):
            return argument.array
        return tuple(map(value, argument)) if isinstance(argument, tuple) else argument

    for node in graph.nodes:
        arrays.append(getattr(F, node.function)(**{name: value(one) for name, one in node.arguments.items()}).numpy())
    found: np.ndarray = arrays[-1]
    return found


FOUR = np.random.default_rng(2).random((7, 4, 2, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda x: x.transpose(0, 2, 3, 1).reshape(len(x) * 6, 4), (Batch(6), 4)),
        (lambda x: x.reshape(-1, 2, len(x)), (12, 2, Batch(1))),
        (lambda x: F.concatenate([x, x])[-len(x) :], (Batch(1), 4, 2, 3)),
        (lambda x: F.concatenate([x, x[:1]]).reshape(-1, 24), (Batch(None), 24)),
        (lambda x: F.split(x, [1, 3], axis=-3)[1] / len(x), (Batch(1), 2, 2, 3)),
        (lambda x: F.split(F.concatenate([x, x]), 2)[1].sum(0), (4, 2, 3)),
        (lambda x: F.concatenate([x, np.ones((len(x), 1, 2, 3), np.float32)], 1), (Batch(1), 5, 2, 3)),
        (lambda x: x[[0, -1]] * 3, (2, 4, 2, 3)),
    ],
)
def test_a_graph_is_of_any_number_of_images(function: Any, sizes: Any) -> None:
    model = Forward(lambda self, x: function(x))
    for example in (FOUR[:1], FOUR):
        graph = graph_of_any_batch(model, example)
        assert graph.nodes[-1].sizes == sizes
        assert len(graph.images) == 2
        for count in (1, 2, 7):
            expected = function(Tensor(FOUR[:count])).numpy()
            np.testing.assert_array_equal(replayed_of_any_batch(graph, FOUR[:count]), expected)


def test_a_graph_of_the_images_given_has_their_sizes() -> None:
    graph = model_graph(Forward(lambda self, x: x.reshape(len(x) * 24) * self.scale), FOUR)
    assert graph.nodes[0].arguments["shape"] == 168
    assert graph.nodes[0].sizes == graph.nodes[0].shape == (168,)
    np.testing.assert_array_equal(graph.saved["scale"], [2])


def test_the_parts_of_a_split_are_nodes() -> None:
    graph = model_graph(Forward(lambda self, x: F.concatenate(F.split(x, [1, -1], 1)[::-1], 1)), FOUR)
    assert [node.function for node in graph.nodes] == ["getitem"] * 3 + ["concatenate"]
    assert [node.arguments["index"][1] for node in graph.nodes[:3]] == [slice(0, 1), slice(1, -1), slice(-1, 4)]
    np.testing.assert_array_equal(graph.nodes[-1].output, FOUR[:, [3, 1, 2, 0]])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x: x[: len(x) // 2],
            r"^Forward: .* a number here is 1 for two of them and 2 for five, .* at index of getitem",
        ),
        (lambda x: x.reshape(2, -1), None),
        (
            lambda x: x.reshape(2, 24),
            r"^Forward: .* and this takes 2 but not 5 of them \(reshape: .*\); take sizes from",
        ),
        (
            lambda x: x * np.arange(len(x), dtype=np.float32).reshape(-1, 1, 1, 1),
            r"^Forward: .* an array made with NumPy has",
        ),
        (lambda x: x * (1 / len(x)), r"^Forward: a graph cannot follow .* \(found at b of multiply\)"),
        (lambda x: F.stack([x[i] for i in range(len(x))]), "^Forward: which functions it calls depends on"),
        (lambda x: Tensor(np.tanh(x.numpy())), "^Forward: a graph cannot follow"),
    ],
)
def test_what_depends_on_the_number_of_images_in_other_ways(function: Any, message: str | None) -> None:
    model = Forward(lambda self, x: function(x))
    if message is None:
        assert graph_of_any_batch(model, FOUR).nodes[-1].sizes == (2, Batch(12))
        return
    with pytest.raises(GraphError, match=message):
        graph_of_any_batch(model, FOUR)
    assert model.training


@pytest.mark.parametrize("example", [np.zeros((0, 4, 2, 3), np.float32), np.float32(3)])
def test_a_graph_of_any_number_needs_an_image(example: Any) -> None:
    with pytest.raises(GraphError, match=r"^Forward: a graph needs an example, images \(N, C, H, W\), got"):
        graph_of_any_batch(Forward(lambda self, x: x * 2), example)


def test_a_graph_of_any_number_tells_of_the_images_that_were_given() -> None:
    with pytest.raises(ShapeError, match=r"got \(7, 4, 2, 3\)"):
        graph_of_any_batch(layers.Conv2d(3, 1, 1), FOUR)
    with pytest.raises(
        GraphError, match=r"^Forward: .* and this takes 7 but not 2 of them \(reshape: .*\); take sizes from x"
    ):
        graph_of_any_batch(Forward(lambda self, x: x.reshape(7, 24)), FOUR)
