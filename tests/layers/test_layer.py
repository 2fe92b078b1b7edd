"""Layer: paths, state, modes, lazily drawn parameters, and errors that name the place."""

import copy
import pickle

import numpy as np
import pytest

from gpucnn import Tensor, layers, models
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, ShapeError, StateError
from gpucnn.layers.initialization import zeros


class Block(layers.Layer):
    def __init__(self, channels: int) -> None:
        self.conv = layers.Conv2d(channels, channels, 3, padding=1)
        self.scale = layers.Parameter((1,), zeros)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)) * self.scale + x


class Net(layers.Layer):
    def __init__(self) -> None:
        self.stem = layers.Conv2d(1, 4, 3)
        self.blocks = layers.Sequential(Block(4), layers.MaxPool2d(2), Block(4))
        self.head = layers.Linear(4 * 3 * 3, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.flatten(self.blocks(self.stem(x))))


PATHS = [
    "stem.weight", "stem.bias", "blocks.0.conv.weight", "blocks.0.conv.bias", "blocks.0.scale",
    "blocks.2.conv.weight", "blocks.2.conv.bias", "blocks.2.scale", "head.weight", "head.bias",
]  # fmt: skip


def test_paths_are_dotted_and_in_order_of_definition() -> None:
    net = Net()
    assert [path for path, _ in net.named_parameters()] == PATHS
    assert [parameter.path for parameter in net.parameters()] == PATHS
    assert net.blocks[2].path == "blocks.2"
    assert list(net.state_dict()) == PATHS
    assert len(net.blocks) == 3


