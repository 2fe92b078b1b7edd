"""Max pooling computed with the convolution before it, on a GPU: one launch where nobody looks between them, the same values."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn import Tensor, layers, models, no_grad
from gpucnn.autograd.calls import noting_calls
from gpucnn.backend import Device, graph, precision
from gpucnn.explain import grad_cam
from gpucnn.kernels.convolution import pooled
from gpucnn.kernels.ways import Way, leave_out
from gpucnn.layers.graph import model_graph
from gpucnn.testing import emulated_gpu, oracles
from gpucnn.testing.emulator import compiler
from tests.backends import Backend, host
from tests.kernels.test_linear import to_tf32

needs_compiler = pytest.mark.skipif(compiler() is None, reason="emulated kernels need g++")


def net_of(rng: np.random.Generator, relu: bool) -> layers.Sequential:
    """A convolution of odd sizes, a ReLU or none, and a pooling that fits it."""
    kernel, stride, padding = (tuple(map(int, rng.integers(low, high, 2))) for low, high in ((1, 4), (1, 3), (0, 2)))
    pool = int(rng.integers(1, 4))
    conv = layers.Conv2d(int(rng.integers(1, 4)), int(rng.integers(1, 9)), (kernel[0] + 1, kernel[1]), stride, padding)
    conv.bias.data[...] = rng.integers(-1, 2, conv.bias.shape)
    conv.weight.data[...] = rng.integers(
        -1, 2, conv.weight.shape
    )  # exact, so that there are ties, and they are the same ones
    return layers.Sequential(conv, *[layers.ReLU()] * relu, layers.MaxPool2d(pool, pool + int(rng.integers(0, 2))))


def results(net: layers.Layer, images: Tensor) -> list[np.ndarray]:
    """The output, and all gradients of a sum that weighs it."""
    net.zero_grad()
    images.grad = None
    output = net(images)
    weights = np.arange(1, 1 + output.size, dtype=np.float32).reshape(output.shape) % 5
    (output * weights).sum().backward()
    return [host(output.data), host(images.grad), *(host(one.grad) for one in net.parameters())]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([1, 3]))
@needs_compiler
def test_values_and_gradients_are_those_of_one_after_the_other(seed: int, relu: bool, batch: int) -> None:
    rng = np.random.default_rng(seed)
    net = net_of(rng, relu)
    values = rng.integers(-2, 3, (batch, net[0].in_channels, 13, 11)).astype(np.float32)
    with emulated_gpu("fast") as gpu:
        net.to("cuda")
        images = Tensor(gpu.asarray(values), requires_grad=True)
        with gpu.operation_log.recorded() as operations:
            found = results(net, images)
        assert Counter(one.name for one in operations if one.kind == "launch")["conv2d_max_pool"] == 1
        with leave_out(Way.FUSED):
            expected = results(net, images)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-5)


@needs_compiler
def test_a_replay_has_the_bits_of_what_is_computed_as_it_is() -> None:
    rng = np.random.default_rng(1)
    with emulated_gpu() as gpu:
        net = layers.Sequential(layers.Conv2d(2, 3, 3), layers.ReLU(), layers.MaxPool2d(2)).to("cuda")
        images = Tensor(gpu.asarray(rng.standard_normal((4, 2, 9, 9)).astype(np.float32)), requires_grad=True)

        def step() -> Any:
            net.zero_grad()
            net(images).sum().backward()
            return net[0].weight.grad

        now = host(step()).copy()
        again = host(step()).copy()
        recorded, found = graph.Graph.record(step, Device("cuda"))
        recorded.replay()
        assert now.tobytes() == again.tobytes() == host(found).tobytes()


WATCHED: dict[str, Callable[[layers.Sequential, Any], Any]] = {
    "a hook of the convolution": lambda net, x: [net[0].register_forward_hook(lambda *_: None), net(x)],
    "a hook of the pooling": lambda net, x: [net[2].register_forward_pre_hook(lambda *_: None), net(x)],
    "a hook of the ReLU": lambda net, x: [net[1].register_full_backward_hook(lambda *_: None), net(x)],
    "calls of functions": lambda net, x: noted(net, x),
    "a model graph": model_graph,
    "half precision": lambda net, x: net.astype(np.float16)(x.astype(np.float16)),
    "a pooling that overlaps": lambda net, x: layers.Sequential(net[0], net[1], layers.MaxPool2d(3, 2))(x),
    "a pooling with padding": lambda net, x: layers.Sequential(net[0], net[1], layers.MaxPool2d(2, padding=1))(x),
    "a last window beyond the end": lambda net, x: layers.Sequential(net[0], layers.MaxPool2d(2, ceil_mode=True))(x),
    "a subclass": lambda net, x: layers.Sequential(
        type("Own", (layers.Conv2d,), {"forward": own_forward})(1, 2, 3), net[2]
    ).to("cuda")(x),
}


def noted(net: layers.Layer, x: Any) -> None:
    with noting_calls() as calls:
        net(x)
    assert [call.name for call in calls] == ["conv2d", "max_pool2d"]


def own_forward(self: layers.Conv2d, x: Tensor) -> Tensor:
    return layers.Conv2d.forward(self, x)


@needs_compiler
@pytest.mark.parametrize("name", WATCHED)
def test_one_after_the_other_where_somebody_looks_or_one_does_not_suit(name: str) -> None:
    with emulated_gpu("fast") as gpu, mock.patch("gpucnn.layers.conv.conv2d_max_pool2d") as together:
        net = layers.Sequential(layers.Conv2d(1, 2, 3), layers.ReLU(), layers.MaxPool2d(2))
        WATCHED[name](net.to("cuda"), gpu.ones((1, 1, 7, 7), np.float32))
    together.assert_not_called()


@pytest.mark.parametrize("name", ["plain", "numpy", "jit"])
def test_a_cpu_knows_nothing_of_it(name: str) -> None:
    backend = Backend(name)
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active(), mock.patch("gpucnn.layers.conv.conv2d_max_pool2d") as together:
        models.LeNet5()(np.ones((1, 1, 32, 32), np.float32))
    together.assert_not_called()


def test_what_suits() -> None:
    def task(**changes: Any) -> pooled.PooledConvolution:
        sizes = {"channels": 6, "filters": 16, "kernel": 5, "size": 14, "groups": 1, "batch": 64} | changes
        conv = layers.Conv2d(sizes["channels"], sizes["filters"], sizes["kernel"], groups=sizes["groups"])
        shape = (sizes["batch"], sizes["channels"], sizes["size"], sizes["size"])
        output = conv.output_shape(shape)
        convolution = pooled.Convolution(shape, conv.weight.shape, output, conv.window, sizes["groups"])
        return pooled.PooledConvolution(
            convolution, pooled.Pooling(output, layers.MaxPool2d(sizes.get("pool", 2)).window)
        )

    fitting = [{}, {"channels": 20, "kernel": 5}, {"pool": 5}, {"kernel": 1, "pool": 1, "channels": 1, "size": 3}]
    assert [pooled.suits(task(**changes)) for changes in fitting] == [True, True, True, False]
    declined = [{"channels": 21}, {"kernel": 6}, {"groups": 2}, {"size": 40, "pool": 6}, {"size": 40, "pool": (1, 13)}]
    assert [pooled.suits(task(**changes)) for changes in declined] == [False] * len(declined)
    with precision("tf32"):
        assert [pooled.suits(task(batch=batch)) for batch in (1118, 1119)] == [True, False]
    with precision("bf16"):
        assert not pooled.suits(task())


@needs_compiler
def test_lenet_in_tf32_is_that_of_rounded_numbers() -> None:
    rng = np.random.default_rng(5)
    images = rng.standard_normal((2, 1, 32, 32)).astype(np.float32)
    with no_grad(), precision("tf32"):
        model = models.LeNet5()
        expected = model(images).numpy()
        with emulated_gpu("fast") as gpu:
            found = host(model.to("cuda")(gpu.asarray(images)).data)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@needs_compiler
def test_tf32_is_that_of_rounded_numbers_to_1e_6() -> None:
    """Beside `test_linear`'s rounding by arithmetic, a naive convolution in double and NumPy's maxima of 2x2."""
    rng = np.random.default_rng(6)
    images, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 9, 9), (5, 4, 4, 4)))
    maps = oracles.conv2d(to_tf32(images.astype(np.float64)), to_tf32(weight.astype(np.float64)))
    expected = maps.reshape(3, 5, 3, 2, 3, 2).max(axis=(3, 5))
    with emulated_gpu() as gpu, precision("tf32"):
        net = layers.Sequential(layers.Conv2d(4, 5, 4, bias=False), layers.MaxPool2d(2))
        net[0].weight.data[...] = weight
        found = host(net.to("cuda")(gpu.asarray(images)).data)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@needs_compiler
def test_errors_and_explanations_are_those_of_the_layers() -> None:
    rng = np.random.default_rng(2)
    image = rng.random((1, 32, 32)).astype(np.float32)
    model = models.LeNet5()
    maps = grad_cam(model, image, 3)
    with emulated_gpu("fast") as gpu:
        model.to("cuda")
        np.testing.assert_allclose(grad_cam(model, gpu.asarray(image), 3), maps, rtol=1e-4, atol=1e-5)
        net = layers.Sequential(layers.Conv2d(1, 2, 3), layers.MaxPool2d(2)).to("cuda")
        for shape in ((1, 2, 7, 7), (1, 1, 2, 2), (1, 1, 3, 3)):
            messages = []
            for run in (net, lambda x: net[1](net[0](x))):
                with pytest.raises(Exception, match="Conv2d|MaxPool2d") as raised:
                    run(gpu.ones(shape, np.float32))
                messages.append(str(raised.value))
            assert messages[0] == messages[1]
