"""The most memory that a training step takes, in a process of its own: each library's there starts from nothing.

On a CPU it is the growth of the process's resident memory, from before model and images are made to the peak of some steps.
Libraries and their threads are there before: a step with a small batch has run. On a GPU it is what the library's pool of
memory has taken from the driver.
"""

import gc
import subprocess
import sys
from pathlib import Path

from gpucnn.backend import Device, choose_device, current, own_package
from gpucnn.benchmark import pytorch
from gpucnn.benchmark.rivals import Rival
from gpucnn.benchmark.training_step import Workload, training_step
from gpucnn.errors import BenchmarkError

STEPS, SMALL_BATCH = 3, 2
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(rival: Rival, workload: Workload, device: Device) -> int | None:
    """The bytes that training steps take at their peak, measured in a new process. None where the system does not tell.

    Raises BenchmarkError if the process fails.
    """
    if device.kind == "cpu" and not STATUS.exists():
        return None
    command = [sys.executable, "-m", __name__, str(rival), workload.model, str(workload.batch_size), str(device)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own_package.environment())
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise BenchmarkError(f"the memory of {rival} on {workload} could not be measured: {last}")
    return int(done.stdout)


def growth(rival: Rival, workload: Workload, device: Device) -> int:
    """What `peak_bytes` measures, in this process."""
    _run(rival, workload._replace(batch_size=SMALL_BATCH), device)
    gc.collect()
    if device.kind == "cpu":
        return _resident_growth(rival, workload, device)
    _run(rival, workload, device)
    if rival.ours:
        with current(device):
            return int(device.xp.get_default_memory_pool().total_bytes())
    return int(pytorch.torch().cuda.max_memory_reserved(device.index))


def _resident_growth(rival: Rival, workload: Workload, device: Device) -> int:
    # Not ru_maxrss: that of a new process begins with the peak of the process that started it.
    before = _status("VmRSS")
    CLEAR_REFS.write_text("5")  # the peak is the present from here on, see proc_pid_clear_refs(5)
    _run(rival, workload, device)
    return max(0, _status("VmHWM") - before)


def _run(rival: Rival, workload: Workload, device: Device) -> None:
    step = training_step(rival, workload, device)
    for _ in range(STEPS):
        step().item()


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    found = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(found.split()[1]) * 1024


def main() -> None:
    """Measure in this process, and print the bytes."""
    rival, model, batch_size, device = sys.argv[1:]
    print(growth(Rival.of(rival), Workload(model, int(batch_size)), choose_device(device).device))


if __name__ == "__main__":
    main()
