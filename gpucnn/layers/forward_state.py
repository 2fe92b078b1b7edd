"""What a forward pass depends on, and changes, beside inputs and parameters."""

from gpucnn.layers.dropout import Dropout
from gpucnn.layers.layer import Layer


class ForwardState:
    """A layer's training modes, dropout counters and running statistics, as they are now, of all within, too."""

    def __init__(self, layer: Layer) -> None:
        inner = [member for _, member in layer.named_layers()]
        self._modes = [(member, member.training) for member in inner]
        self._counters = [(member, member.calls) for member in inner if isinstance(member, Dropout)]
        self._statistics = [(buffer, buffer.data) for _, buffer in layer.named_buffers()]

    def restore(self) -> None:
        """Make the layer as it was: the same input then gives the same output, to the bit."""
        for member, training in self._modes:
            member.training = training
        for dropout, calls in self._counters:
            dropout.calls = calls
        for buffer, data in self._statistics:
            buffer.data = data
