"""Parameter: a tensor that a layer learns; and Buffer, one that it keeps but does not learn."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpucnn.autograd import Tensor, backward_number
from gpucnn.autograd.torch_words import Size
from gpucnn.autograd.writes import WatchedArray
from gpucnn.backend import Array, Device, as_array, beside, converted, device_of, generator, memory, to_device
from gpucnn.checks import Shape, as_dtype, as_flag, as_function, as_items, check_shape, is_int
from gpucnn.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from gpucnn.kernels.elementwise import add_to
from gpucnn.text import shape_text, value_text

Initializer: TypeAlias = "Callable[[np.random.Generator, Shape], np.ndarray]"


class Parameter(Tensor):
    """A tensor with a place in a model. Its first value is drawn when it is first read.

    The value is a function of the model's seed and of the parameter's `path` there, e.g. "conv1.weight": equal layers
    in different places start differently, and the order of construction does not matter. Until it is read it takes no
    memory, so a model of any size can be built to count its parameters.

    - `shape`: its shape. `initialize`: how to draw it, see `initialization`. `dtype`: a float dtype, float32 by default.
    - Without `initialize`, `shape` is an array, a tensor or a list of floats: its values, which are copied.
    - `requires_grad`: False freezes it.

    Raises ShapeError or DTypeError for what cannot be a shape, values or a dtype, ArgumentError for a shape without `initialize`.
    """

    __slots__ = (
        "_device", "_dtype", "_gradient", "_gradient_place", "_initialize", "_place_taken_in", "_shape",
        "path", "seed",
    )  # fmt: skip

    kinds = "f"
    """Of dtypes that it may have, as NumPy calls them."""

    def __init__(
        self,
        shape: Any,
        initialize: "Initializer | None" = None,
        dtype: Any = None,
        requires_grad: bool = True,
    ) -> None:
        owner, self._device = type(self).__name__, Device()
        values = None
        if initialize is None:
            values = self._given(shape)
            shape, self._device = values.shape, device_of(values)
            if dtype is None and values.dtype.kind in self.kinds.strip("f"):
                dtype = values.dtype
        else:
            as_function(initialize, f"{owner}: initialize", "of (generator, shape)")
        sizes = as_items(shape)
        if sizes is None or not all(is_int(size) and size >= 0 for size in sizes):
            raise ShapeError(f"{owner}: a shape is a tuple of ints >= 0, got {value_text(shape)}")
        self._shape: Shape = check_shape(owner, tuple(map(int, sizes)))
        self._dtype = as_dtype(np.float32 if dtype is None else dtype, f"{owner}: dtype", self.kinds)
        self._data: Array | None = None
        if values is not None:
            self.assign(values)
        self._initialize = initialize
        self._gradient_place: Array | None = None
        self.path = ""
        self.seed = 0
        self.grad = None
        self.node = self.hooks = None
        self.watched = self.is_bf16 = self.is_stored = False
        self.requires_grad = as_flag(requires_grad, f"{owner}: requires_grad")

    def _given(self, values: Any) -> Array:
        """`values` as an array. ArgumentError for what is a shape rather than values."""
        owner = type(self).__name__
        if is_int(values) or (isinstance(values, tuple | list) and all(map(is_int, values))):
            raise ArgumentError(
                f"{owner}: {value_text(values)} is a shape, which needs an initializer, e.g. layers.{owner}({value_text(values)}, "
                f"layers.initializer('he_normal')); give values as an array, e.g. np.zeros({value_text(values)})"
            )
        try:
            return as_array(values.array if isinstance(values, Tensor) else values)
        except DTypeError as error:
            raise DTypeError(f"{owner}: {error}") from None

    @property
    def array(self) -> Array:
        """The array, drawn at the first look. An array that is put here is used itself, not copied.

        Raises ShapeError if the initializer gives an array of another shape than it is asked for.
        """
        if self._data is None:
            assert self._initialize is not None
            stream = generator(self.seed, f"initial {self.path}")
            try:
                drawn = np.asarray(self._initialize(stream, self._shape), self._dtype)
            except MemoryError as error:
                raise memory.named(self.path or "parameter", error) from error
            if drawn.shape != self._shape:
                raise ShapeError(
                    f"{self.path or 'parameter'}: its initializer gave an array {shape_text(drawn.shape)} when asked for "
                    f"{shape_text(self._shape)}"
                )
            self._data = to_device(drawn, self._device)
        return self._data

    @property
    def data(self) -> Array:
        """`array`, as programs see it. An array that is put here is used itself, not copied."""
        return super().data

    @data.setter
    def data(self, array: Array) -> None:
        if self._is_written_by(array):
            return
        if isinstance(array, WatchedArray):
            array = array.unwatched()
        array = self._fitting(array)
        label = self.path or "parameter"
        if array.dtype != self._dtype:
            raise DTypeError(f"{label}: expected an array of {self._dtype}, got {array.dtype}; convert it with astype")
        if device_of(array) != self._device:
            raise DeviceError(
                f"{label}: expected an array on {self._device}, got one on {device_of(array)}; use assign, which moves it"
            )
        self._data = array

    @property
    def grad(self) -> Array | None:
        """None, or the gradient, an array of the same shape and dtype. `backward` adds to it.

        With an optimizer it is a part of its flat buffer: after `zero_grad` the next `backward` writes there again, so copy
        what shall last.
        """
        return self._gradient

    @grad.setter
    def grad(self, gradient: Array | None) -> None:
        self._gradient = gradient
        self._place_taken_in = -1

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def size(self) -> int:
        return Size(math.prod(self._shape))

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def device(self) -> Device:
        return self._device

    def assign(self, values: Any) -> None:
        """Copy `values`, of the parameter's shape, in its dtype and on its device. ShapeError for another shape."""
        array = to_device(self._fitting(values), self._device)
        with beside(array):
            if self._data is None:
                self._data = array.astype(self._dtype)  # a copy: the caller keeps its own
            else:
                self._data[...] = array
                self.note_write("assign(), or load_state_dict()")

    def settle(self, data: Array, gradient: Array) -> None:
        """Live in these two arrays, parts of an optimizer's flat buffers, from now on; the values move there."""
        data[...] = self.array
        self._data, self._gradient_place = data, gradient
        if self._gradient is not None:
            gradient[...] = self._gradient
            self._gradient = gradient

    def lives_in(self, data: Array, gradient: Array) -> bool:
        """Whether this parameter still lives in these two arrays, as `settle` left it."""
        return self._data is data and self._gradient_place is gradient

    def gradient_buffer(self) -> Array:
        """Where a backward function may write the gradient: its place in the flat buffer, if nothing is there yet."""
        if self._gradient_place is None or self._gradient is not None or self._place_is_taken() or self.hooks:
            return super().gradient_buffer()
        self._place_taken_in = backward_number()
        return self._gradient_place

    def _place_is_taken(self) -> bool:
        """Whether something was written to the place in this backward pass. What an earlier one left there is forgotten."""
        return self._place_taken_in == backward_number()

    def add_gradient(self, gradient: Array) -> tuple[()]:
        place = self._gradient_place
        if place is None or not (gradient is place or self._gradient is None):
            return super().add_gradient(gradient)
        if self._place_is_taken() and gradient is not place:  # another use of the parameter has written there already
            add_to(place, gradient)
        elif gradient is not place:
            place[...] = gradient
        self.grad = place
        return ()

    def move(self, device: Device) -> None:
        """Bring the array and its gradient to `device`, in place."""
        if device == self._device:
            return
        self._device, self._gradient_place = device, None
        if self._data is not None:
            self._data = to_device(self._data, device)
        if self.grad is not None:
            self.grad = to_device(self.grad, device)

    def convert(self, dtype: Any) -> None:
        """Change the dtype, in place. The gradient is dropped, unless the dtype is the same."""
        if np.dtype(dtype) == self._dtype:
            return
        self._dtype, self._gradient_place = np.dtype(dtype), None
        if self._data is not None:
            self._data = converted(self._data, self._dtype)
        self.grad = None

    def _fitting(self, values: Any) -> Array:
        array = as_array(values, self._dtype)
        if array.shape != self._shape:
            expected, got = shape_text(self._shape), shape_text(array.shape)
            raise ShapeError(f"{self.path or 'parameter'}: expected an array {expected}, got {got}")
        return array


class Buffer(Parameter):
    """A tensor that belongs to a layer's state, e.g. a running mean: saved, loaded and moved like a parameter.

    It is not among `parameters()`, needs no gradient, and no optimizer changes it. Integers and truth values are kept as they are.
    """

    __slots__ = ()

    kinds = "fiub"

    def __init__(self, shape: Shape | Any, initialize: "Initializer | None" = None, dtype: Any = None) -> None:
        super().__init__(shape, initialize, dtype, requires_grad=False)
