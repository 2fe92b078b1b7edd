"""The results of a benchmark as text, and as JSON."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpucnn.benchmark.rivals import GPUCNN, PYTORCH, Rival
from gpucnn.benchmark.suite import Result
from gpucnn.benchmark.timing import Timing
from gpucnn.text_table import stacked_tables

MARK = "~"
LEGEND = (
    f"medians of undisturbed blocks; {MARK} marks what is worth little, as every block was disturbed by other processes",
    "limit: multiply-adds at the speed of a large matrix product, and bytes that must move at the speed of a copy",
)
PREDICTED_LEGEND = (
    "predicted: not measured; launched one by one, without Python's own time, +-40 %; its assumptions are above"
)
RECORDED_LEGEND = "below 1, the recorded step is faster; outside of loops: what Python and threads take of it, at best"
RATIO_LEGEND = "below 1, gpucnn is faster; channels_last: PyTorch with that memory format and its fused optimizer"


def machine_lines(machine: Mapping[str, str]) -> list[str]:
    """A line for each fact of the machine."""
    width = max(map(len, machine))
    return [f"{name:<{width}}  {value}" for name, value in machine.items()]


def result_lines(title: str, results: Sequence[Result], predicted: Mapping[str, float] | None = None) -> list[str]:
    """Tables of the results, all of them of the same rivals: times, ratios, page faults, and memory if it was measured.

    `predicted`: seconds by workload, which get a column beside the times; see `prediction`.
    """
    rivals = list(results[0].timings)
    times = [[result.workload, *(_time(result.timings[rival]) for rival in rivals), f"{result.limit.seconds * 1e3:.3f}",
              *(f"{result.timings[rival].median / result.limit.seconds:.1f}" for rival in rivals if rival.ours)]
             for result in results]  # fmt: skip
    header = [*map(str, rivals), "limit", *(f"{rival.variant}/limit" for rival in rivals if rival.ours)]
    legend: Sequence[str] = LEGEND
    if predicted:
        header, legend = [*header, "predicted >"], (*LEGEND, PREDICTED_LEGEND)
        times = [[*row, f"{predicted[row[0]] * 1e3:.3f}"] for row in times]
    lines = [f"{title}: milliseconds", *_table(header, times), *legend, ""]

    pairs = _pairs(rivals)
    if pairs:
        ratios = [[result.workload, *(_ratio(result, *pair) for pair in pairs)] for result in results]
        names = [f"{rival.variant}/{baseline.variant}" for rival, baseline in pairs]
        lines += [f"{title}: ratios to {PYTORCH}", *_table(names, ratios), RATIO_LEGEND, ""]

    lines += _recorded(title, results)
    rows = [[result.workload, *(f"{result.timings[rival].page_faults:,.0f}" for rival in rivals)] for result in results]
    lines += [f"{title}: page faults of a call", *_table(list(map(str, rivals)), rows), ""]

    if any(result.peak_bytes for result in results):
        rows = [[result.workload, *(_megabytes(result.peak_bytes[rival]) for rival in rivals)] for result in results]
        lines += [f"{title}: peak memory in MB, over a process that has made a small step",
                  *_table(list(map(str, rivals)), rows), ""]  # fmt: skip

    largest = max(results, key=lambda result: result.difference)
    blocks = [timing.blocks for result in results for timing in result.timings.values()]
    total, disturbed = sum(map(len, blocks)), sum(block.disturbed for some in blocks for block in some)
    lines.append(f"largest relative difference of results: {largest.difference:.1e}, {largest.workload}")
    lines.append(f"{disturbed} of {total} blocks were disturbed by other processes, and not counted")
    return lines


def as_json(
    machine: Mapping[str, str], settings: Mapping[str, Any], tables: Mapping[str, Iterable[Result]]
) -> dict[str, Any]:
    """All that was measured, as lists and dictionaries; seconds and bytes."""
    return {
        "machine": dict(machine),
        "settings": dict(settings),
        **{name: [_result(result) for result in results] for name, results in tables.items()},
    }


def _result(result: Result) -> dict[str, Any]:
    rivals = result.timings
    return {
        "workload": result.workload,
        "largest_difference": result.difference,
        "limit": {
            "seconds": result.limit.seconds,
            "multiply_adds": result.limit.work.multiply_adds,
            "bytes": result.limit.work.nbytes,
            "multiply_adds_per_second": result.limit.multiply_adds_per_second,
            "bytes_per_second": result.limit.bytes_per_second,
        },
        "contestants": {str(rival): _timing(rival, result) for rival in rivals},
        "ratios": {
            f"{rival} / {baseline}": result.ratio(rival, baseline)
            for rival, baseline in (*_pairs(rivals), *_recorded_pairs(rivals))
        },
        "seconds_outside_of_loops": result.outside_of_loops,
    }


def _recorded(title: str, results: Sequence[Result]) -> list[str]:
    """A table of recorded steps beside those that are computed as they are; nothing if there are none."""
    pairs = _recorded_pairs(results[0].timings)
    if not pairs:
        return []
    names = [f"{rival.variant}/{plain.variant}" for rival, plain in pairs]
    rows = [[result.workload, *(_ratio(result, *pair) for pair in pairs)] for result in results]
    if any(result.outside_of_loops for result in results):
        names.append("outside of loops, ms")
        rows = [[*row, _outside(result)] for row, result in zip(rows, results, strict=True)]
    return [f"{title}: ratios of recorded steps", *_table(names, rows), RECORDED_LEGEND, ""]


def _outside(result: Result) -> str:
    """What Python and threads take of a recorded step."""
    return "not recorded" if result.outside_of_loops is None else f"{result.outside_of_loops * 1e3:.3f}"


def _recorded_pairs(rivals: Iterable[Rival]) -> list[tuple[Rival, Rival]]:
    """Each of ours whose steps are recorded, with the same without."""
    return [(rival, Rival(GPUCNN, rival.way)) for rival in rivals if rival.is_recorded]


def _pairs(rivals: Iterable[Rival]) -> list[tuple[Rival, Rival]]:
    """Each of ours with each of PyTorch's."""
    return [(ours, theirs) for ours in rivals if ours.ours for theirs in rivals if not theirs.ours]


def _timing(rival: Rival, result: Result) -> dict[str, Any]:
    timing = result.timings[rival]
    seconds = [block.seconds for block in timing.counted]
    return {
        "median_seconds": timing.median,
        "least_seconds": min(seconds),
        "spread_seconds": statistics.pstdev(seconds),
        "undisturbed_blocks": len(timing.undisturbed),
        "page_faults": timing.page_faults,
        "peak_bytes": result.peak_bytes.get(rival),
        "blocks": [block._asdict() for block in timing.blocks],
    }


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return stacked_tables(["", *header], rows, "l" + "r" * len(header))


def _time(timing: Timing) -> str:
    return f"{'' if timing.undisturbed else MARK}{timing.median * 1e3:.3f}"


def _ratio(result: Result, rival: Rival, baseline: Rival) -> str:
    certain = result.timings[rival].undisturbed and result.timings[baseline].undisturbed
    return f"{'' if certain else MARK}{result.ratio(rival, baseline):.2f}"


def _megabytes(nbytes: int | None) -> str:
    return "unknown" if nbytes is None else f"{nbytes / 1e6:,.1f}"
