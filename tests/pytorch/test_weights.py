"""Files that PyTorch writes here and now, of torchvision's models and of timm's: read without it, and the logits are theirs."""

import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import models, no_grad
from gpucnn.files.weights_file import read_weights
from tests.files import torch_examples
from tests.models.test_torchvision_layout import IN_TORCHVISION, TORCHVISION_NAMES

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

TOLERANCE = 1e-5
"""Of the largest logit."""
TIMM_NAMES = {
    "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "vgg11_bn": "vgg11_bn",
    "convnext_tiny": "convnext_tiny", "mobilenet_v2": "mobilenetv2_100",
}  # fmt: skip
SIZES = {"vgg11_bn": 224}
"""timm's VGG makes of other sizes than 224 something else. What is not here is compared at 64."""

_operators: list[Any] = []


def library(name: str) -> Any:
    """torchvision or timm, if it is installed.

    torchvision's wheel from PyPI does not load its operators beside a PyTorch for CPUs alone, and then declares what is not
    there: operators of these names, which nothing here calls, let it be imported.
    """
    vision = importlib.util.find_spec("torchvision")
    if vision is None or vision.origin is None or importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is only in the nox session oracle")
    folder = Path(vision.origin).parent
    try:
        torch.ops.load_library(str(next(folder.glob("_C*.so"))))
    except OSError:
        if not _operators:
            _operators.append(torch.library.Library("torchvision", "FRAGMENT"))
            declared = (folder / "_meta_registrations.py").read_text()
            for operator in sorted(set(re.findall(r'register_fake\("torchvision::(\w+)"\)', declared))):
                _operators[0].define(f"{operator}() -> ()")
    return importlib.import_module(name)


def state_with_draws(module: Any, seed: int) -> Any:
    """The module in evaluation mode, its statistics and scales no longer zeros and ones."""
    torch.manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return module.eval()


def check_logits(name: str, module: Any, path: Path, size: int) -> None:
    model = models.create(name, 7, image_size=size, weights=path).eval()
    images = np.random.default_rng(1).standard_normal((2, 3, size, size)).astype(np.float32)
    with torch.no_grad(), no_grad():
        expected, logits = module(torch.tensor(images)).numpy(), model(images).numpy()
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("entry", ["", "state_dict", "model"])
def test_what_pytorch_writes_now_is_read(entry: str, tmp_path: Path) -> None:
    torch_examples.write(tmp_path, lambda state: {entry: state, "epoch": 3, "loss": torch.ones(())} if entry else state)
    for name in torch_examples.FILES:
        found = read_weights(tmp_path / name)
        assert found.entry == entry
        assert found.arrays.keys() == torch_examples.EXPECTED.keys()
        for path, expected in torch_examples.EXPECTED.items():
            assert found.arrays[path].dtype == expected.dtype
            assert found.arrays[path].tobytes() == np.ascontiguousarray(expected).tobytes(), path


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_weights_of_torchvision_s_models(name: str, tmp_path: Path) -> None:
    """Those of VGG, which are large, in float16, every other in the form of old files."""
    vision = library("torchvision")
    module = state_with_draws(getattr(vision.models, TORCHVISION_NAMES.get(name, name))(num_classes=7), seed=2)
    half: Callable[[Any], Any] = lambda tensor: tensor.half() if tensor.is_floating_point() else tensor  # noqa: E731
    if name.startswith("vgg"):
        module = module.half().float()
    state = {path: half(one) if name.startswith("vgg") else one for path, one in module.state_dict().items()}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=IN_TORCHVISION.index(name) % 2 == 0)
    check_logits(name, module, tmp_path / "w.pth", 64)


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_weights_of_timm_s_models(name: str, tmp_path: Path) -> None:
    timm = library("timm")
    module = state_with_draws(timm.create_model(TIMM_NAMES[name], num_classes=7), seed=3)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    check_logits(name, module, tmp_path / "w.pth", SIZES.get(name, 64))
    headless = timm.create_model(TIMM_NAMES[name], num_classes=0)
    torch.save(
        {"state_dict": {f"module.{path}": one for path, one in headless.state_dict().items()}}, tmp_path / "w.pth"
    )
    taken = models.load_weights(models.create(name, 4, image_size=SIZES.get(name, 64)), tmp_path / "w.pth")
    assert re.fullmatch(r"(fc|classifier\.\d) starts new \(the file has none\)", taken.new)
    assert (taken.taken, taken.left) == (taken.total - 2, [])
