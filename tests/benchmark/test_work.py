"""The least work of a training step, counted by hand."""

from gpucnn import models
from gpucnn.benchmark.limit import Work, training_step_work
from gpucnn.benchmark.operations import operations, sgd_work
from gpucnn.layers import BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential


def test_lenet5() -> None:
    convolutions, linear = (28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25), 400 * 120 + 120 * 84 + 84 * 10
    multiply_adds = 2 * convolutions[0] + 3 * (convolutions[1] + linear)
    found = training_step_work(models.LeNet5(), (1, 32, 32), 64)
    assert found.multiply_adds == 64 * multiply_adds


def test_layer_by_layer() -> None:
    model = Sequential(
        Conv2d(2, 3, 3, padding=1), BatchNorm2d(3), ReLU(), MaxPool2d(2), Flatten(), Linear(3 * 2 * 2, 5)
    )
    images, maps, pooled, logits = 2 * 16, 3 * 16, 3 * 4, 5
    elements = 2 * images + 2 * maps  # the convolution: in, out; out's gradient and in again, and no gradient of in
    elements += 3 * maps + 2 * maps  # batch norm
    elements += 2 * maps + 2 * pooled  # pooling reads nothing again
    elements += 3 * pooled + 2 * logits  # linear
    parameters = (3 * 2 * 9 + 3) + (3 + 3) + (12 * 5 + 5)
    multiply_adds = 2 * (16 * 3 * 2 * 9) + 3 * (12 * 5)
    assert training_step_work(model, (2, 4, 4), 7) == Work(7 * multiply_adds, 4 * (7 * elements + 8 * parameters))


def test_operations() -> None:
    found = {one.name: one for one in operations(4)}
    assert len(found) == 17
    first = found["conv 1>6 5x5 @28 4"]
    images, output, parameters = 4 * 28 * 28, 4 * 6 * 28 * 28, 6 * 25 + 6
    assert first.forward_work() == Work(output * 25, 4 * (images + parameters + output))
    assert first.backward_work() == Work(output * 25, 4 * (output + images + parameters + parameters))
    later = found["conv 16>32 3x3/2 @32 4"]
    assert later.backward_work().multiply_adds == 2 * later.forward_work().multiply_adds == 2 * 4 * 32 * 256 * 16 * 9
    pool, size = found["max pool 2x2 @32 4"], 4 * 32**3
    assert pool.forward_work() == pool.backward_work() == Work(0, 4 * (size + size // 4))
    assert sgd_work() == Work(0, 5 * 4 * 524_288)
