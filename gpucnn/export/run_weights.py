"""A run's weights as a safetensors file for others: under gpucnn's names, or as torchvision's model of the same name takes them."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn import models
from gpucnn.atomic_file import check_place, telling_of
from gpucnn.backend import to_host
from gpucnn.checks import as_flag, as_path
from gpucnn.errors import ArgumentError, GraphError, RunError
from gpucnn.export.run_facts import check_run, run_facts
from gpucnn.files.tensor_file import read_text, write_tensors
from gpucnn.layers import BatchNorm1d, BatchNorm2d
from gpucnn.layers.saved_arrays import refuse_not_finite
from gpucnn.runs.network import COPY
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import names_text, printed, shape_text

TORCHVISION = {
    "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "vgg11": "vgg11", "vgg11_bn": "vgg11_bn",
    "vgg13": "vgg13", "vgg13_bn": "vgg13_bn", "vgg16": "vgg16", "vgg16_bn": "vgg16_bn", "mobilenet_v2": "mobilenet_v2",
    "squeezenet": "squeezenet1_1", "convnext_tiny": "convnext_tiny",
}  # fmt: skip
"""Models that torchvision has, too, array by array, and what it calls them."""

KEY = "gpucnn"
"""Of the metadata, a JSON object: the arguments of `models.create`, the run's `preprocess`, `class_names` and other facts."""


class WrittenWeights(NamedTuple):
    """What `write_weights` wrote."""

    file: Path
    size: int
    """In bytes."""
    arrays: int
    loading: str
    """The Python that takes them."""

    def lines(self) -> list[str]:
        """For people to read."""
        return [f"{self.file}: {self.arrays} arrays, {self.size / 1e6:.2f} MB; to load them:", f"    {self.loading}"]


def write_weights(trained: TrainedRun, out: str | os.PathLike[str], *, for_torchvision: bool = False) -> WrittenWeights:
    """Write the weights of a run, from `gpucnn.load`, to a safetensors file `out`; one of these that is there is replaced.

    Under their paths in gpucnn's model, which `models.create(name, weights=out)` takes. Or `for_torchvision`, whose model of the
    same name takes them with `strict=True`, with the counters of batch norms, which gpucnn does not keep, at 0.

    Raises GraphError for a model that torchvision has not, or that was built for other images than its, StateError for weights
    that are not finite, ArgumentError for a file that is none of these, RunError if it cannot be written.
    """
    place = as_path(out, "write_weights: out")
    check_run("write_weights", trained)
    check_place(place)
    _check_ours(place)
    if place.suffix != ".safetensors":
        raise ArgumentError(f"write_weights: the file must end in .safetensors, got {printed(str(place))}")
    state = {path: np.ascontiguousarray(to_host(array)) for path, array in trained.model.state_dict().items()}
    refuse_not_finite("the model", state)
    create = trained.config["create"]
    name, classes = str(create["name"]), len(trained.class_names)
    if as_flag(for_torchvision, "write_weights: for_torchvision"):
        _check_torchvision(trained, name, state)
        state |= _counters(trained)
        own = f"model = torchvision.models.{TORCHVISION[name]}(num_classes={classes})"
        loading = f"{own}; model.load_state_dict(safetensors.torch.load_file({str(place)!r}), strict=True)"
    elif COPY in create:  # the network of an ONNX file, whose arrays keep the names that they have there
        network = str(trained.weights.file.with_name(create[COPY]))
        loading = f"model = gpucnn.load_onnx({network!r}); model.load_state_dict(gpucnn.models.read_weights({str(place)!r}).arrays)"
    else:
        sizes = f"num_classes={classes}, in_channels={create['in_channels']}, image_size={create['image_size']}"
        loading = f"model = gpucnn.models.create({name!r}, {sizes}, weights={str(place)!r})"
    facts = run_facts(trained)
    known = {key: json.loads(facts.pop(key)) for key in ("class_names", "preprocess")}
    with telling_of(place):
        write_tensors(place, state, KEY, json.dumps({**create, **known, "exported": facts}, sort_keys=True))
    return WrittenWeights(place, place.stat().st_size, len(state), loading)


def _check_ours(place: Path) -> None:
    """ArgumentError for a file that is there already, and is none that was exported, such as a run's own."""
    try:
        text = read_text(place, KEY, "model") if place.exists() else None
        is_ours = text is None or "exported" in json.loads(text)
    except (RunError, ValueError):
        is_ours = False
    if not is_ours:
        raise ArgumentError(f"{place}: holds something else than exported weights; choose another name")


def _check_torchvision(trained: TrainedRun, name: str, state: dict[str, np.ndarray]) -> None:
    """GraphError unless torchvision's model has the same arrays; ours has them when it is made with its own arguments."""
    if name not in TORCHVISION:
        raise GraphError(
            f"{name}: torchvision has no such model, and its names are those of its models alone: {names_text(list(TORCHVISION), 99)}; "
            f"take --format safetensors, with gpucnn's names"
        )
    theirs = models.create(name, len(trained.class_names))
    for path, member in [*theirs.named_parameters(), *theirs.named_buffers()]:
        if state[path].shape != member.shape:
            raise GraphError(
                f"{name}: its {path} is {shape_text(state[path].shape)}, and that of torchvision's {TORCHVISION[name]} "
                f"{shape_text(member.shape)}, for images of {theirs.in_channels} channels; train on such images, or take "
                f"--format safetensors"
            )


def _counters(trained: TrainedRun) -> dict[str, np.ndarray]:
    """The batches that PyTorch's batch norms count, which they do not use with a momentum: 0."""
    norms = (path for path, layer in trained.model.named_layers() if isinstance(layer, BatchNorm1d | BatchNorm2d))
    return {f"{path}.num_batches_tracked": np.zeros((), np.int64) for path in norms}
