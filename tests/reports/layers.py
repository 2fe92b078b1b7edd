"""Reports on layers of one's own, on what is frozen, and on what is fed to layers and loaded into them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, optim
from gpucnn.backend import to_host
from gpucnn.errors import ArgumentError, DataError, DTypeError, RunError, StateError
from gpucnn.files.checkpoint_file import CheckpointFolder
from gpucnn.training import Trainer, load_checkpoint, save_checkpoint
from tests.layers.own_layers import Noise, RunningScale
from tests.layers.test_freezing import Net, changed, trainer_of
from tests.layers.test_unregistered import Holder, linear
from tests.reports.report import Report
from tests.training.small_run import assert_same, small_set, small_trainer
from tests.training.test_last_batch import ends_in_a_vector
from tests.training.test_own_counters import (
    as_format_1,
    own_trainer,
    test_a_run_that_failed_is_replayed_with_the_masks_of_that_step,
    test_a_step_that_is_made_again_is_the_same,
)

IMAGES = np.full((2, 1, 4, 4), 200, np.uint8)
PREPROCESS = data.Preprocess(1, 4, 4, 255, "pad")


def _gradients(wrap: Callable[[layers.Layer], layers.Layer], own: layers.Layer) -> list[np.ndarray]:
    inner = layers.Sequential(own, layers.Linear(4, 4))
    model = layers.Sequential(layers.Linear(4, 4), wrap(inner))
    own.path = "own"  # masks are drawn by path
    for parameter in model.parameters():
        parameter.assign(np.linspace(-1, 1, parameter.size).reshape(parameter.shape))
    model(Tensor(np.ones((3, 4), np.float32))).sum().backward()
    return [to_host(one.grad) for one in model.parameters()] + [to_host(one.data) for _, one in model.named_buffers()]


def _recomputed(own: Callable[[], layers.Layer], folder: Path) -> None:
    for found, expected in zip(
        _gradients(layers.Checkpoint, own()), _gradients(lambda inner: inner, own()), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def _resumed(folder: Path) -> None:
    whole, half, rest = (own_trainer(Noise) for _ in range(3))
    whole.fit(2)
    half.fit(1)
    save_checkpoint(folder / "half.safetensors", *half.state(), {})
    checkpoint = load_checkpoint(folder / "half.safetensors")
    rest.restore(checkpoint.arrays, checkpoint.values)
    rest.fit(1)
    assert_same(rest.state(), whole.state())


class _Drawing(layers.Layer):
    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def forward(self, x: Any) -> Tensor:
        return x * self.generator.uniform()


def _own_generator(folder: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"\(_Drawing\): a forward pass changes self.generator, .* declare it in forward_state"
    ):
        own_trainer(_Drawing).fit(1)


def _shape_asked_for(folder: Path) -> None:
    model = layers.Sequential(RunningScale())
    model.output_shape((2, 3))
    np.testing.assert_array_equal(model.state_dict()["0.running"], [0])


def _old_checkpoint(folder: Path) -> None:
    trainer = small_trainer()
    trainer.fit(1)
    file = folder / "old.safetensors"
    save_checkpoint(file, *trainer.state(), {})
    as_format_1(file, ["4"])
    checkpoint = load_checkpoint(file)
    resumed = small_trainer()
    resumed.restore(checkpoint.arrays, checkpoint.values)
    assert_same(resumed.state(), trainer.state())


def _preprocessed(images: np.ndarray, fix: str, folder: Path) -> None:
    with pytest.raises(DataError, match=rf"of bytes \(uint8\) from 0 to 255, got {images.dtype} from .*{fix}"):
        data.ArrayDataset(images, np.array([0, 1]), PREPROCESS)[:]


def _bytes_as_tensor(folder: Path) -> None:
    with pytest.raises(DTypeError, match=r"0 \(Conv2d\): .*uint8.* raw images, divide them, e.g. \(images / 255\)"):
        layers.Sequential(layers.Conv2d(1, 1, 3))(Tensor(IMAGES))


def _bytes_as_array(folder: Path) -> None:
    model = layers.Sequential(layers.Conv2d(1, 1, 3))
    with pytest.warns(UserWarning, match=r"got bytes \(uint8\) from 200 to 200.* divide them, e.g. \(images / 255\)"):
        model(IMAGES)
    model(IMAGES)


def _listed(fill: Callable[[layers.Layer], Any], use: Callable[[layers.Layer], Any], folder: Path) -> None:
    model = Holder([])
    fill(model)
    with pytest.raises(ArgumentError, match=r"Holder: self\.(blocks|others)\[.*would not be trained, saved or moved; "):
        use(model)


def _others_by_name(model: layers.Layer) -> None:
    model.others = {}
    model.others["first"] = linear()


def _frozen(freeze: Callable[[layers.Layer], Any], folder: Path) -> None:
    model = Net()
    freeze(model.features)
    before = model.state_dict()
    trainer_of(model).fit(2)
    assert changed(model, before) == {path for path in before if path.startswith("head")}


def _one_by_one(part: layers.Layer) -> None:
    for parameter in part.parameters():
        parameter.requires_grad = False
    for _, layer in part.named_layers():
        if isinstance(layer, layers.Dropout):  # has no parameter that could say so
            layer.requires_grad_(False)


def _evaluated_before(folder: Path) -> None:
    model = Net()
    before = model.state_dict()
    trainer_of(model.eval()).fit(1)
    assert "features.1.running_mean" in changed(model, before)
    model.features.eval()
    with pytest.raises(
        ArgumentError, match=r"features \(Sequential\) is in evaluation mode, .* requires_grad_\(False\)"
    ):
        trainer_of(model).fit(1)


def _last_batch(folder: Path) -> None:
    def trainer(size: int, drop_last: bool = False) -> Trainer:
        model = ends_in_a_vector()
        loader = data.DataLoader(small_set(13), size, drop_last=drop_last)
        return Trainer(model, optim.SGD(model.parameters(), 0.1), loader, None)

    alone = trainer(4)
    with pytest.raises(ArgumentError, match="13 images in batches of 4 leave one .* use batch_size 5, or drop_last"):
        alone.fit(1)
    assert alone.step == 0
    trainer(5).fit(1)
    trainer(4, drop_last=True).fit(1)


def _no_batch(folder: Path) -> None:
    with pytest.raises(
        ArgumentError, match="5 images give no batch of 8 with drop_last; add images or lower batch_size"
    ):
        data.DataLoader(small_set(5), 8, drop_last=True)


def _spoilt_weights(folder: Path) -> None:
    model = layers.Sequential(layers.Linear(2, 2))
    state = {**model.state_dict(), "0.bias": np.array([np.nan, np.inf], np.float32)}
    with pytest.raises(
        StateError, match=r"0.bias has 1 NaN and 1 infinite of 2 values in float32; load a file that was saved b"
    ):
        model.load_state_dict(state)


def _spoilt_checkpoint(folder: Path) -> None:
    checkpoints = CheckpointFolder(folder)
    checkpoints.save(1, {"model/weight": np.ones(2, np.float32)}, {}, {})
    checkpoints.save(2, {"model/weight": np.full(2, np.nan, np.float32)}, {}, {})
    assert checkpoints.load().path.name == "step-000000001.safetensors"
    (folder / "step-000000001.safetensors").unlink()
    with pytest.raises(RunError, match="spoilt .model/weight has 2 NaN of 2 values"):
        checkpoints.load()


REPORTS = [
    Report("a layer counts its own draws, inside of a checkpointed block", "the second pass draws the same masks, and gradients "
           "are those of the block", "openai/guided-diffusion#167", functools.partial(_recomputed, Noise)),
    Report("running statistics of one's own inside of a checkpointed block", "they move once a step, also where forward writes "
           "into them", "pytorch/pytorch#96136", functools.partial(_recomputed, functools.partial(RunningScale, False))),
    Report("a run with a layer that counts its own draws is resumed", "it goes on to the bits of one that never stopped",
           "unit8co/darts#2463", _resumed),
    Report("memory runs out behind a layer that counts its own draws", "the step is made again with the same masks", "",
           lambda folder: test_a_step_that_is_made_again_is_the_same(Noise)),
    Report("a step with a layer that counts its own draws has failed, and is replayed", "with the masks that it had", "",
           test_a_run_that_failed_is_replayed_with_the_masks_of_that_step),
    Report("a layer draws from a generator of its own", "it is told, once and with the fix, that no checkpoint holds its state",
           "huggingface/transformers#11504", _own_generator),
    Report("the shape of a layer with running statistics is asked for", "the statistics stay as they are", "", _shape_asked_for),
    Report("a checkpoint of an earlier gpucnn, which knew dropouts alone", "it is read, and goes on", "", _old_checkpoint),
    Report("images from 0 to 1 are given to a Preprocess", "refused, and not divided by 255 once more",
           "facebookresearch/InterHand2.6M#110", functools.partial(_preprocessed, IMAGES / 255, "leave it out: data.ArrayDataset")),
    Report("images of 16 bits are given to a Preprocess", "refused, with the way to floats from 0 to 1", "python-pillow/Pillow#3159",
           functools.partial(_preprocessed, IMAGES.astype(np.uint16) * 257, r"\(images / 65535\).astype\('float32'\)")),
    Report("floats from 0 to 255 are given to a Preprocess", "refused, with the way to bytes", "pytorch/vision#546",
           functools.partial(_preprocessed, IMAGES.astype(np.float32), r"convert with images.astype\('uint8'\)")),
    Report("a tensor of bytes meets a convolution", "the error names the layer and the division by 255", "pytorch/pytorch#64145",
           _bytes_as_tensor),
    Report("an array of bytes is given to a model", "said once, with the division by 255", "pytorch/vision#3228", _bytes_as_array),
    Report("layers are appended to a list", "told when the optimizer is made, and nothing trains without them",
           "pytorch/pytorch#666",
           functools.partial(_listed, lambda model: model.blocks.append(linear()), lambda model: optim.SGD(model.parameters(), 0.1))),
    Report("lists of layers are appended to a list", "told at the first call", "pytorch/pytorch#715",
           functools.partial(_listed, lambda model: model.blocks.append([linear(), layers.ReLU()]), lambda model: model(np.ones((1, 2))))),
    Report("layers in a list are to be moved to a GPU", "told", "pytorch/pytorch#1053",
           functools.partial(_listed, lambda model: model.blocks.append(linear()), lambda model: model.to("cpu"))),
    Report("layers are put into a dict", "told when the model is saved", "",
           functools.partial(_listed, _others_by_name, lambda model: model.state_dict())),
    Report("part of a model is frozen and trained around", "its batch norms and dropouts stay as in evaluation",
           "Lightning-AI/pytorch-lightning#18930", functools.partial(_frozen, lambda part: part.requires_grad_(False))),
    Report("part of a model is frozen, and put into evaluation mode", "no train() of an epoch undoes it", "pgniewko/gt-pyg#112",
           functools.partial(_frozen, lambda part: part.requires_grad_(False).eval())),
    Report("the parameters of a part are frozen in a loop", "its batch norms are frozen, too", "pytorch/pytorch#86590",
           functools.partial(_frozen, _one_by_one)),
    Report("a model, or part of it, is in evaluation mode before fit", "the model trains; the part is told, with the way to freeze",
           "Lightning-AI/pytorch-lightning#20986", _evaluated_before),
    Report("the last batch has one image, and the net ends in a batch norm of a vector", "told before the first step, with a batch "
           "size that fits", "fastai/fastai#1352", _last_batch),
    Report("drop_last, and fewer images than a batch", "told when the loader is made", "RasmussenLab/vamb#425", _no_batch),
    Report("weights with NaN are loaded", "refused, with the parameter, how many, and the fix", "ultralytics/ultralytics#24307",
           _spoilt_weights),
    Report("the last checkpoint has NaN", "the one before is taken", "Rikorose/DeepFilterNet#30", _spoilt_checkpoint),
]  # fmt: skip
