"""Weights from elsewhere: under whose names they may be, what starts new, what is refused, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpucnn import models
from gpucnn.errors import ArgumentError, StateError
from gpucnn.models.timm_names import names_of
from gpucnn.models.weights import IMAGENET, _by_our_names
from tests.models.test_models import LONGER

State = dict[str, np.ndarray]


def write(path: Path, state: State, **metadata: str) -> Path:
    save_file(state, path, metadata or None)
    return path


def drawn(name: str = "resnet20", num_classes: int = 10, seed: int = 5, **options: Any) -> State:
    """The state of a model like ours, but for every number."""
    model = models.create(name, num_classes, seed=seed, **options)
    draw = np.random.default_rng(seed)
    return {path: draw.uniform(0.5, 1.5, array.shape).astype(np.float32) for path, array in model.state_dict().items()}


def same(model: models.ImageModel, state: State, but: str = "nothing") -> None:
    for path, array in model.state_dict().items():
        if not path.startswith(but):
            np.testing.assert_array_equal(array, state[path], err_msg=path)


def layouts() -> dict[str, dict[str, tuple[int, ...]]]:
    """By our name of a model, the names and shapes of timm's, in its order."""
    source, *lines = (Path(__file__).parent / "timm_layout.txt").read_text().splitlines()
    assert source.startswith("# State of timm 1.0.31's models")
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for line in lines:
        if line.startswith("# "):
            state = found.setdefault(line[2:].partition(":")[0], {})
        else:
            name, shape = line.split()
            state[name] = tuple(map(int, shape.split("x")))
    return found


@pytest.mark.parametrize("name", layouts())
def test_timm_s_names_stand_in_the_order_of_ours(name: str) -> None:
    """Both tell of their layers from the first to the last."""
    model = models.create(name, 1000)
    own = {path: member.shape for path, member in model._named_state()}
    theirs = {path: np.broadcast_to(np.float32(0), shape) for path, shape in layouts()[name].items()}
    found = _by_our_names(theirs, model, own)
    assert [(path, array.shape) for path, array in found.items()] == list(own.items())
    assert len(names_of(models.create("resnet20"))) == 0


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod.module."]
)
def test_prefixes_are_taken_off(prefix: str, tmp_path: Path) -> None:
    state = drawn()
    named = {f"{prefix}{path}": array for path, array in state.items()}
    counters = {
        f"{prefix}{path.replace('running_mean', 'num_batches_tracked')}": np.array(7)
        for path in state
        if "mean" in path
    }
    path = write(tmp_path / "r20.safetensors", {**named, **counters})
    model = models.create("resnet20", seed=1)
    taken = models.load_weights(model, path)
    same(model, state)
    assert (taken.taken, taken.total, taken.new, taken.left) == (97, 97, "", [])
    assert str(taken) == "weights: r20.safetensors: 97 of 97 arrays taken; normalisation: not known"


def test_what_a_trainer_has_beside_its_model_is_told(tmp_path: Path) -> None:
    """As Lightning does, whose losses have weights of their own."""
    state = {f"model.{path}": array for path, array in drawn().items()} | {"criterion.weight": np.ones(3, np.float32)}
    taken = models.load_weights(models.create("resnet20"), write(tmp_path / "l.safetensors", state))
    assert str(taken) == (
        "weights: l.safetensors: 97 of 97 arrays taken; 1 of the file's have no place (criterion.weight); normalisation: not known"
    )


def test_a_head_of_other_classes_starts_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = drawn("resnet20", 1000)
    path = write(tmp_path / "r20.safetensors", state)
    model = models.create("resnet20", num_classes=4, seed=3, weights=path)
    line = "weights: r20.safetensors: 95 of 97 arrays taken; fc starts new (1000 -> 4); normalisation: not known\n"
    assert capsys.readouterr().out == line
    same(model, state, but="fc")
    fresh = models.create("resnet20", num_classes=4, seed=3)
    np.testing.assert_array_equal(model.fc.weight.data, fresh.fc.weight.data)
    for left in ("fc.weight", "fc.bias"):
        del state[left]
    taken = models.load_weights(fresh, write(path, state))
    assert (taken.taken, taken.new) == (95, "fc starts new (the file has none)")
    same(fresh, state, but="fc")


def test_floats_of_16_bits_become_the_model_s(tmp_path: Path) -> None:
    state = {path: array.astype(np.float16) for path, array in drawn().items()}
    model = models.create("resnet20", weights=write(tmp_path / "half.safetensors", state))
    same(model, {path: array.astype(np.float32) for path, array in state.items()})
    assert model.conv1.weight.dtype == np.float32


def test_images_are_normalised_as_for_published_weights(tmp_path: Path) -> None:
    path = write(tmp_path / "s.safetensors", drawn("squeezenet", 7))
    taken = models.load_weights(models.create("squeezenet", 3), path)
    assert taken.normalization == IMAGENET == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert str(taken) == (
        "weights: s.safetensors: 50 of 52 arrays taken; classifier.1 starts new (7 -> 3); normalisation: ImageNet's mean and std"
    )


