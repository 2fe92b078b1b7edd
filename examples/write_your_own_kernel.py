"""A CUDA kernel of one's own, the activation swish, from its source to a model that trains with it. Needs no GPU.

Read swish.cu beside this file first: its two kernels, forward and gradient, are all the CUDA there is.
Run it with `python examples/write_your_own_kernel.py`.
"""

import tempfile
from pathlib import Path

import numpy as np

from gpucnn import Tensor, data, gradcheck, layers, optim
from gpucnn import functions as F
from gpucnn.autograd import Operand, as_tensor, check_float, record
from gpucnn.backend import Array, choose_device, xp_of
from gpucnn.errors import KernelError
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.ways import Way, choose
from gpucnn.testing import emulated_gpu
from gpucnn.testing.emulator import compiler

# 1. Tell the launcher what the kernels take: their parameter lists, as they stand in the source.
SOURCE = Path(__file__).with_name("swish.cu")
FORWARD = Kernel(SOURCE, "swish", "const T* x, T* output, I size, T beta")
GRADIENT = Kernel(SOURCE, "swish_gradient", "const T* gradient, const T* x, T* x_gradient, I size, T beta")


# 2. From array to array in two ways, of which `choose` takes one by the arrays: the plain one, which anyone can check by
#    reading, and the kernel. A kernel knows no strides, so its arrays are contiguous; beta has the very type that it reads.
def sigmoid(z: Array) -> Array:
    return 0.5 * (1 + xp_of(z).tanh(0.5 * z))


def plain_swish(x: Array, beta: float) -> Array:
    return x * sigmoid(beta * x)


def plain_gradient(gradient: Array, x: Array, beta: float) -> Array:
    z, s = beta * x, sigmoid(beta * x)
    return gradient * (s + z * s * (1 - s))


def cuda_swish(x: Array, beta: float) -> Array:
    output = xp_of(x).empty(x.shape, x.dtype)
    launch(FORWARD, x.size, contiguous(x), output, x.size, x.dtype.type(beta))
    return output


def cuda_gradient(gradient: Array, x: Array, beta: float) -> Array:
    x_gradient = xp_of(gradient, x).empty(x.shape, x.dtype)
    launch(GRADIENT, x.size, contiguous(gradient), contiguous(x), x_gradient, x.size, x.dtype.type(beta))
    return x_gradient


SWISH = {Way.CUDA: cuda_swish, Way.PLAIN: plain_swish}
SWISH_GRADIENT = {Way.CUDA: cuda_gradient, Way.PLAIN: plain_gradient}


def swish_forward(x: Array, beta: float) -> Array:
    return SWISH[choose(SWISH, x)](x, beta)


def swish_gradient(gradient: Array, x: Array, beta: float) -> Array:
    return SWISH_GRADIENT[choose(SWISH_GRADIENT, gradient, x)](gradient, x, beta)


# 3. The differentiable function puts the operation on the tape, and a layer makes it a part of models.
def swish(x: Operand, beta: float = 1.0) -> Tensor:
    x = as_tensor(x)
    check_float("swish", x)
    values = x.data
    output = swish_forward(values, beta)
    return record("swish", output, (x,), lambda gradient: (swish_gradient(gradient, values, beta),))


class Swish(layers.Layer):
    """x * sigmoid(x), for input of any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return swish(x)


# 4. Test it. First NumPy's way: values to compare with a pocket calculator's, and gradients with central differences.
def check_numpy() -> None:
    print(f"NumPy: swish of -1, 0, 1 is {swish(np.array([-1.0, 0.0, 1.0])).numpy().round(4)}")
    gradcheck(lambda x: swish(x, 1.7), Tensor(np.linspace(-4, 4, 11), requires_grad=True))
    print("NumPy: the gradient agrees with central differences")


# Then the kernels, against NumPy's way: 1000 elements do not fill the last block, and no order of threads may matter.
def check_kernels() -> None:
    x, gradient = np.random.default_rng(0).standard_normal((2, 1000), np.float32)
    for order in ("forward", "reverse", "random"):
        with emulated_gpu(order=order) as cupy:
            there = cupy.asarray(x)
            output, x_gradient = swish_forward(there, 1.7), swish_gradient(cupy.asarray(gradient), there, 1.7)
            np.testing.assert_allclose(output.get(), swish_forward(x, 1.7), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(x_gradient.get(), swish_gradient(gradient, x, 1.7), rtol=1e-5, atol=1e-6)
            gradcheck(lambda x: swish(x, 1.7), Tensor(cupy.linspace(-4, 4, 11), requires_grad=True))
        print(f"emulator, {order} order of threads: both kernels agree with NumPy, the gradient with differences")


# 5. See what the emulator is for: one thread too many, which a GPU may forgive for years.
def plant_a_bug() -> None:
    with tempfile.TemporaryDirectory() as folder, emulated_gpu() as cupy:
        source = Path(folder) / "swish.cu"
        source.write_text(SOURCE.read_text().replace("i < size", "i <= size"))
        x = cupy.ones(5, "float32")
        try:
            launch(Kernel(source, "swish", FORWARD.signature), x.size, x, cupy.empty_like(x), x.size, np.float32(1))
        except KernelError as error:
            print(f"emulator, with i <= size in place of i < size:\n  {error}")


# 6. Use it in a model, on a GPU if there is one, else on the emulated one.
def train(where: str) -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(64, 32), Swish(), layers.Linear(32, 10)).to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for images, labels in data.DataLoader(data.load("digits").train, batch_size=64, shuffle=True):
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"{len(losses)} steps on {where}: the loss went from {losses[0]:.2f} to {losses[-1]:.2f}")


def main() -> None:
    check_numpy()
    if compiler() is None:
        print("the rest needs g++, with which the emulator compiles kernels (Debian: apt-get install g++)")
        return
    check_kernels()
    plant_a_bug()
    if choose_device("auto").device.kind == "cuda":
        train("the GPU")
    else:
        with emulated_gpu():
            train("the emulated GPU")


if __name__ == "__main__":
    main()
