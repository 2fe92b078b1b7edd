"""Kills `gpucnn train`, at random moments, and resumes it until it has finished. A program of its own, see test_killed_runs.py.

Every run is killed again and again, and then compared with one that was left alone.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

from gpucnn.errors import RunError
from gpucnn.training import Checkpoint, RunFolder

OPTIONS = (
    "--model mlp --image-size 28 --batch-size 96 --epochs 6 --checkpoint-every 1 --optimizer adamw --schedule "
    "plateau:patience=0,threshold=0.9 --augment shift:1 cutout:4 --mix mixup:0.2 --workers 2 --average 0.9 --logs csv --device cpu --quiet"
)
SAME = ("config.json", "metrics.jsonl", "metrics.csv", "model.safetensors", "best.safetensors")


def gpucnn(*arguments: str) -> "subprocess.Popen[str]":
    """`gpucnn train`, started."""
    command = [sys.executable, "-m", "gpucnn", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> None:
    """Wait until it ends, well."""
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, ""), f"status {process.returncode}: {output}{errors}"


def seconds(*arguments: str) -> float:
    """How long `gpucnn train` takes."""
    start = time.perf_counter()
    finish(gpucnn(*arguments))
    return time.perf_counter() - start


def newest(folder: RunFolder) -> Checkpoint | None:
    try:
        return folder.checkpoints.load()
    except RunError:
        return None


def kill_one(folder: RunFolder, wait: float) -> tuple[bool, bool]:
    """Start or resume a run, and kill it after some seconds. Whether it was still there, and whether it had trained."""
    before = newest(folder)
    begin = (
        ("--out", str(folder.path), *OPTIONS.split()) if before is None else ("--resume", str(folder.path), "--quiet")
    )
    process = gpucnn(*begin)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    after = newest(folder)
    if before is not None:
        assert after is not None
        assert after.warning == "", after.warning
        assert after.values["step"] >= before.values["step"]
    killed = process.returncode != 0
    return killed, killed and after is not None and (before is None or after.values != before.values)


def differences(found: RunFolder, expected: RunFolder) -> list[str]:
    """Which files of two finished runs differ."""
    checkpoints = [path.name for path in expected.checkpoints.files()]
    assert [path.name for path in found.checkpoints.files()] == checkpoints
    names = [*SAME, *(f"checkpoints/{name}" for name in checkpoints)]
    return [name for name in names if (found.path / name).read_bytes() != (expected.path / name).read_bytes()]


def main() -> None:
    os.chdir(sys.argv[1])
    kills, draw = int(sys.argv[2]), random.Random(0)
    training = seconds("--out", "whole", *OPTIONS.split())
    startup, whole = seconds("--resume", "whole", "--quiet"), RunFolder("whole")
    # Most kills so come while it trains, and a run has several before it ends.
    earliest, latest = 0.7 * startup, startup + (training - startup) / 3
    assert [json.loads(line)["epoch"] for line in whole.metrics_file.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]
    killed = in_training = runs = 0
    steps: list[int] = []
    while killed < kills:
        runs += 1
        folder = RunFolder(f"killed-{runs}")
        while killed < kills and not folder.summary_file.exists():
            was_there, trained = kill_one(folder, draw.uniform(earliest, latest))
            killed, in_training = killed + was_there, in_training + trained
            if trained and (checkpoint := newest(folder)) is not None:
                steps.append(checkpoint.values["step"])
        if newest(folder) is None:
            finish(gpucnn("--out", str(folder.path), *OPTIONS.split()))
        finish(gpucnn("--resume", str(folder.path), "--quiet"))
        different = differences(folder, whole)
        assert not different, f"run {runs}: {', '.join(different)}"
    print(
        f"{killed} kills, {in_training} of them in training; {runs} runs resumed to the end, each with the bytes of the one "
        f"left alone; killed in training after the steps {' '.join(map(str, steps))}"
    )


if __name__ == "__main__":
    main()