@pytest.mark.parametrize(
    ("config", "normalization", "words"),
    [
        ({"preprocess": {"mean": [0.5], "std": [0.25]}}, ((0.5,), (0.25,)), "that of their run"),
        ({"preprocess": {"mean": None, "std": None}}, None, "none, as in their run"),
        (
            {"preprocess": {"mean": "a", "std": [0]}},
            None,
            "not known, as no config.json of their run is beside the weights",
        ),
        (None, None, "not known, as no config.json of their run is beside the weights"),
    ],
)
def test_images_are_normalised_as_in_the_run_of_the_weights(
    config: dict[str, Any] | None, normalization: Any, words: str, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    path = write(tmp_path / "best.safetensors", drawn(in_channels=1), gpucnn=json.dumps({"name": "resnet20"}))
    taken = models.load_weights(models.create("resnet20", in_channels=1), path)
    assert (taken.normalization, taken.normalized_by) == (normalization, words)


def refused(model: models.ImageModel, path: Path) -> str:
    before = model.state_dict()
    with pytest.raises(StateError) as raised:
        models.load_weights(model, path)
    same(model, before)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_weights_of_another_model_are_refused_with_names_of_both_sides(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", drawn())
    assert refused(models.create("resnet32"), path) == (
        "weights of another model: 97 of ResNet32's 157 arrays are there; ResNet32 also has layer1.3.conv1.weight, "
        "layer1.3.bn1.weight, layer1.3.bn1.bias and 57 more; give the model, and the image size, that the weights are of; "
        "without --model, gpucnn train takes theirs"
    )
    assert "97 of ResNet20's 97 arrays are there; the file also has layer" in refused(
        models.create("resnet20"), write(path, drawn("resnet32"))
    )
    message = refused(
        models.create("vgg_mini"), write(path, drawn("wide_resnet16_4"), gpucnn='{"name": "a", "image_size": 9}')
    )
    assert message.startswith(
        "weights of another model (a of 9 pixels): 0 of VGGMini's 27 arrays are there; VGGMini also has features.0.weight"
    )
    assert "; the file also has " in message


def test_a_model_built_for_other_images_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", drawn("vgg_mini"))
    assert refused(models.create("vgg_mini", 4, 1), path) == (
        "its features.0.weight is for images of 3 channels, and VGGMini was built for 1; take images of 3 channels, of a folder "
        "with mode rgb, or leave the weights out"
    )
    assert refused(models.create("vgg_mini", 4, image_size=64), path) == (
        "weights of another model: 24 of VGGMini's 27 arrays are there; classifier.1.weight has shape (128, 4096), expected "
        "(128, 16384); give the model, and the image size, that the weights are of; without --model, gpucnn train takes theirs"
    )


def test_a_head_that_is_there_in_part_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    state = drawn()
    del state["fc.bias"]
    assert "96 of ResNet20's 97 arrays are there; ResNet20 also has fc.bias" in refused(
        models.create("resnet20"), write(tmp_path / "w.safetensors", state)
    )
    state |= {"fc.weight": np.ones((7, 65), np.float32), "fc.bias": np.ones(7, np.float32)}
    assert "fc.weight has shape (7, 65), expected (10, 64); fc.bias has shape (7,)" in refused(
        models.create("resnet20"), write(tmp_path / "w.safetensors", state)
    )


def test_spoilt_weights_are_refused(tmp_path: Path) -> None:
    state = drawn()
    state["conv1.weight"][0] = np.nan
    assert "spoilt: conv1.weight has 27 NaN" in refused(
        models.create("resnet20"), write(tmp_path / "w.safetensors", state)
    )


def test_layers_of_one_s_own_have_load_state_dict() -> None:
    with pytest.raises(
        ArgumentError, match="load_weights: expected a model of gpucnn.models, got TwoStageCNN; .* strict=False"
    ):
        models.load_weights(models.TwoStageCNN(), "w.pth")  # type: ignore[arg-type]


STAGES = {
    "lenet5": ["conv1", "conv2", "fc1", "fc2"],
    "vgg_mini": ["features.0", "features.3", "features.7", "features.10", "classifier.1"],
    "resnet18": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "densenet40_12": ["conv", "block1", "transition1", "block2", "transition2", "block3"],
    "mobilenet_v2": [f"features.{place}" for place in range(19)],
    "convnext_tiny": [f"features.{place}" for place in range(8)],
    "squeezenet": [f"features.{place}" for place in (0, 3, 4, 6, 7, 9, 10, 11, 12)],
}


@pytest.mark.sample(5)
@pytest.mark.parametrize("name", [name for name in models.classifier_names() if name not in LONGER])
def test_stages_and_head_are_the_whole_model(name: str) -> None:
    model = models.create(name)
    stages = model.stages()
    assert [stage.path for stage in stages] == STAGES.get(name, [stage.path for stage in stages])
    head = [parameter.path for parameter in model.parameters() if parameter.path.startswith(f"{model.head_path()}.")]
    paths = [parameter.path for stage in stages for layer in stage.layers for parameter in layer.parameters()]
    assert [*paths, *head] == [parameter.path for parameter in model.parameters()]
    other = dict(models.create(name, 7).named_parameters())
    assert [path for path, one in model.named_parameters() if one.shape != other[path].shape] == head


def test_a_norm_belongs_to_what_it_follows_and_a_dropout_to_what_it_feeds() -> None:
    stages = models.create("vgg11_bn").stages()
    assert [type(layer).__name__ for layer in stages[0].layers] == ["Conv2d", "BatchNorm2d"]
    assert [type(layer).__name__ for layer in stages[1].layers] == ["ReLU", "MaxPool2d", "Conv2d", "BatchNorm2d"]
    assert [type(layer).__name__ for layer in stages[-1].layers] == ["ReLU", "Dropout", "Linear"]
    assert [layer.path for layer in models.create("densenet40_12").stages()[-1].layers] == ["block3", "norm"]
