"""What is frozen stays as in evaluation, whoever switches the model to training."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, models, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError
from gpucnn.layers.forward_state import ForwardState, evaluating
from gpucnn.training import Callback, Trainer, evaluate
from tests.backends import Backend, host
from tests.training.small_run import small_set


class OwnDropout(layers.Layer):
    """A layer of one's own that looks at `training`."""

    def __init__(self) -> None:
        self.draws = 0

    def forward(self, x: Any) -> Tensor:
        if not self.training:
            return x
        self.draws += 1
        return F.dropout(x, 0.5, seed=self.seed, purpose="own", counter=self.draws)

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]


def features(affine: bool = True) -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(1, 4, 3),
        layers.BatchNorm2d(4, affine=affine),
        layers.ReLU(),
        layers.Dropout(0.5),
        OwnDropout(),
        layers.Checkpoint(layers.Sequential(layers.Conv2d(4, 3, 1), layers.BatchNorm2d(3, affine=affine), layers.Dropout2d(0.3))),
    )  # fmt: skip


class Net(layers.Layer):
    def __init__(self, affine: bool = True) -> None:
        self.features = features(affine)
        self.head = layers.Sequential(
            layers.Flatten(), layers.Dropout(0.2), layers.Linear(12, 3), layers.BatchNorm1d(3)
        )

    def forward(self, x: Any) -> Tensor:
        return self.head(self.features(x))


def trainer_of(model: layers.Layer, *callbacks: Callback, **options: Any) -> Trainer:
    loader = data.DataLoader(small_set(), 4, shuffle=True)
    return Trainer(model, optim.SGD(model.parameters(), 0.1, 0.9), loader, loader, None, callbacks, **options)


def changed(model: layers.Layer, before: dict[str, np.ndarray]) -> set[str]:
    return {path for path, array in model.state_dict().items() if (array != before[path]).any()}


def own_state(model: layers.Layer) -> list[dict[str, Any]]:
    return [layer.forward_state() for _, layer in model.named_layers() if layer.forward_state()]


@pytest.mark.parametrize("affine", [True, False])
def test_a_frozen_part_stays_as_in_evaluation_through_fit(backend: Backend, affine: bool) -> None:
    model = Net(affine).to(backend.device_name)
    for _, buffer in model.features.named_buffers():  # as of weights from elsewhere
        buffer.assign(np.random.default_rng(0).uniform(0.5, 1.5, buffer.shape))
    assert model.features.requires_grad_(False) is model.features
    before = model.state_dict()
    images = backend.array(small_set().images)
    expected = host(model.features.eval()(images).data)
    model.train()
    np.testing.assert_array_equal(host(model.features(images).data), expected)
    trainer_of(model, accumulate=2).fit(2)
    assert changed(model, before) == {path for path in before if path.startswith("head")}
    np.testing.assert_array_equal(host(model.features(images).data), expected)
    assert own_state(model.features) == [{"calls": 0}, {"calls": 0}], "nothing was drawn there"
    assert own_state(model.head) != [{"calls": 0}]


@pytest.mark.sample(2)
@pytest.mark.parametrize("make", [
    lambda: layers.Sequential(layers.Conv2d(1, 2, 3), layers.BatchNorm2d(2), layers.ReLU(), layers.Flatten(), layers.Linear(8, 3)),
    lambda: layers.Sequential(layers.Flatten(), layers.BatchNorm1d(16), layers.Linear(16, 3)),
    lambda: layers.Sequential(layers.Flatten(), layers.BatchNorm1d(16, affine=False), layers.Linear(16, 3)),
])  # fmt: skip
def test_a_frozen_batch_norm_alone(make: Callable[[], layers.Sequential], backend: Backend) -> None:
    """With the ReLU that is computed with it, too. It is what `frozen=True` gives, and weights that do not learn."""
    models_: list[layers.Sequential] = []
    for way in ("requires_grad_", "requires_grad_ and eval", "frozen"):
        model = make().to(backend.device_name)
        norm = next(layer for layer in model if isinstance(layer, layers.BatchNorm1d | layers.BatchNorm2d))
        if way == "frozen":
            norm.frozen = True
            for parameter in norm.parameters():
                parameter.requires_grad = False
        else:
            norm.requires_grad_(False)
        if way == "requires_grad_ and eval":
            norm.eval()
        before = norm.state_dict()
        trainer_of(model).fit(1)
        assert changed(norm, before) == set()
        models_.append(model)
    for other in models_[1:]:
        for path, array in models_[0].state_dict().items():
            np.testing.assert_array_equal(other.state_dict()[path], array)


