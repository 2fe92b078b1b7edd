"""Running statistics: how they move, when they are used, that they are saved and are no parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from gpucnn.files.model_file import load_model, save_model
from tests.backends import Backend, host

IMAGES = (np.random.default_rng(0).standard_normal((6, 3, 4, 5)) * 2 + 1).astype(np.float32)


def test_running_statistics_move_by_momentum_with_the_unbiased_variance(backend: Backend) -> None:
    layer = layers.BatchNorm2d(3, momentum=0.25).to(backend.device_name)
    for _ in range(2):
        layer(backend.array(IMAGES))
    mean, variance = IMAGES.mean(axis=(0, 2, 3)), IMAGES.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(host(layer.running_mean.data), (1 - 0.75**2) * mean, rtol=1e-5)
    np.testing.assert_allclose(host(layer.running_var.data), 0.75**2 + (1 - 0.75**2) * variance, rtol=1e-5)


def test_evaluation_uses_them_and_leaves_them(backend: Backend) -> None:
    layer = layers.BatchNorm2d(3).to(backend.device_name)
    layer(backend.array(IMAGES))
    before = layer.state_dict()
    output = layer.eval()(backend.array(IMAGES[:1])).numpy()
    mean, variance = (before[f"running_{name}"].reshape(3, 1, 1) for name in ("mean", "var"))
    np.testing.assert_allclose(output, (IMAGES[:1] - mean) / np.sqrt(variance + 1e-5), rtol=1e-5, atol=1e-6)
    for path, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def test_frozen_uses_them_in_training_too() -> None:
    layer = layers.BatchNorm2d(3, frozen=True)
    output = layer(IMAGES)
    np.testing.assert_allclose(output.numpy(), IMAGES / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert not layer.running_mean.data.any()


def test_buffers_are_state_and_no_parameters(tmp_path: Path) -> None:
    model = layers.Sequential(layers.Conv2d(3, 2, 3), layers.BatchNorm2d(2))
    assert [path for path, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [path for path, _ in model.named_buffers()] == ["1.running_mean", "1.running_var"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    assert model.parameter_count() == 3 * 2 * 9 + 2 + 4
    optimizer = optim.SGD(model.parameters(), 0.1)
    (model(IMAGES) * 1.0).sum().backward()
    optimizer.step()
    assert model[1].running_mean.grad is None
    save_model(tmp_path / "model.safetensors", model, {})
    other = layers.Sequential(layers.Conv2d(3, 2, 3), layers.BatchNorm2d(2))
    other.load_state_dict(load_model(tmp_path / "model.safetensors")[0])
    np.testing.assert_array_equal(other.eval()(IMAGES).numpy(), model.eval()(IMAGES).numpy())
    assert model.astype("float64")[1].running_var.data.dtype == np.float64


def test_a_single_value_per_channel_is_refused_in_training() -> None:
    layer = layers.BatchNorm1d(3)
    with pytest.raises(ShapeError) as raised:
        layer(np.ones((1, 3)))
    assert str(raised.value) == (
        "BatchNorm1d: a single value per channel has no variance to learn from, got input (1, 3); "
        "use a batch of two or more, or model.eval()"
    )
    assert layer.eval()(np.ones((1, 3))).shape == (1, 3)
    assert layers.BatchNorm2d(3)(np.ones((1, 3, 1, 2))).shape == (1, 3, 1, 2)


def test_an_empty_batch_leaves_the_statistics(backend: Backend) -> None:
    layer = layers.BatchNorm2d(3).to(backend.device_name)
    assert layer(np.ones((0, 3, 2, 2))).shape == (0, 3, 2, 2)
    assert not host(layer.running_mean.data).any()


def test_without_momentum_they_are_the_mean_over_all_batches(backend: Backend, tmp_path: Path) -> None:
    layer = layers.BatchNorm2d(3, momentum=None).to(backend.device_name)
    batches = [IMAGES[:2], IMAGES[2:3], np.ones((0, 3, 4, 5), np.float32), IMAGES[3:]]
    for batch in batches:
        layer(backend.array(batch))
    seen = [batch for batch in batches if batch.size]
    means = [batch.mean(axis=(0, 2, 3)) for batch in seen]
    variances = [batch.var(axis=(0, 2, 3), ddof=1) for batch in seen]
    np.testing.assert_allclose(host(layer.running_mean.data), np.mean(means, axis=0), rtol=1e-5)
    np.testing.assert_allclose(host(layer.running_var.data), np.mean(variances, axis=0), rtol=1e-5)
    assert layer.state_dict()["num_batches_tracked"] == 3
    layer.eval()(backend.array(IMAGES))
    save_model(tmp_path / "model.safetensors", layer, {})
    other = layers.BatchNorm2d(3, momentum=None).to(backend.device_name)
    other.load_state_dict(load_model(tmp_path / "model.safetensors")[0])
    for one in (layer.train(), other):
        one(backend.array(IMAGES))
    for path, array in layer.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[path], array)
    assert layer.state_dict()["num_batches_tracked"] == 4


def test_the_count_of_batches_survives_a_checkpoint_s_second_pass() -> None:
    block = layers.BatchNorm2d(3, momentum=None)
    layers.Checkpoint(block)(Tensor(IMAGES, True)).sum().backward()
    assert block.state_dict()["num_batches_tracked"] == 1


def test_without_running_statistics_evaluation_uses_the_batch_s(backend: Backend) -> None:
    layer = layers.BatchNorm2d(3, track_running_stats=False).to(backend.device_name)
    assert list(layer.state_dict()) == ["weight", "bias"]
    trained, tested = layer(backend.array(IMAGES)), layer.eval()(backend.array(IMAGES))
    np.testing.assert_array_equal(trained.numpy(), tested.numpy())
    np.testing.assert_allclose(tested.numpy().mean(axis=(0, 2, 3)), 0, atol=1e-6)
    with pytest.raises(ShapeError, match=r"got input \(1, 3, 1, 1\); use a batch of two or more$"):
        layer(backend.array(np.ones((1, 3, 1, 1), np.float32)))


def test_without_bias_the_scale_alone_is_learnt() -> None:
    for layer in (
        layers.BatchNorm1d(4, bias=False),
        layers.BatchNorm2d(4, bias=False),
        layers.LayerNorm(4, bias=False),
        layers.GroupNorm(2, 4, bias=False),
        layers.InstanceNorm2d(4, affine=True, bias=False),
    ):
        assert layer.bias is None
        assert [path for path, _ in layer.named_parameters()] == ["weight"]


def test_without_scale_the_bias_alone_is_learnt(backend: Backend) -> None:
    """As one whose scale is 1 and learns nothing; forwards, backwards, and in evaluation."""
    own = layers.BatchNorm2d(3, momentum=0.4, scale=False).to(backend.device_name)
    whole = layers.BatchNorm2d(3, momentum=0.4).to(backend.device_name)
    assert own.weight is None
    assert list(own.state_dict()) == ["bias", "running_mean", "running_var"]
    bias, given = np.array([0.5, -1, 2], np.float32), np.random.default_rng(1).standard_normal(IMAGES.shape)
    for layer in (own, whole):
        layer.bias.assign(bias)
    x, other = (backend.tensor(IMAGES, True) for _ in range(2))
    for layer, images in ((own, x), (whole, other)):
        layer(images).backward(given)
    plain = (IMAGES - IMAGES.mean((0, 2, 3), keepdims=True)) / np.sqrt(IMAGES.var((0, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(own(x).numpy(), plain + bias.reshape(3, 1, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(host(own.bias.grad), given.sum((0, 2, 3)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(host(x.grad), host(other.grad), rtol=1e-5, atol=1e-6)
    whole(other)
    np.testing.assert_allclose(own.eval()(x).numpy(), whole.eval()(other).numpy(), rtol=1e-5, atol=1e-6)
    own.load_state_dict({path: array for path, array in whole.state_dict().items() if path != "weight"})
    np.testing.assert_array_equal(own(x).numpy(), whole(other).numpy())


def test_flags_of_scale_and_bias_are_checked() -> None:
    assert list(layers.BatchNorm1d(3, affine=False, scale=True).named_parameters()) == []
    assert list(layers.BatchNorm1d(3, scale=False, bias=False).named_parameters()) == []
    with pytest.raises(ArgumentError) as raised:
        layers.BatchNorm2d(3, scale="no")  # type: ignore[arg-type]
    assert str(raised.value) == "BatchNorm2d: scale must be True or False, got 'no'"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_plain_arrays_of_running_statistics_move_in_place(backend: Backend, dtype: str) -> None:
    mean, variance = backend.array(np.zeros(3, dtype)), backend.array(np.ones(3, dtype))
    F.batch_norm(backend.array(IMAGES), mean, variance, training=True, momentum=0.25)
    np.testing.assert_allclose(host(mean), 0.25 * IMAGES.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(host(variance), 0.75 + 0.25 * IMAGES.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)
    assert (mean.dtype, variance.dtype) == (dtype, dtype)
    output = F.batch_norm(backend.array(IMAGES), mean, variance)
    tensors = [Tensor(array.astype("float32")) for array in (mean, variance)]
    np.testing.assert_array_equal(output.numpy(), F.batch_norm(backend.array(IMAGES), *tensors).numpy())


def test_plain_arrays_on_the_host_do_not_move_with_a_gpu(gpu: Backend) -> None:
    host_array = np.zeros(3, np.float32)
    output = F.batch_norm(gpu.array(IMAGES), host_array, np.ones(3))
    np.testing.assert_allclose(output.numpy(), IMAGES, rtol=1e-4)
    with pytest.raises(
        DeviceError, match=r"batch_norm: running_mean is on cpu, the input on cuda:0; training moves it"
    ):
        F.batch_norm(gpu.array(IMAGES), host_array, None, training=True)
    with pytest.raises(DeviceError, match=r"running_var is on cpu, the input on cuda:0; .*: bring it to the input's"):
        F.batch_norm(gpu.array(IMAGES), None, Tensor(host_array), training=True)


def test_a_constant_channel_becomes_the_bias(backend: Backend) -> None:
    x = backend.tensor(np.full((4, 2, 3, 3), 7.0, np.float32), True)
    output = F.batch_norm(x, None, None, np.ones(2), np.array([5.0, -1.0]), training=True)
    np.testing.assert_array_equal(output.numpy()[0, :, 0, 0], [5, -1])
    output.backward(np.ones(output.shape))
    np.testing.assert_allclose(host(x.grad), 0, atol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_adds_a_residual_before_its_relu(backend: Backend, training: bool) -> None:
    fused, apart = (layers.BatchNorm2d(3).to(backend.device_name) for _ in range(2))
    for layer in (fused, apart):
        layer(backend.array(IMAGES))
        layer.training = training
    residual = backend.array(np.random.default_rng(1).standard_normal(IMAGES.shape).astype(np.float32))
    seen = []
    fused.register_forward_hook(lambda layer, inputs, output: seen.append((len(inputs), output)))
    for activation in ("relu", None):
        found = fused(backend.array(IMAGES), activation=activation, residual=residual)
        expected = F.add(apart(backend.array(IMAGES)), residual, activation)
        np.testing.assert_allclose(
            found.numpy(), expected.numpy(), rtol=0 if backend.on_cpu else 1e-5, atol=0 if backend.on_cpu else 1e-6
        )
        assert [(count, output is found) for count, output in seen[-1:]] == [(1, True)], "what comes out in the end"
    for path, array in fused.state_dict().items():
        np.testing.assert_array_equal(array, apart.state_dict()[path])
    assert fused.output_shape((2, 3, 4, 5)) == (2, 3, 4, 5)


def test_the_gradient_of_a_residual_without_relu_is_the_output_s_own(backend: Backend) -> None:
    x, residual = (backend.tensor(IMAGES, True) for _ in range(2))
    output = F.batch_norm(x, None, None, training=True, residual=residual)
    node, slopes = output.node, backend.array(IMAGES)
    assert node is not None
    assert node.backward is not None
    gradients = node.backward(slopes)
    assert gradients[1] is slopes


def test_sequential_gives_a_residual_to_a_batch_norm_at_its_end(backend: Backend) -> None:
    rng, seen = np.random.default_rng(2), []
    for last in (layers.BatchNorm2d(3), layers.Conv2d(3, 3, 1)):
        model = layers.Sequential(layers.Conv2d(3, 3, 1), last).to(backend.device_name)
        residual = backend.array(rng.standard_normal(IMAGES.shape).astype(np.float32))
        summed = model(backend.array(IMAGES), residual=residual).numpy()
        alone = model(backend.array(IMAGES)).numpy()
        np.testing.assert_allclose(summed, alone + host(residual), rtol=1e-5, atol=1e-6)
        hook = last.register_forward_hook(lambda layer, inputs, output: seen.append(output.numpy()))
        np.testing.assert_allclose(
            model(backend.array(IMAGES), residual=residual).numpy(), summed, rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(seen[-1], alone)
        hook.remove()
        names = [call.kind for call in model.trace((6, 3, 4, 5)).calls]
        assert names == ["Conv2d", type(last).__name__]


REFUSED = [
    (lambda: F.batch_norm(np.ones((2, 3)), None, None, training=True, residual=np.ones(3)), ShapeError,
     "batch_norm: expected residual (2, 3), got (3,)"),
    (lambda: layers.BatchNorm1d(3)(np.ones((2, 3)), residual=np.ones((2, 4))), ShapeError,
     "batch_norm: expected residual (2, 3), got (2, 4)"),
    (lambda: F.batch_norm(np.ones((2, 3)), None, Tensor(np.broadcast_to(1.0, 3)), training=True), ArgumentError,
     "batch_norm: running_var moves in training, and cannot be written to; give a copy of it"),
    (lambda: layers.BatchNorm2d(3)(np.ones((2, 4, 2, 2))), ShapeError,
     "BatchNorm2d: expected input (N, 3, H, W), got (2, 4, 2, 2); build it with num_features=4"),
    (lambda: layers.BatchNorm1d(3)(np.ones((2, 3, 2, 2))), ShapeError, "BatchNorm1d: expected input (N, 3) or (N, 3, L), got"),
    (lambda: layers.BatchNorm2d(0), ArgumentError, "BatchNorm2d: num_features must be an int >= 1, got 0"),
    (lambda: layers.GroupNorm(2, 3), ArgumentError, "GroupNorm: num_groups must divide num_channels, got 2 for 3"),
    (lambda: layers.GroupNorm(2, 4)(np.ones((2, 6, 3))), ShapeError, "GroupNorm: expected input (N, 4, ...), got (2, 6, 3)"),
    (lambda: layers.LayerNorm(4)(np.ones((2, 3))), ShapeError, "LayerNorm: expected input (..., 4), got (2, 3)"),
    (lambda: F.layer_norm(np.ones((2, 3)), (2, 4)), ShapeError, "layer_norm: expected input (..., 2, 4), got (2, 3)"),
    (lambda: F.batch_norm(np.ones((2, 3)), None, None), ArgumentError,
     "batch_norm: running_mean is None, which only training=True can do without"),
    (lambda: F.batch_norm(np.ones((2, 3)), Tensor(np.ones(4)), None, training=True), ShapeError,
     "batch_norm: expected running_mean (3,), got (4,)"),
    (lambda: F.batch_norm(np.ones((2, 3)), [0.0] * 3, [1.0] * 3, training=True), DTypeError,
     "batch_norm: running_mean moves in training, so it must be a tensor or an array of floats, got a list; give an array of float64, or None"),
    (lambda: F.batch_norm(np.ones((2, 3)), np.zeros(3, int), None, training=True), DTypeError,
     "batch_norm: running_mean moves in training, so it must be a tensor or an array of floats, got an array of int64; give an array"),
    (lambda: F.batch_norm(np.ones((2, 3)), None, np.broadcast_to(1.0, 3), training=True), ArgumentError,
     "batch_norm: running_var moves in training, and cannot be written to; give a copy of it"),
    (lambda: F.batch_norm(np.ones((2, 3)), np.zeros(3), np.ones((3, 1))), ShapeError, "batch_norm: expected running_var (3,), got (3, 1)"),
    (lambda: F.batch_norm(np.ones((2, 3)), None, None, training=True, momentum=None), ArgumentError, "batch_norm: momentum must be a number >= 0, got None"),
    (lambda: layers.BatchNorm1d(3, track_running_stats=False, frozen=True), ArgumentError,
     "BatchNorm1d: frozen=True uses running statistics; leave track_running_stats=True"),
    (lambda: F.group_norm(np.ones((2, 3)), 2), ArgumentError, "group_norm: num_groups must divide 3 channels, got 2"),
    (lambda: F.group_norm(np.ones((2, 4)), 2, np.ones(3)), ShapeError, "group_norm: expected weight (4,), got (3,)"),
    (lambda: F.instance_norm(np.ones((2, 3))), ShapeError, "instance_norm: expected input (N, C, positions, ...) of more than one position, got (2, 3)"),
    (lambda: F.local_response_norm(np.ones(3), 3), ShapeError, "local_response_norm: expected input (N, C, ...), got (3,)"),
    (lambda: F.local_response_norm(np.ones((1, 3)), 0), ArgumentError, "local_response_norm: size must be an int >= 1, got 0"),
]  # fmt: skip


EPS: list[tuple[str, Callable[[float], object]]] = [
    ("batch_norm", lambda eps: F.batch_norm(np.ones((2, 3)), None, None, training=True, eps=eps)),
    ("batch_norm", lambda eps: F.batch_norm(np.ones((2, 3)), np.zeros(3), np.ones(3), eps=eps)),
    ("layer_norm", lambda eps: F.layer_norm(np.ones((2, 3)), 3, eps=eps)),
    ("group_norm", lambda eps: F.group_norm(np.ones((2, 3)), 3, eps=eps)),
    ("instance_norm", lambda eps: F.instance_norm(np.ones((2, 3, 2)), eps=eps)),
    ("BatchNorm1d", lambda eps: layers.BatchNorm1d(3, eps)),
    ("BatchNorm2d", lambda eps: layers.BatchNorm2d(3, eps)),
    ("LayerNorm", lambda eps: layers.LayerNorm(3, eps)),
    ("GroupNorm", lambda eps: layers.GroupNorm(3, 3, eps)),
    ("InstanceNorm2d", lambda eps: layers.InstanceNorm2d(3, eps)),
]


@pytest.mark.parametrize(("owner", "call"), EPS)
@pytest.mark.parametrize("eps", [0, -1, -0.0, float("nan"), float("inf"), None, "a", True, -(10**9)])
def test_an_eps_that_is_not_above_zero_is_refused(owner: str, call: Callable[[Any], object], eps: Any) -> None:
    with pytest.raises(ArgumentError) as raised:
        call(eps)
    fix = "it is added to a variance that may be 0, take e.g. 1e-5"
    assert str(raised.value) == f"{owner}: eps must be a number > 0, got {eps!r}; {fix}"
    call(1e-300 if owner[0].isupper() else 1e-5)


def test_an_eps_that_is_zero_in_the_input_s_dtype_is_refused() -> None:
    with pytest.raises(
        ArgumentError,
        match=r"layer_norm: eps 1e-08 is 0 in float16; it is added to a variance that may be 0, take e.g. 1",
    ):
        F.layer_norm(np.ones((2, 3), np.float16), 3, eps=1e-8)
    assert np.isfinite(F.layer_norm(np.ones((2, 3), np.float16), 3, eps=1e-6).numpy()).all()


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED, ids=[text[:40] for _, _, text in REFUSED])
def test_what_is_refused(call: object, kind: type, text: str) -> None:
    with pytest.raises(kind) as raised:
        call()  # type: ignore[operator]
    assert str(raised.value).startswith(text)
