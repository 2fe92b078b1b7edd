"""The lines that CuPy arrays take, run on a CPU: a strict stand-in for CuPy refuses host arrays among device arrays.

It proves that no NumPy call and no host array slips into the device path, and that results agree; it proves nothing
about CuPy itself or about a GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpucnn.training import RunFolder

ROOT = Path(__file__).parents[2]

TRAINING_STEPS = """
import numpy as np
from gpucnn import Tensor, layers, optim, functions as F
from gpucnn.training import Metrics

def build():
    return layers.Sequential(
        layers.Conv2d(2, 4, 3, padding=1), layers.ReLU(), layers.MaxPool2d(3, 2, 1),
        layers.Conv2d(4, 6, 3, groups=2, stride=2, padding=1, dilation=1), layers.ReLU(), layers.AvgPool2d(2, 1),
        layers.Flatten(), layers.Dropout(0.3), layers.Linear(24, 5), seed=3,
    )

def losses(device, make):
    model = build().to(device)
    optimizer = make(model.parameters())
    metrics, found = Metrics(), []
    for step in range(5):
        draw = np.random.default_rng(step)
        images, labels = draw.standard_normal((6, 2, 12, 12)).astype('float32'), draw.integers(0, 5, 6)
        logits = model(Tensor(images))
        assert str(logits.device) == ('cpu' if device == 'cpu' else 'cuda:1'), logits.device
        loss = F.cross_entropy(logits, labels, weight=[1, 2, 1, 1, 0.5], label_smoothing=0.1)
        penalty = (model[0].weight * model[0].weight).mean() + F.log_softmax(logits).mean() - F.softmax(logits).sum() / 60
        total = loss + penalty * 0.1
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        metrics.update(loss, logits, labels)
        found.append(total.item())
    state = {**model.state_dict(), **optimizer.state_dict()}
    assert all(type(array) is np.ndarray for array in state.values())
    again = build().to(device)
    again.load_state_dict(model.state_dict())
    other = make(again.parameters())
    other.load_state_dict(optimizer.state_dict())
    return found, state, metrics.scores()

for make in (lambda p: optim.SGD(p, 0.05, 0.9, 0.01, nesterov=True), lambda p: optim.Adam(p, 0.01)):
    host, device = losses('cpu', make), losses('cuda:1', make)
    assert len(set(host[0])) == 5
    np.testing.assert_array_equal(host[0], device[0])
    for name, array in host[1].items():
        np.testing.assert_array_equal(array, device[1][name])
    assert host[2] == device[2]
"""

REFUSALS = """
import numpy as np
from gpucnn import Tensor, layers, functions as F
from gpucnn.backend import choose_device, xp_of
from gpucnn.errors import DeviceError

assert str(choose_device('auto')) == 'device: cuda:0 (a GPU that works was found)'
device = Tensor(np.ones((1, 1, 4, 4), 'float32'), requires_grad=True).to('cuda')
host = Tensor(np.ones((2, 1, 3, 3), 'float32'), requires_grad=True)
for call, text in [
    (lambda: F.conv2d(device * 1.0, host), 'tensors on cpu and cuda:0 met in one operation; move the model and'),
    (lambda: xp_of(device.data, host.data), 'arrays of cupy and numpy met in one operation; bring them together'),
    (lambda: choose_device('cuda:2'), 'device "cuda:2" is not there: 2 GPU(s) present; fix: use "cuda:1" or lower'),
]:
    try:
        call()
    except DeviceError as error:
        assert text in str(error), error
    else:
        raise AssertionError(text)
assert 'device=cuda:0' in repr(device)
leaf = Tensor(np.ones(3, 'float32'), requires_grad=True)
moved = leaf.to('cuda')
(moved * 2.0).to('cpu').sum().backward()
assert leaf.grad.tolist() == [2, 2, 2], 'gradients find their way over a transfer'
assert layers.Linear(10**7, 10**7).to('cuda').weight.device.index == 0
assert type(device.numpy()) is np.ndarray
assert device.to('cpu').device.kind == 'cpu'
assert layers.Linear(2, 2).to('cuda').weight.device.kind == 'cuda'
"""


def run(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(ROOT / "tests" / "stand_in"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("code", [TRAINING_STEPS, REFUSALS], ids=["training steps", "refusals"])
def test_in_python(code: str, tmp_path: Path) -> None:
    result = run(tmp_path, "-c", code)
    assert (result.returncode, result.stderr) == (0, "")


def test_by_command(tmp_path: Path) -> None:
    for device in ("cuda", "cpu"):
        train = run(tmp_path, "-m", "gpucnn", "train", "--epochs", "1", "--out", device, "--device", device)
        assert (train.returncode, train.stderr) == (0, "")
    assert "device: cpu (asked for)" in train.stdout
    states = [RunFolder(tmp_path / device).load_model().state_dict() for device in ("cuda", "cpu")]
    for path, array in states[0].items():
        np.testing.assert_allclose(array, states[1][path], rtol=1e-3, atol=1e-4)  # tiles differ, and so sums' order
    result = run(tmp_path, "-m", "gpucnn", "evaluate", "cuda")
    assert result.stdout.startswith("device: cuda:0 (a GPU that works was found)\n")
    assert result.returncode == 0