def test_it_holds_until_it_is_ended() -> None:
    model = Net().requires_grad_(False)
    assert model.is_frozen
    model.head.requires_grad_(True)
    assert (model.is_frozen, model.training, model.head.training, model.features.is_frozen) == (False, True, True, True)
    assert [layer.training for layer in model.features] == [False] * 6
    with evaluating(model):
        assert not model.head.training
    ForwardState(model).restore()
    evaluate(model, data.DataLoader(small_set(), 4))
    model.train().eval().train()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (other.features[3].training, other.head[1].training) == (False, True)
    model.features.requires_grad_(True)
    assert [layer.training for layer in model.features] == [True] * 6, "the modes were as they had been all along"
    model.eval()
    model.features.requires_grad_(False).requires_grad_(True)
    assert not model.features[3].training


def test_parameters_that_are_frozen_one_by_one_freeze_the_layers_that_have_no_others() -> None:
    model = Net()
    for parameter in model.features.parameters():
        parameter.requires_grad = False
    before = model.state_dict()
    trainer_of(model).fit(1)
    assert changed(model, before) == {path for path in before if path.startswith("head")}
    assert model.features[3].calls > 0, "nobody has frozen the dropout"  # type: ignore[attr-defined]
    model.features[1].bias.requires_grad = True  # type: ignore[attr-defined]
    before = model.state_dict()
    trainer_of(model).fit(1)
    assert {"features.1.running_mean", "features.1.running_var", "features.1.bias"} < changed(model, before)
    assert (model.state_dict()["features.1.weight"] == before["features.1.weight"]).all()
    assert not layers.BatchNorm1d(3, affine=False).is_frozen, "which has nothing to learn"
    assert not layers.Sequential(layers.ReLU(), layers.Dropout(0.5)).is_frozen


def test_resumed_it_is_the_run_that_never_stopped() -> None:
    def new() -> Trainer:
        model = Net()
        model.features.requires_grad_(False)
        return trainer_of(model, average=optim.WeightAverage(model, 0.9))

    whole, half, rest = new(), new(), new()
    whole.fit(2)
    half.fit(1)
    rest.restore(*half.state())
    rest.fit(1)
    arrays, values = whole.state()
    assert values == rest.state()[1]
    for name, array in rest.state()[0].items():
        np.testing.assert_array_equal(array, arrays[name])


def test_part_of_a_model_in_evaluation_mode_is_told_before_the_first_step() -> None:
    class EachEpoch(Callback):
        def on_epoch_begin(self, trainer: Trainer) -> None:
            trainer.model.features[1].eval()

    model = Net()
    model.features.eval()
    message = (
        r"^features \(Sequential\) is in evaluation mode, and training would switch it back; to keep it so, freeze it with "
        r"requires_grad_\(False\), or a batch norm's statistics alone with frozen=True; else call model.train\(\) first$"
    )
    with pytest.raises(ArgumentError, match=message):
        trainer_of(model).fit(1)
    trainer_of(model.eval()).fit(1)
    with pytest.raises(ArgumentError, match=r"^features.1 \(BatchNorm2d\) is in evaluation mode"):
        trainer_of(model, EachEpoch()).fit(1)


def test_models_that_are_frozen_but_for_their_head(backend: Backend) -> None:
    model = models.create("resnet20", num_classes=3, in_channels=1, image_size=8).to(backend.device_name)
    model.requires_grad_(False)
    head = [layer for _, layer in model.named_layers() if isinstance(layer, layers.Linear)][-1].requires_grad_(True)
    before = model.state_dict()
    images = backend.array(np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32))
    loss = F.cross_entropy(model.train()(images), [0, 1])
    loss.backward()
    optim.SGD(model.parameters(), 0.1).step()
    assert changed(model, before) == {f"{head.path}.weight", f"{head.path}.bias"}
