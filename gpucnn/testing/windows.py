"""Hypothesis strategies that draw windows, and images that they fit on. Needs Hypothesis, so it is imported by itself."""

from typing import NamedTuple

from hypothesis import strategies as st

from gpucnn.checks import Pair
from gpucnn.geometry import Window


class WindowCase(NamedTuple):
    """A window and the size of an image that it fits on."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    image_size: Pair

    @property
    def window(self) -> Window:
        """The window."""
        return Window.of(self.kernel, self.stride, self.padding, self.dilation)


@st.composite
def window_cases(draw: st.DrawFn, largest_padding: int = 2, largest_image: int = 9) -> WindowCase:
    """Windows with every size drawn for each axis alone: kernel, stride and dilation from 1 to 3, some padding."""

    def pair(low: int, high: int) -> Pair:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, dilation, padding = pair(1, 3), pair(1, 3), pair(1, 3), pair(0, largest_padding)
    smallest = [max(1, dilation[axis] * (kernel[axis] - 1) + 1 - 2 * padding[axis]) for axis in (0, 1)]
    size = tuple(draw(st.integers(low, max(low, largest_image))) for low in smallest)
    return WindowCase(kernel, stride, padding, dilation, (size[0], size[1]))
