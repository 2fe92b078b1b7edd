"""Parameters in one buffer: who lives there, where gradients are written, and what happens when arrays change places."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.errors import DeviceError
from gpucnn.optim.flat_buffer import FlatBuffer
from tests.backends import Backend, host


def model_on(backend: Backend) -> layers.Sequential:
    model = layers.Sequential(layers.Conv2d(1, 2, 3), layers.Flatten(), layers.Linear(32, 3))
    return model.to(backend.device_name)


def loss_of(model: layers.Layer) -> Tensor:
    draw = np.random.default_rng(0)
    return F.cross_entropy(model(draw.standard_normal((4, 1, 6, 6))), draw.integers(0, 3, 4))


def gradients(model: layers.Layer) -> dict[str, np.ndarray]:
    return {path: host(parameter.grad).copy() for path, parameter in model.named_parameters()}


def test_gradients_are_written_into_the_buffer_and_equal_those_without(backend: Backend) -> None:
    plain = model_on(backend)
    loss_of(plain).backward()
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    optimizer.step()
    buffer = optimizer._buffers[0]
    loss_of(model).backward()
    for position, parameter in enumerate(model.parameters()):
        assert parameter.lives_in(buffer._homes[position], buffer._gradient_homes[position])
        assert parameter.grad is buffer._gradient_homes[position]
        np.testing.assert_array_equal(host(buffer.part(buffer.gradient, position)), host(parameter.grad))
    expected = gradients(plain)
    for path, array in gradients(model).items():
        np.testing.assert_array_equal(array, expected[path])


def test_a_second_backward_adds(backend: Backend) -> None:
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    optimizer.step()
    loss_of(model).backward()
    once = gradients(model)
    loss_of(model).backward()
    for path, array in gradients(model).items():
        np.testing.assert_allclose(array, 2 * once[path], rtol=1e-6)
    optimizer.zero_grad()
    loss_of(model).backward()
    for path, array in gradients(model).items():
        np.testing.assert_array_equal(array, once[path])


@pytest.mark.parametrize("settled", [False, True])
def test_a_parameter_used_twice_gets_both_gradients(backend: Backend, settled: bool) -> None:
    layer = layers.Linear(3, 3).to(backend.device_name)
    if settled:
        optim.SGD(layer.parameters(), lr=0.0).step()
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    output = F.linear(layer(x), layer.weight)  # as weight of both products
    output = output + F.linear(layer.weight, layer.weight, layer.bias).sum()  # as input and weight of one
    output.sum().backward()
    weight, bias = host(layer.weight.data).astype(float), host(layer.bias.data).astype(float)

    def total(weight: np.ndarray, bias: np.ndarray) -> float:
        return float(((x @ weight.T + bias) @ weight.T + (weight @ weight.T + bias).sum()).sum())

    for array, found in ((weight, layer.weight.grad), (bias, layer.bias.grad)):
        for index in np.ndindex(array.shape):
            kept, sides = array[index], []
            for moved in (kept + 1e-5, kept - 1e-5):
                array[index] = moved
                sides.append(total(weight, bias))
            array[index] = kept
            assert host(found)[index] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-3, abs=1e-3)


def test_a_backward_that_fails_half_way_leaves_nothing_behind(backend: Backend) -> None:
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    optimizer.step()
    loss_of(model).backward()
    expected = gradients(model)
    optimizer.zero_grad()
    taken = [
        parameter.gradient_buffer() for parameter in model.parameters()
    ]  # as a backward function does, and then fails
    for buffer in taken:
        buffer[...] = np.nan
    loss_of(model).backward()  # also without zero_grad
    for path, array in gradients(model).items():
        np.testing.assert_array_equal(array, expected[path])


def test_a_layer_unfrozen_between_forward_and_backward_learns_nothing(backend: Backend) -> None:
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    optimizer.step()
    loss_of(model).backward()
    expected = gradients(model)
    optimizer.zero_grad()
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    loss = loss_of(model)
    for parameter in model[0].parameters():
        parameter.requires_grad = True
    loss.backward()
    assert model[0].weight.grad is None
    optimizer.zero_grad()
    loss_of(model).backward()
    for path, array in gradients(model).items():
        np.testing.assert_array_equal(array, expected[path])


def test_an_array_put_in_place_of_a_gradient_is_taken(backend: Backend) -> None:
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    optimizer.step()
    before = model.state_dict()
    for parameter in model.parameters():
        parameter.grad = backend.array(np.full(parameter.shape, 2.0, np.float32))
    optimizer.step()
    for path, array in model.state_dict().items():
        np.testing.assert_allclose(array, before[path] - 2, rtol=1e-6)


def test_arrays_put_in_place_of_data_are_gathered_again(backend: Backend) -> None:
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    for parameter in model.parameters():
        parameter.grad = backend.array(np.ones(parameter.shape, np.float32))
    optimizer.step()
    model[0].bias.data = backend.array(np.array([7, 8], np.float32))
    for parameter in model.parameters():
        parameter.grad = backend.array(np.ones(parameter.shape, np.float32))
    optimizer.step()
    np.testing.assert_array_equal(host(model[0].bias.data), [5.5, 6.5])


def test_two_optimizers_of_one_model_take_turns(backend: Backend) -> None:
    model = model_on(backend)
    first, second = optim.SGD(model.parameters(), 1.0, 0.9), optim.SGD(model.parameters(), 1.0, 0.9)
    start = model.state_dict()
    expected, speeds = 0.0, [0.0, 0.0]
    for turn in range(6):
        for parameter in model.parameters():
            parameter.grad = backend.array(np.ones(parameter.shape, np.float32))
        (first, second)[turn % 2].step()
        speeds[turn % 2] = 0.9 * speeds[turn % 2] + 1
        expected += speeds[turn % 2]
    for path, array in model.state_dict().items():
        np.testing.assert_allclose(array, start[path] - expected, rtol=1e-5)


def test_a_moved_model_takes_its_optimizer_along(backend: Backend) -> None:
    model = model_on(Backend("numpy"))
    optimizer = optim.Adam(model.parameters(), 0.1)
    stays = model_on(Backend("numpy"))
    other = optim.Adam(stays.parameters(), 0.1)
    for step in range(4):
        if step == 2:
            model.to(backend.device_name)
        for a_model, an_optimizer in ((model, optimizer), (stays, other)):
            an_optimizer.zero_grad()
            loss_of(a_model).backward()
            an_optimizer.step()
    for path, array in model.state_dict().items():
        np.testing.assert_allclose(array, stays.state_dict()[path], rtol=1e-3, atol=1e-5)
    assert optimizer.state_dict()["0.weight/steps"] == 4


def test_an_optimizer_keeps_the_names_of_its_beginning(backend: Backend) -> None:
    def steps(wrap: bool) -> dict[str, np.ndarray]:
        model = model_on(backend)
        optimizer = optim.SGD(model.parameters(), 0.05, 0.9)
        for step in range(5):
            if wrap and step == 2:  # the last layer gets another path, in a model that is never trained
                layers.Sequential(layers.Flatten(), layers.Flatten(), layers.Sequential(model[2]))
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
        assert set(optimizer.state_dict()) == {
            f"{path}/momentum" for path in ("0.weight", "0.bias", "2.weight", "2.bias")
        }
        return model.state_dict()

    apart, wrapped = steps(False), steps(True)
    for path, array in apart.items():
        np.testing.assert_array_equal(wrapped[path], array)


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_copied_optimizer_trains_the_copied_model_alike(make_copy: Callable[[object], tuple]) -> None:
    model = model_on(Backend("numpy"))
    optimizer = optim.Adam(model.parameters(), 0.1)
    pairs = [(model, optimizer)]
    for step in range(4):
        if step == 2:
            pairs.append(make_copy(pairs[0]))
        for a_model, an_optimizer in pairs:
            an_optimizer.zero_grad()
            loss_of(a_model).backward()
            an_optimizer.step()
    assert pairs[1][0] is not model
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(pairs[1][0].state_dict()[path], array)


def test_moving_to_where_it_is_changes_nothing(backend: Backend) -> None:
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), 0.1)
    optimizer.step()
    model.to(backend.device_name).astype("float32")
    loss_of(model).backward()
    for position, parameter in enumerate(model.parameters()):
        assert parameter.grad is optimizer._buffers[0]._gradient_homes[position]


def test_a_step_that_finds_no_room_does_not_count(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_on(backend)
    optimizer = optim.Adam(model.parameters(), 0.1)
    loss_of(model).backward()
    original = FlatBuffer.remember

    def full(self: FlatBuffer, name: str) -> None:
        raise MemoryError

    monkeypatch.setattr(FlatBuffer, "remember", full)
    with pytest.raises(MemoryError):
        optimizer.step()
    monkeypatch.setattr(FlatBuffer, "remember", original)
    optimizer.step()
    assert optimizer.state_dict()["0.bias/steps"] == 1


def test_arrays_of_another_device_are_moved_or_refused(backend: Backend) -> None:
    layer = layers.Linear(2, 2).to(backend.device_name)
    optimizer = optim.SGD(layer.parameters(), 1.0)
    optimizer.step()
    before = host(layer.bias.data).copy()
    layer.bias.grad = np.ones(2, np.float32)
    optimizer.step()
    np.testing.assert_allclose(host(layer.bias.data), before - 1)
    if not backend.on_cpu:
        with pytest.raises(DeviceError) as raised:
            layer.bias.data = np.ones(2, np.float32)
        assert str(raised.value) == "bias: expected an array on cuda:0, got one on cpu; use assign, which moves it"


def test_a_copied_model_lives_by_itself(backend: Backend) -> None:
    if not backend.on_cpu:
        pytest.skip("CuPy arrays copy deeply, the stand-in's do not")
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), 0.1)
    loss_of(model).backward()
    optimizer.step()
    twin = copy.deepcopy(model)
    before = twin.state_dict()
    loss_of(model).backward()
    optimizer.step()
    for path, array in twin.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def test_parameters_with_other_step_counts_are_updated_apart(backend: Backend) -> None:
    layer = layers.Linear(2, 2).to(backend.device_name)
    layer.weight.data[...] = 0
    optimizer = optim.Adam(layer.parameters(), 0.1)
    for names in (["weight"], ["weight", "bias"]):
        optimizer.zero_grad()
        for name in names:
            getattr(layer, name).grad = backend.array(np.full(getattr(layer, name).shape, 3.0, np.float32))
        optimizer.step()
    np.testing.assert_allclose(host(layer.weight.data), -0.2, rtol=1e-5)  # with equal gradients each step is lr
    np.testing.assert_allclose(host(layer.bias.data), -0.1, rtol=1e-5)
    assert [optimizer.state_dict()[f"{name}/steps"] for name in ("weight", "bias")] == [2, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [("weight", 0), ("weight", -1), ("bias", 0), ("bias", -1)])
def test_a_gradient_that_is_not_finite_is_found(backend: Backend, value: float, place: tuple[str, int]) -> None:
    layer = layers.Linear(3, 2).to(backend.device_name)
    optimizer = optim.SGD([*layer.parameters()], 0.1)
    gradients = {name: np.ones(parameter.shape, np.float32) for name, parameter in layer.named_parameters()}
    for parameter in layer.parameters():
        parameter.grad = backend.array(gradients[parameter.path])
    assert optimizer.gradients_are_finite()
    name, element = place
    gradients[name].flat[element] = value
    getattr(layer, name).grad = backend.array(gradients[name])
    assert not optimizer.gradients_are_finite()
    other = layer.bias if name == "weight" else layer.weight
    other.grad = None
    assert not optimizer.gradients_are_finite()
    other.grad, getattr(layer, name).grad = backend.array(np.ones(other.shape, np.float32)), None
    assert optimizer.gradients_are_finite(), "what stands in the place of a gradient that is not there does not count"
    optimizer.zero_grad()
    assert optimizer.gradients_are_finite()