def test_a_shared_layer_is_listed_once() -> None:
    shared = layers.Linear(3, 3)
    model = layers.Sequential(shared, layers.ReLU(), shared)
    assert [path for path, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert model.parameter_count() == 12


def test_initial_weights_are_a_function_of_seed_and_path() -> None:
    first, again, other = models.LeNet5(seed=1), models.LeNet5(seed=1), models.LeNet5(seed=2)
    for path, array in reversed(first.state_dict().items()):  # drawn in another order
        np.testing.assert_array_equal(array, again.state_dict()[path])
    assert (first.conv1.weight.data != other.conv1.weight.data).all()
    twins = layers.Sequential(layers.Linear(5, 5), layers.Linear(5, 5))
    assert (twins.state_dict()["0.weight"] != twins.state_dict()["1.weight"]).all()


def test_a_seed_set_later_reaches_what_is_not_drawn_yet() -> None:
    late, early = Net(), Net()
    late.seed = 9
    early.seed = 9
    np.testing.assert_array_equal(late.head.weight.data, early.head.weight.data)
    assert (Net().head.weight.data != late.head.weight.data).all()


def test_float64_weights_are_the_float32_ones_before_rounding() -> None:
    single, double = models.LeNet5(), models.LeNet5().astype("float64")
    assert double.conv1.weight.data.dtype == np.float64
    np.testing.assert_array_equal(double.conv1.weight.data.astype(np.float32), single.conv1.weight.data)


def test_parameters_take_no_memory_until_they_are_read() -> None:
    giant = layers.Linear(10**7, 10**7)  # 400 TB
    assert giant.parameter_count() == 10**14 + 10**7
    assert giant.output_shape((3, 10**7)) == (3, 10**7)
    assert giant.trace((1, 10**7)).calls[0].multiply_adds == 10**14


def test_state_goes_round(rng: np.random.Generator) -> None:
    source, target = Net(), Net()
    target.seed = 5
    source.load_state_dict({path: rng.standard_normal(a.shape) for path, a in source.state_dict().items()})
    target.load_state_dict(source.state_dict())
    x = rng.standard_normal((2, 1, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(source(x).numpy(), target(x).numpy())
    source.state_dict()["head.bias"][...] = 7
    assert not (source.head.bias.data == 7).any(), "state_dict gives copies"


def test_loading_keeps_the_array_in_place() -> None:
    layer = layers.Linear(2, 2)
    array = layer.weight.data
    layer.load_state_dict({"weight": np.ones((2, 2)), "bias": np.zeros(2)})
    assert layer.weight.data is array
    assert (array == 1).all()


def test_an_array_put_into_a_parameter_must_fit() -> None:
    layer = layers.Sequential(layers.Linear(2, 2))[0]
    layer.weight.data = np.ones((2, 2), np.float32)
    with pytest.raises(ShapeError, match=r"0.weight: expected an array \(2, 2\), got \(2, 3\)"):
        layer.weight.data = np.ones((2, 3), np.float32)
    with pytest.raises(DTypeError, match="0.weight: expected an array of float32, got float64; convert it with astype"):
        layer.weight.data = np.ones((2, 2))


def test_state_that_does_not_fit_is_refused_whole() -> None:
    layer = layers.Linear(3, 2)
    before = layer.state_dict()
    with pytest.raises(StateError) as raised:
        layer.load_state_dict({"weight": np.ones((2, 4)), "extra": np.ones(1)})
    assert str(raised.value) == (
        "these parameters do not fit Linear: bias is missing; weight has shape (2, 4), expected (2, 3); extra is unknown; "
        "build the model with the arguments it was saved with"
    )
    np.testing.assert_array_equal(layer.state_dict()["weight"], before["weight"])
    with pytest.raises(StateError, match="and 6 more; build"):
        Net().load_state_dict({})


def test_a_part_of_a_state_is_taken_if_one_asks_for_it() -> None:
    """As in PyTorch: what did not meet is returned, by its names; a shape that does not fit is an error all the same."""
    layer = layers.Linear(3, 2)
    before = layer.state_dict()
    found = layer.load_state_dict(
        {"weight": np.ones((2, 3)), "extra": np.ones(1), "num_batches_tracked": 1}, strict=False
    )
    assert found == (["bias"], ["extra"])
    assert (found.missing_keys, found.unexpected_keys) == (["bias"], ["extra"])
    assert (layer.weight.data == 1).all()
    np.testing.assert_array_equal(layer.bias.data, before["bias"])
    assert layer.load_state_dict(before) == ([], [])
    assert layer.load_state_dict({}, strict=False) == (["weight", "bias"], [])
    with pytest.raises(StateError, match=r"weight has shape \(2, 4\), expected \(2, 3\)"):
        layer.load_state_dict({"weight": np.ones((2, 4))}, strict=False)
    with pytest.raises(StateError, match="weight has 6 NaN"):
        layer.load_state_dict({"weight": np.full((2, 3), np.nan)}, strict=False)
    with pytest.raises(ArgumentError, match="Linear: strict must be True or False, got 'no'"):
        layer.load_state_dict(before, "no")  # type: ignore[arg-type]


def test_a_state_of_which_nothing_has_a_place_is_a_mistake() -> None:
    """PyTorch takes it without a word."""
    state = {f"module.{path}": array for path, array in layers.Linear(3, 2).state_dict().items()}
    with pytest.raises(
        StateError, match=r'weight is missing; .*module.bias is unknown; every name begins with "module\."'
    ):
        layers.Linear(3, 2).load_state_dict(state, strict=False)


def test_state_from_pytorch_loads_without_its_batch_counters() -> None:
    layer = layers.Sequential(layers.BatchNorm2d(2))
    state = {path: array + 3 for path, array in layer.state_dict().items()}
    layer.load_state_dict({**state, "0.num_batches_tracked": np.array(7)})
    np.testing.assert_array_equal(layer[0].running_mean.data, [3, 3])  # type: ignore[attr-defined]
    layers.BatchNorm2d(2).load_state_dict({**layer[0].state_dict(), "num_batches_tracked": np.array(7)})
    with pytest.raises(StateError, match="0.batches_tracked is unknown"):
        layer.load_state_dict({**state, "0.batches_tracked": np.array(7)})


def test_train_and_eval_reach_all_layers() -> None:
    net = layers.Sequential(layers.Dropout(0.5), layers.Sequential(layers.Dropout(0.5)))
    assert net.eval() is net
    assert not net[1][0].training
    x = np.ones((4, 4), np.float32)
    np.testing.assert_array_equal(net(x).numpy(), x)
    assert net.train()[1][0].training


def test_a_shape_error_names_the_layer_s_path() -> None:
    net = layers.Sequential(layers.Sequential(layers.Conv2d(1, 6, 5), layers.ReLU()), layers.Conv2d(3, 16, 5))
    with pytest.raises(ShapeError) as raised:
        net(np.zeros((2, 1, 12, 12)))
    assert str(raised.value) == (
        "1 (Conv2d): expected input (N, 3, H, W), got (2, 6, 8, 8); give it 3 channels or build it with in_channels=6"
    )
    with pytest.raises(
        ShapeError, match=r"^blocks\.2\.conv \(Conv2d\): expected input \(N, 4, H, W\), got \(1, 5, 8, 8\)"
    ):
        Net().blocks[2].conv(np.zeros((1, 5, 8, 8)))
    with pytest.raises(
        ShapeError, match=r"^Linear: expected input \(N, 3\), got \(1, 2\); build it with in_features=2"
    ):
        layers.Linear(3, 1)(np.zeros((1, 2)))
    with pytest.raises(ShapeError, match=r"^pool1 \(MaxPool2d\): expected input \(N, C, H, W\)"):
        models.LeNet5().pool1(np.zeros((1, 2)))


def test_output_shape_of_own_layers_needs_no_weights() -> None:
    net = Net()
    assert net.output_shape((5, 1, 8, 8)) == (5, 10)
    with pytest.raises(ShapeError, match="head"):
        net.output_shape((5, 1, 9, 12))
    assert net.stem.weight._data is None


def test_a_trace_lists_every_call(rng: np.random.Generator) -> None:
    net = Net()
    trace = net.trace((7, 1, 8, 8))
    assert [call.path for call in trace.calls] == ["stem", "blocks.0.conv", "blocks.1", "blocks.2.conv", "head"]
    assert [call.output_shape for call in trace.calls] == [
        (1, 4, 6, 6),
        (1, 4, 6, 6),
        (1, 4, 3, 3),
        (1, 4, 3, 3),
        (1, 10),
    ]
    assert trace.calls[0].multiply_adds == 4 * 6 * 6 * 9
    assert net.multiply_adds((2, 1, 8, 8)) == 2 * (4 * 36 * 9 + 4 * 36 * 36 + 4 * 9 * 36 + 360)
    x = rng.standard_normal((7, 1, 8, 8)).astype(np.float32)
    assert net(x).shape == net.output_shape(x.shape)


def test_layers_in_a_list_are_refused() -> None:
    class Wrong(layers.Layer):
        def __init__(self) -> None:
            self.stages = [layers.Linear(1, 1)]

    with pytest.raises(
        ArgumentError, match=r"layers in a plain list would not be trained; use self.stages = layers.Sequ"
    ):
        Wrong()


def test_a_tensor_that_should_learn_must_be_a_parameter() -> None:
    layer = layers.Linear(2, 2)
    with pytest.raises(
        ArgumentError, match=r"Linear: self.scale would not be trained or saved as a Tensor; make it a lay"
    ):
        layer.scale = Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(
        ArgumentError, match=r"self.weight would not be trained or saved as a ndarray.*self.weight.assign"
    ):
        layer.weight = np.ones((2, 2))
    layer.constant = Tensor(np.ones(2))
    layer.bias = None
    assert layer(np.ones((1, 2))).shape == (1, 2)


def test_a_seed_that_was_set_holds_within() -> None:
    alone = models.LeNet5(seed=5).conv1.weight.data
    inside = layers.Sequential(models.LeNet5(seed=5), seed=7)[0].conv1.weight  # type: ignore[attr-defined]
    assert (inside.seed, inside.path) == (5, "0.conv1.weight")
    assert (inside.data != alone).all(), "the path is another"
    outer = layers.Sequential(layers.Sequential(layers.Linear(2, 2)), seed=7)
    assert outer[0][0].weight.seed == 7  # type: ignore[index]


def test_a_shared_layer_keeps_its_first_path() -> None:
    class Shared(layers.Layer):
        def __init__(self) -> None:
            self.a = layers.Linear(3, 3)
            self.b = self.a

    model = layers.Sequential(Shared())
    assert [path for path, _ in model.named_parameters()] == ["0.a.weight", "0.a.bias"]
    assert [parameter.path for parameter in model.parameters()] == ["0.a.weight", "0.a.bias"]


def test_paths_follow_layers_that_change_their_place() -> None:
    class Moved(layers.Layer):
        def __init__(self) -> None:
            self.conv = layers.Linear(4, 4)
            self.old = self.conv
            self.conv = layers.Linear(4, 4)

    model = Moved()
    assert (model.conv.path, model.old.path) == ("conv", "old")
    assert (model.conv.weight.data != model.old.weight.data).any()

    class Inner(layers.Layer):
        def __init__(self, shared: layers.Layer) -> None:
            self.inner = shared

    class Outer(layers.Layer):
        def __init__(self) -> None:
            self.a = layers.Linear(4, 4)
            self.b = Inner(self.a)

    assert Outer().a.weight.path == "a.weight"


def test_assigned_values_must_have_the_parameter_s_shape() -> None:
    for parameter in (layers.Linear(4, 3).weight, layers.Linear(4, 3).weight):
        for wrong in (np.zeros((4, 3)), np.zeros(4)):
            with pytest.raises(ShapeError, match=r"weight: expected an array \(3, 4\), got"):
                parameter.assign(wrong)
        assert parameter.data.shape == (3, 4)


def test_named_layers() -> None:
    assert [path for path, _ in Net().named_layers()] == [
        "", "stem", "blocks", "blocks.0", "blocks.0.conv", "blocks.1", "blocks.2", "blocks.2.conv", "head",
    ]  # fmt: skip


def test_state_may_be_tensors_or_lists_and_text_changes_nothing() -> None:
    layer, other = layers.Linear(1, 1).astype("float64"), layers.Linear(1, 1).astype("float64")
    layer.load_state_dict({"weight": [[0.1]], "bias": [0.1]})
    assert layer.weight.data.item() == 0.1
    other.load_state_dict(dict(layer.named_parameters()))
    assert other.bias.data.item() == 0.1
    with pytest.raises(StateError, match="bias: expected numbers, got ndarray of dtype <U1"):
        other.load_state_dict({"weight": [[0.5]], "bias": np.array(["a"])})
    assert other.weight.data.item() == 0.1


def test_plain_arrays_reach_layers_without_weights_in_the_model_s_dtype() -> None:
    for model, size in ((models.MLP(), 28), (models.LeNet5(), 32)):
        for dtype in (np.float64, np.uint8):
            assert model(np.zeros((1, 1, size, size), dtype)).dtype == np.float32


def test_sequential_takes_layers_only() -> None:
    with pytest.raises(ArgumentError, match="argument 1 must be a layer, got <function relu"):
        layers.Sequential(layers.ReLU(), F.relu)  # type: ignore[arg-type]


def test_a_layer_without_forward_says_so() -> None:
    class Empty(layers.Layer):
        pass

    with pytest.raises(TypeError, match="the class Empty needs a method forward"):
        Empty()(np.zeros(1))


def test_plain_arrays_take_the_layer_s_dtype_but_tensors_keep_theirs() -> None:
    layer = layers.Linear(2, 1)
    assert layer(np.ones((1, 2))).dtype == np.float32
    assert layer(np.ones((1, 2), np.uint8)).dtype == np.float32
    with pytest.raises(DTypeError, match="float64 and float32 met"):
        layer(Tensor(np.ones((1, 2))))
    assert layer.astype("float64")(Tensor(np.ones((1, 2)))).dtype == np.float64
    with pytest.raises(DTypeError, match="a model's dtype must be a float, got int64"):
        layer.astype("int64")


def test_models_can_be_copied_and_pickled(rng: np.random.Generator) -> None:
    net = Net()
    x = rng.standard_normal((1, 1, 8, 8)).astype(np.float32)
    expected = net(x).numpy()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other(x).numpy(), expected)
        other.head.bias.data[...] += 1
    np.testing.assert_array_equal(net(x).numpy(), expected)


def test_repr_shows_the_tree() -> None:
    assert repr(layers.Sequential(layers.Linear(3, 2), layers.Sequential(layers.Dropout(0.1)))) == (
        "Sequential()\n  0: Linear(3, 2)\n  1: Sequential()\n    0: Dropout(p=0.1)"
    )
