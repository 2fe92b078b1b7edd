"""`gpucnn serve` under load, beside a plain app of Starlette and PyTorch: `python -m tests.serve.load RUN`, or `nox -s serving`.

RUN is LeNet-5 on the digits. wrk posts PNG files of the test images on 64 connections, to the one and to the other in turn. Then to `gpucnn serve` alone,
for a minute, while one more client looks at each answer. Ends with 1 if a request failed, an answer was wrong, the rate
is less than three times that of the plain app, or memory grows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import gpucnn
from gpucnn.backend import choose_device
from gpucnn.benchmark.machine import describe
from tests.cli.small_runs import save_digit
from tests.serve.good_client import GoodClient, Known
from tests.serve.service import Service

IMAGES = 100
LUA = Path(__file__).with_name("predict.lua")
OURS, PLAIN = "gpucnn serve", "plain app"
LEAST_RATIO = 3
"""Of requests a second, ours to those of the plain app."""
MOST_GROWTH = 10
"""Megabytes by which the memory of the last tenth of a long load may be above that of the second, in which all is warm."""
LIBRARIES = ("starlette", "uvicorn", "httptools", "uvloop", "onnxruntime", "llvmlite", "pillow", "torch")


class Load(NamedTuple):
    """What wrk has seen."""

    rate: float
    p50: float
    p99: float
    most: float
    failed: int
    requests: int
    cpu: float
    """Of the service, in microseconds a request: what another process does on this machine changes it less than the rate."""


class PlainApp(Service):
    """The rival, in a process of its own."""

    def command(self, run: Path, port: int, options: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "tests.serve.load.plain_app", str(run), *options]


def load(service: Service, images: Path, seconds: float, connections: int) -> Load:
    before = service.cpu_seconds()
    found = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(LUA), f"http://127.0.0.1:{service.port}", "--", str(images)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    seen = json.loads(found.splitlines()[-1])
    failed = sum(seen[name] for name in ("connect", "read", "write", "timeout", "status"))
    times = [seen[name] / 1000 for name in ("p50", "p99", "most")]
    return Load(
        seen["requests"] / seen["seconds"],
        *times,
        failed,
        seen["requests"],
        (service.cpu_seconds() - before) / seen["requests"] * 1e6,
    )


def row(name: str, seen: Load, service: Service) -> str:
    return (
        f"{name:14} {seen.rate:8.0f} requests/s   p50 {seen.p50:6.1f} ms   p99 {seen.p99:6.1f} ms   longest {seen.most:6.1f} ms   "
        f"CPU {seen.cpu:4.0f} us a request   failed {seen.failed}   memory {service.memory():.0f} MB"
    )


def compare(ours: Service, plain: Service, images: Path, options: argparse.Namespace) -> bool:
    """The rounds, printed, and the medians of the ratios of each; whether ours is as much faster as it should be."""
    rounds: list[tuple[Load, Load]] = []
    for place in range(options.rounds + 1):
        seen: dict[str, Load] = {}
        for name, service in ((OURS, ours), (PLAIN, plain))[:: 1 if place % 2 else -1]:
            seen[name] = load(service, images, options.seconds if place else 2, options.connections)
            if place:  # the first is to get warm
                print(row(name, seen[name], service), flush=True)
                assert seen[name].failed == 0, f"{name}: {seen[name].failed} requests failed"
        if place:
            rounds.append((seen[OURS], seen[PLAIN]))
    for what, ratios in {
        "requests/s": [first.rate / second.rate for first, second in rounds],
        "requests a second of its own CPU": [second.cpu / first.cpu for first, second in rounds],
    }.items():
        print(f"{OURS} / {PLAIN}, {what}: median {median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    ours_rate, plain_rate = (median(pair[place].rate for pair in rounds) for place in range(2))
    print(f"medians: {OURS} {ours_rate:.0f} requests/s, {PLAIN} {plain_rate:.0f}", flush=True)
    return median(first.rate / second.rate for first, second in rounds) >= LEAST_RATIO


def saturate(ours: Service, known: Known, images: Path, options: argparse.Namespace) -> bool:
    """The long load, printed; whether nothing failed, every answer was right, and memory stayed."""
    memory, is_over = [ours.memory()], threading.Event()

    def watch() -> None:
        while not is_over.wait(1):
            memory.append(ours.memory())

    watching = threading.Thread(target=watch)
    watching.start()
    with GoodClient(ours, known) as good:
        seen = load(ours, images, options.long, options.connections)
    is_over.set()
    watching.join()
    print(row(OURS, seen, ours), f" of {seen.requests} in {options.long:.0f} s")
    tenth = max(1, len(memory) // 10)
    parts = [max(memory[place : place + tenth]) for place in range(0, len(memory), tenth)]
    print("memory, MB, the highest of each tenth:", " ".join(f"{one:.1f}" for one in parts))
    print(
        f"answers looked at: {good.count}, wrong or missing: {len(good.problems)}",
        *good.problems[:3],
        sep="\n",
        flush=True,
    )
    return not seen.failed and not good.problems and parts[-1] - parts[min(1, len(parts) - 1)] <= MOST_GROWTH


def versions() -> str:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return f"Python {sys.version.split()[0]}, " + ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.serve.load", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--long", type=float, default=60, help="seconds of the load in the end; 0 for none")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--plain-threads", default="1", help="PyTorch's: one is the fastest for a network as small as this"
    )
    options = parser.parse_args()
    print(describe(choose_device("cpu").device).get("CPU", ""), "load", *(f"{one:.1f}" for one in os.getloadavg()))
    print(versions())
    with tempfile.TemporaryDirectory() as folder:
        files = [save_digit(Path(folder) / f"{place}.png", place) for place in range(IMAGES)]
        trained = gpucnn.load(options.run)
        known = Known([file.read_bytes() for file in files], [dict(trained.predict(file)) for file in files])
        ours = Service(options.run)
        plain = PlainApp(options.run, options.plain_threads)
        try:
            print(ours.log.rstrip())
            for service in (ours, plain):
                for place in range(IMAGES):
                    assert not (problem := known.problem(place, service.predict(known.images[place]))), problem
            good = not options.rounds or compare(ours, plain, Path(folder), options)
            good &= not options.long or saturate(ours, known, Path(folder), options)
        finally:
            plain.process.kill()
            status = ours.stop()
    print(f"SIGTERM: ended with {status}")
    return 0 if good and status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
