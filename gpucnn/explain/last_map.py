"""The last map of a model that is larger than 1x1: the one that still knows where things are."""

from collections.abc import Iterable, Iterator

from gpucnn.autograd import Operand, Tensor, no_grad
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_image, as_model
from gpucnn.explain.layer_calls import NotedCall, is_map, noting_layers
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating
from gpucnn.layers.one_output import one_output


def last_map(model: Layer, image: Operand) -> str:
    """The path of the layer where `grad_cam` looks by itself, for an image (C, H, W) or (1, C, H, W).

    Raises ArgumentError for a model without maps, and for what is no model or image.
    """
    model = as_model("last_map", model)
    x = as_image("last_map", model, image)
    with no_grad(), evaluating(model), noting_layers(layer for _, layer in model.named_layers()) as calls:
        logits = one_output("last_map", model(x))
    return last_map_of("last_map", model, calls, logits).layer.path


def last_map_of(owner: str, model: Layer, calls: Iterable[NotedCall], logits: Tensor) -> NotedCall:
    """The call that gave it, among `calls`, before `logits` came out. ArgumentError, which names `owner`, if there is none."""
    found = [*new_maps(calls, logits)]
    if not found:
        raise ArgumentError(
            f"{owner}: {type(model).__name__} has no feature maps larger than 1x1; input_gradient and occlusion explain any model"
        )
    return found[-1]


def new_maps(calls: Iterable[NotedCall], logits: Tensor) -> Iterator[NotedCall]:
    """The calls that give maps larger than 1x1, in their order: of layers that pass on the same maps, the innermost.

    The logits of a model that labels every pixel are a map, too, but the answer; and maps that were only enlarged know no more
    than before, as in a VGG for small images.
    """
    before: Tensor | None = None
    for call in calls:
        if not is_map(call.output) or call.output.array is logits.array or _only_enlarges(call):
            continue
        if call.output is not before:
            yield call
        before = call.output


def _only_enlarges(call: NotedCall) -> bool:
    """Whether the layer gives larger maps than it got, with nothing learned."""
    is_larger = any(
        x.ndim == 4 and x.shape[2] * x.shape[3] < call.output.shape[2] * call.output.shape[3] for x in call.inputs
    )
    return is_larger and next(call.layer.parameters(), None) is None
