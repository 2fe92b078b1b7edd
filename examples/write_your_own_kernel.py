"""A CUDA kernel of one's own, from its source to a model that trains with it. No GPU is needed.

The operation is swish, x * sigmoid(beta * x), an activation function. Read swish.cu beside this file first: its two
kernels, forward and gradient, are all the CUDA there is. Then read on here, from top to bottom.

Run it with `python examples/write_your_own_kernel.py`.
"""

import tempfile
from pathlib import Path

import numpy as np

from gpucnn import Tensor, data, gradcheck, layers, optim
from gpucnn import functions as F
from gpucnn.autograd import Operand, as_tensor, check_float, record
from gpucnn.backend import Array, choose_device, xp_of
from gpucnn.checks import Shape
from gpucnn.errors import KernelError
from gpucnn.kernels.launch import Kernel, accepts, launch
from gpucnn.testing import emulated_gpu
from gpucnn.testing.emulator import compiler

# Step 1. Tell the launcher what the kernels take: their parameter lists, as they stand in the source.

SOURCE = Path(__file__).with_name("swish.cu")
SWISH = Kernel(SOURCE, "swish", "const T* x, T* output, long long size, T beta")
SWISH_GRADIENT = Kernel(
    SOURCE, "swish_gradient", "const T* gradient, const T* x, T* x_gradient, long long size, T beta"
)


# Step 2. Array to array, in two ways: NumPy's, which anyone can check by reading, and the kernel's. `accepts` chooses.
# A kernel knows no strides, so it is given contiguous arrays; beta must have the very type that the kernel reads.


def sigmoid(z: Array) -> Array:
    return 0.5 * (1 + xp_of(z).tanh(0.5 * z))


def swish_forward(x: Array, beta: float) -> Array:
    if not accepts(x):
        return x * sigmoid(beta * x)
    xp = xp_of(x)
    output = xp.empty(x.shape, x.dtype)
    launch(SWISH, x.size, xp.ascontiguousarray(x), output, x.size, x.dtype.type(beta))
    return output


def swish_backward(gradient: Array, x: Array, beta: float) -> Array:
    if not accepts(x):
        z = beta * x
        s = sigmoid(z)
        return gradient * (s + z * s * (1 - s))
    xp = xp_of(gradient, x)
    gradient, x, x_gradient = xp.ascontiguousarray(gradient), xp.ascontiguousarray(x), xp.empty(x.shape, x.dtype)
    launch(SWISH_GRADIENT, x.size, gradient, x, x_gradient, x.size, x.dtype.type(beta))
    return x_gradient


# Step 3. The differentiable function puts the operation on the tape, and a layer makes it a part of models.


def swish(x: Operand, beta: float = 1.0) -> Tensor:
    """x * sigmoid(beta * x), element by element."""
    x = as_tensor(x)
    check_float("swish", x)
    values = x.data
    return record(
        "swish", swish_forward(values, beta), (x,), lambda gradient: (swish_backward(gradient, values, beta),)
    )


class Swish(layers.Layer):
    """swish for input of any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return swish(x)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0]


# Step 4. Test it: NumPy's way against known values and central differences, then the kernels, on the emulator, against
# NumPy's way. 1000 elements fill no whole number of blocks; the order of threads must not matter.


def check_numpy() -> None:
    print(f"NumPy: swish(-1, 0, 1) = {swish(np.array([-1.0, 0.0, 1.0])).numpy().round(4)}")
    gradcheck(lambda x: swish(x, 1.7), Tensor(np.linspace(-4, 4, 11), requires_grad=True))
    print("NumPy: the gradient agrees with central differences")


def check_kernels() -> None:
    x, gradient = np.random.default_rng(0).standard_normal((2, 1000), np.float32)
    expected = swish_forward(x, 1.7), swish_backward(gradient, x, 1.7)
    for order in ("forward", "reverse", "random"):
        with emulated_gpu(order=order) as cupy:
            there = cupy.asarray(x)
            got = swish_forward(there, 1.7), swish_backward(cupy.asarray(gradient), there, 1.7)
            for ours, numpys in zip(got, expected, strict=True):
                np.testing.assert_allclose(ours.get(), numpys, rtol=1e-5, atol=1e-6)
        print(f"emulator, threads in {order} order: both kernels agree with NumPy")
    with emulated_gpu():
        gradcheck(lambda x: swish(x, 1.7), Tensor(np.linspace(-4, 4, 11), requires_grad=True).to("cuda"))
    print("emulator: the gradient kernel agrees with central differences in float64")


# Step 5. See what the emulator is for: one thread too many, which a GPU would most likely forgive, and one day not.


def plant_a_bug() -> None:
    with tempfile.TemporaryDirectory() as folder, emulated_gpu() as cupy:
        source = Path(folder) / "swish.cu"
        source.write_text(SOURCE.read_text().replace("i < size", "i <= size"))
        x = cupy.ones(5, "float32")
        try:
            launch(Kernel(source, "swish", SWISH.signature), x.size, x, cupy.empty_like(x), x.size, np.float32(1))
        except KernelError as error:
            print(f"emulator, with `i <= size` for `i < size`:\n  {error}")


# Step 6. Use it, on a GPU if there is one, else on the emulated one.


def train(device: str, name: str) -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(64, 32), Swish(), layers.Linear(32, 10)).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for images, labels in data.DataLoader(data.load("digits").train, batch_size=64, shuffle=True):
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"{name}: the loss went from {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} steps")


def main() -> None:
    check_numpy()
    if compiler() is None:
        print("no g++ here, with which the emulator compiles kernels (Debian: apt-get install g++)")
    else:
        check_kernels()
        plant_a_bug()
    choice = choose_device("auto")
    if choice.device.kind == "cuda" or compiler() is None:
        train(str(choice.device), str(choice.device))
    else:
        with emulated_gpu():
            train("cuda", "emulated GPU")


if __name__ == "__main__":
    main()
