"""What a GPU would have been asked to do: launches, matrix products, transfers, synchronizations."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["launch", "product", "upload", "download", "synchronize", "exchange"]
"""What an operation is:

- "launch": one kernel, CuPy's or our own.
- "product": a matrix product, which `kernels.gemm` asks cuBLAS for.
- "upload", "download": a transfer from or to the host. A download waits for the device.
- "synchronize": the host waits for the device.
- "exchange": one launch of NCCL's, which sends to other GPUs, and receives from them.
"""

_KEPT = 100_000


class Operation(NamedTuple):
    """One thing that a GPU does.

    - `name`: the kernel ("add", "copy", "fill", "sum", or a `.cu` file's own), or the function that was called.
    - `detail`: the shape of what was computed or transferred; the grid of a `.cu` file's kernel;
      how many arrays an exchange sends and receives, and the bytes that go to other GPUs.
    - `read`, `written`: bytes of the device's memory, each array once. `flops`: floating-point operations, 2MNK of a
      product, and of a kernel of ours that is one; of any other computation one for each element of its largest array. `untouched_gpu` finds these, in other
      logs they are 0.
    """

    kind: Kind
    name: str
    detail: tuple[int, ...] = ()
    read: int = 0
    written: int = 0
    flops: int = 0


class OperationLog(list[Operation]):
    """The operations so far, in order: the latest hundred thousand at most.

    ```python
    with log.recorded() as operations:
        optimizer.step()
    assert [operation.name for operation in operations if operation.kind == "launch"] == ["adam"]
    ```
    """

    def __init__(self) -> None:
        super().__init__()
        self._recordings: list[list[Operation]] = []

    def add(
        self, kind: Kind, name: str, detail: tuple[int, ...] = (), read: int = 0, written: int = 0, flops: int = 0
    ) -> None:
        """Append one operation."""
        operation = Operation(kind, name, detail, read, written, flops)
        self.append(operation)
        for recording in self._recordings:
            recording.append(operation)
        if len(self) > _KEPT:
            del self[: _KEPT // 2]

    @contextmanager
    def recorded(self) -> Iterator[list[Operation]]:
        """The list of all operations inside, and of no others. Recordings may be nested."""
        recording: list[Operation] = []
        self._recordings.append(recording)
        try:
            yield recording
        finally:
            # By identity: two recordings that have seen the same are equal.
            self._recordings = [other for other in self._recordings if other is not recording]
