import numpy as np
import pytest

from gpucnn import Tensor, layers, models
from gpucnn.errors import ShapeError
from gpucnn.layers.observe import observe

IMAGES = np.ones((2, 1, 32, 32), np.float32)


def test_every_innermost_layer_tells_its_output_in_order() -> None:
    model = models.LeNet5()
    seen: list[tuple[layers.Layer, Tensor]] = []
    with observe(lambda layer, output: seen.append((layer, output))):
        logits = model(IMAGES)
    assert [layer.path for layer, _ in seen] == [call.path for call in model.trace(IMAGES.shape).calls]
    assert [output.shape[1:] for _, output in seen] == [
        call.output_shape[1:] for call in model.trace(IMAGES.shape).calls
    ]
    assert seen[-1][1] is logits
    assert seen[0][1].data.any(), "values, not the shape alone"


def test_nobody_is_told_outside_or_while_shapes_are_traced() -> None:
    model, told = models.LeNet5(), []
    with observe(lambda layer, output: told.append(layer)):
        model.trace(IMAGES.shape)
        model.output_shape(IMAGES.shape)
    model(IMAGES)
    assert told == []


def test_observers_nest_and_end_with_an_error() -> None:
    layer, told = layers.ReLU(), []
    with observe(lambda *_: told.append("outer")):
        with observe(lambda *_: told.append("inner")):
            layer(IMAGES)
        with pytest.raises(ShapeError), observe(lambda *_: told.append("failing")):
            layers.Linear(3, 3)(np.ones((1, 2)))
        layer(IMAGES)
    layer(IMAGES)
    assert told == ["outer", "inner", "outer"]
