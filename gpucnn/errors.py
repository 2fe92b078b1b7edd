"""Every exception that a user can see.

Each message says what was given, what was expected and what to do about it. All of them are `GpucnnError`, so one
`except` clause suffices; each is also the built-in exception that a caller would expect in its place. What ends a
program from outside is not one of them, but a KeyboardInterrupt.
"""


class GpucnnError(Exception):
    """The base of all errors that gpucnn raises on purpose."""


class ArgumentError(GpucnnError, ValueError):
    """An argument outside its range: a negative epoch count, an unknown model name, a stride of zero."""


class UnknownNameError(GpucnnError, AttributeError):
    """A method, layer or function that is not there, or has another name here."""


class KeywordError(GpucnnError, TypeError):
    """An argument that goes by another name here."""


class ShapeError(GpucnnError, ValueError):
    """Arrays whose shapes do not go together. Raised before any arithmetic."""


class DTypeError(GpucnnError, TypeError):
    """An array of a dtype that the operation does not take. gpucnn never converts a tensor's dtype silently."""


class DeviceError(GpucnnError, RuntimeError):
    """A device that is not there or does not work, or arrays of two devices in one operation."""


class GradientError(GpucnnError, RuntimeError):
    """A backward pass that cannot run, or a gradient that `gradcheck` found to be wrong."""


class GraphError(GpucnnError, RuntimeError):
    """A model that cannot be written down as a graph of function calls; the message names the layer and the fix."""


class StateError(GpucnnError, ValueError):
    """Saved parameters or optimizer state that cannot be read, or do not fit what they are loaded into."""


class DataError(GpucnnError, ValueError):
    """A data file that is missing, damaged or not what it claims to be."""


class OnnxError(DataError):
    """An ONNX file that is damaged, or has in it what gpucnn does not compute."""


class TrainingError(GpucnnError, RuntimeError):
    """Training that cannot go on, as its loss, or a gradient, is no longer a finite number."""


class ConfigError(GpucnnError, ValueError):
    """A configuration that no run can have: a file that cannot be read, an unknown setting, a wrong value."""


class RunError(GpucnnError, ValueError):
    """A run folder that cannot be read or written."""


class LibraryError(GpucnnError, ImportError):
    """A library that what was asked for needs, and that is not installed."""


class BenchmarkError(GpucnnError, RuntimeError):
    """Rivals in a benchmark that do not compute the same, or one that cannot be measured."""


class LaunchError(GpucnnError, TypeError):
    """Arguments that do not fit a CUDA kernel. CuPy itself would look at none of them."""


class CaptureError(GpucnnError, RuntimeError):
    """A training step cannot be recorded and replayed; the message names the layer, the operation and the fix."""

    owner: str = ""
    """The layer or operation that the message names, once it does."""

    def named(self, owner: str) -> "CaptureError":
        """The same with `owner` named; itself if it names one."""
        if self.owner:
            return self
        error = CaptureError(f"{owner}: {self}")
        error.owner = owner
        return error


class KernelError(GpucnnError, RuntimeError):
    """A CUDA kernel that does not compile, or did what a GPU does not forgive: an access out of bounds, a race."""


class OutOfMemoryError(GpucnnError, MemoryError):
    """A GPU whose memory does not hold what was asked for."""


class Terminated(KeyboardInterrupt):
    """Training that SIGTERM has ended, at a step that was saved. Like Ctrl-C no `Exception`, so that it gets through."""
