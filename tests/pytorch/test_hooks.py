"""Hooks against PyTorch's: what each of them sees, in which order, and what becomes of what it returns."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from gpucnn import layers
from gpucnn.autograd import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
nn = torch.nn

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 6, 6))


def ours() -> layers.Sequential:
    conv, norm, head = layers.Conv2d(3, 4, 3), layers.BatchNorm2d(4), layers.Linear(64, 5)
    return layers.Sequential(conv, norm, layers.ReLU(), layers.Flatten(), head).astype("float64")


def theirs(state: dict[str, np.ndarray]) -> Any:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).double()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, strict=False)
    return model


def numbers(values: Any) -> list[np.ndarray | None]:
    return [
        None if one is None else (one.numpy() if isinstance(one, Tensor) else np.asarray(one)).copy() for one in values
    ]


def watched(model: Any, x: Any, detached: Any, scaled: bool) -> tuple[list[Any], Any]:
    """What hooks on every layer saw, in order, and the gradient of `x`."""
    seen: list[Any] = []
    for place, layer in enumerate(model):
        layer.register_forward_pre_hook(
            lambda _, inputs, place=place: seen.append((place, "before", numbers(map(detached, inputs))))
        )
        layer.register_forward_hook(
            lambda _, inputs, output, place=place: seen.append((place, "after", numbers([detached(output)])))
        )
        layer.register_full_backward_hook(
            lambda _, into, out, place=place: seen.append((place, "back", numbers((*into, *out))))
        )
    if scaled:
        model[1].register_full_backward_hook(lambda _, into, out: (into[0] * 3,))
        model[2].register_forward_pre_hook(lambda _, inputs: inputs[0] + 0.25)
    (model(x) ** 2).sum().backward()
    return seen, x.grad


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("needs", [False, True])
def test_hooks_see_what_pytorch_s_see(scaled: bool, needs: bool) -> None:
    model = ours()
    other = theirs(model.state_dict())
    seen, gradient = watched(model, Tensor(IMAGES, needs), lambda x: x.detach(), scaled)
    with pytest.warns(UserWarning, match="Full backward hook is firing") if not needs else nullcontext():
        expected, their_gradient = watched(
            other, torch.tensor(IMAGES, requires_grad=needs), lambda x: x.detach(), scaled
        )
    assert [entry[:2] for entry in seen] == [entry[:2] for entry in expected]
    for (*place, found), (*_, there) in zip(seen, expected, strict=True):
        assert [one is None for one in found] == [one is None for one in there], place
        for one, other_one in zip(found, there, strict=True):
            if one is not None:
                np.testing.assert_allclose(one, other_one, rtol=1e-9, atol=1e-12, err_msg=str(place))
    if needs:
        np.testing.assert_allclose(gradient, their_gradient.numpy(), rtol=1e-9, atol=1e-12)
