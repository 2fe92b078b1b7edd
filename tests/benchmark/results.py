"""Results of a benchmark that never ran."""

from gpucnn.benchmark.limit import Limit, Work
from gpucnn.benchmark.rivals import Rival
from gpucnn.benchmark.suite import Result
from gpucnn.benchmark.timing import Block, Timing

NUMPY, JIT = Rival("gpucnn", "numpy"), Rival("gpucnn", "jit")
EAGER, CHANNELS_LAST = Rival("PyTorch", "eager"), Rival("PyTorch", "channels_last")


def timing(*seconds: float, disturbance: float = 0.0, page_faults: float = 0.0) -> Timing:
    return Timing([Block(one, page_faults, disturbance) for one in seconds])


def result(**changes: object) -> Result:
    timings = {
        NUMPY: timing(0.006, 0.004, 0.002),
        JIT: timing(0.001, page_faults=1234),
        EAGER: timing(0.002),
        CHANNELS_LAST: timing(0.005, disturbance=0.5),
    }
    limit = Limit(Work(3_000_000, 1_000_000), 1e10, 5e9)
    peak = {NUMPY: 12_345_678, JIT: 1_000_000, EAGER: None, CHANNELS_LAST: 2_000_000}
    return Result("lenet5 64", timings, limit, 2.5e-7, peak)._replace(**changes)
