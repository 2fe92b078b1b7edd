"""Which process a number stands for: its start tells it from a later one that was given the same number."""

import os
import subprocess
import sys
from pathlib import Path

STILL_ACTIVE, QUERY_LIMITED_INFORMATION, ACCESS_DENIED = 259, 0x1000, 5
"""Windows' constants: GetExitCodeProcess of a process that runs, a right to be asked for, and that it was not given."""


def start_of(pid: int) -> str | None:
    """When the process `pid` of this machine began, as text that no other process has; None if it runs no more.

    "" where the system tells no more than that it runs.
    """
    if pid < 1:
        return None
    if sys.platform == "win32":
        return _start_on_windows(pid)
    if os.path.exists("/proc/self/stat"):
        return _start_on_linux(pid)
    try:
        command = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
        found = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C", "TZ": "UTC0"}
        )
    except OSError:  # a machine without ps
        return "" if _exists(pid) else None
    state, _, start = found.stdout.strip().partition(" ")
    return None if state.startswith("Z") or not state else start.strip()


def namespace() -> str:
    """Where the numbers of processes mean what they mean here; "" where they mean the same on all of the machine.

    Containers have their own, also where they have the name of their host.
    """
    try:
        return os.readlink("/proc/self/ns/pid")
    except (OSError, AttributeError):
        return ""


def _start_on_linux(pid: int) -> str | None:
    try:
        # The name of the program, in brackets, may have blanks and brackets itself.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):  # it is not there, or /proc hides the processes of other users
        return "" if _exists(pid) else None
    if state in "ZX":  # it has ended, and its parent has not looked yet
        return None
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{boot} {fields[18]}"  # field 22 of proc(5): ticks from boot to its start


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        pass
    return True


if sys.platform == "win32":
    import ctypes

    def _start_on_windows(pid: int) -> str | None:
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel32.OpenProcess(QUERY_LIMITED_INFORMATION, False, pid))
        if not handle:
            return "" if ctypes.get_last_error() == ACCESS_DENIED else None
        try:
            status, times = ctypes.c_ulong(), [ctypes.c_ulonglong() for _ in range(4)]
            kernel32.GetExitCodeProcess(handle, ctypes.byref(status))
            kernel32.GetProcessTimes(handle, *map(ctypes.byref, times))
            return str(times[0].value) if status.value == STILL_ACTIVE else None
        finally:
            kernel32.CloseHandle(handle)
