"""Parameters and buffers are called, and laid out, as in torchvision, so that its weights load by name."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn import models
from gpucnn.errors import StateError

TORCHVISION_NAMES = {"squeezenet": "squeezenet1_1"}
IN_TORCHVISION = (
    "resnet18", "resnet34", "resnet50", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "mobilenet_v2",
    "squeezenet", "convnext_tiny",
)  # fmt: skip


def layouts() -> dict[str, dict[str, str]]:
    """By torchvision's name of a model: its state's names and their shapes, as text."""
    source, *lines = (Path(__file__).parent / "torchvision_layout.txt").read_text().splitlines()
    assert source.startswith("# State of torchvision 0.29.1")
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        if line.startswith("# "):
            state = found.setdefault(line.split()[1], {})
        else:
            name, shape = line.split()
            state[name] = shape
    return found


LAYOUTS = layouts()


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_names_and_shapes(name: str) -> None:
    model = models.create(name, 1000)
    members = [*model.named_parameters(), *model.named_buffers()]
    ours = {path: "x".join(map(str, member.shape)) for path, member in members}
    assert ours == LAYOUTS[TORCHVISION_NAMES.get(name, name)]


def test_every_layout_is_compared() -> None:
    assert set(LAYOUTS) == {TORCHVISION_NAMES.get(name, name) for name in IN_TORCHVISION}


def test_state_from_torchvision_loads_with_its_counters(rng: np.random.Generator) -> None:
    """Its batch norms also count batches, in integers."""
    layout = LAYOUTS["resnet18"]
    state = {name: rng.standard_normal([int(size) for size in shape.split("x")]) for name, shape in layout.items()}
    counters = {name.replace("running_mean", "num_batches_tracked"): np.array(7) for name in state if "_mean" in name}
    model = models.create("resnet18", 1000)
    model.load_state_dict({**state, **counters})
    assert len(counters) == 20
    np.testing.assert_array_equal(
        model.layer4[1].bn2.running_var.data, state["layer4.1.bn2.running_var"].astype("float32")
    )
    for wrong in ("bn1.batches_tracked", "bn1.num_batches_tracked.extra", "bn1.my_num_batches_tracked"):
        with pytest.raises(StateError, match=f"{wrong} is unknown"):
            model.load_state_dict({**state, wrong: np.array(7)})
