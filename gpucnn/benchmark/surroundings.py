"""What else goes on in the machine while something is measured."""

import os
import time
from pathlib import Path

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

STAT = Path("/proc/stat")


class Surroundings:
    """The clock, other processes, and the operating system's work for this one. Tests have others."""

    tick: float = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
    """The seconds that processor time of other processes is counted in."""

    def now(self) -> float:
        """Seconds, from some beginning."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Do nothing for that long."""
        time.sleep(seconds)

    def others(self) -> float | None:
        """Seconds of processor time that others than this process have had, of all cores, from some beginning.

        Those that a virtual machine's host took away count, too. None where the system does not tell (only Linux does).
        """
        try:
            fields = STAT.read_text().split("\n", 1)[0].split()[1:9]
        except OSError:
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, fields)
        return (user + nice + system + irq + softirq + steal) * self.tick - time.process_time()

    def page_faults(self) -> int:
        """How many pages this process has been given so far; 0 where the system does not tell."""
        return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_minflt
