"""Times whole commands and functions in turn, so that a drifting machine hits both alike."""

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


class Contender:
    """Something that is timed: ``run`` is, what ``ready`` does around it is not."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Hold what a run needs."""
        yield


@dataclass(frozen=True)
class Comparison:
    """Two things that do the same, timed in turn."""

    name: str
    ours: float
    """The median, in seconds."""
    theirs: float
    against: str
    at_least: float
    size: int
    """Bytes of plaintext that each went through."""

    @property
    def ratio(self) -> float:
        """How many times as fast as the other dockd is."""
        return self.theirs / self.ours

    @property
    def holds(self) -> bool:
        """Whether that is enough."""
        return self.ratio >= self.at_least


def compare(
    name: str,
    size: int,
    ours: Contender,
    against: str,
    theirs: Contender,
    *,
    at_least: float,
    runs: int = 5,
) -> Comparison:
    """Time two contenders in turn, after one run of each that isn't counted."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for counted in [False] + [True] * runs:
        for number, contender in enumerate((ours, theirs)):
            with contender.ready():
                began = time.perf_counter()
                contender.run()
                seconds = time.perf_counter() - began
            if counted:
                times[number].append(seconds)
    medians = [statistics.median(times[number]) for number in (0, 1)]
    return Comparison(name, medians[0], medians[1], against, at_least, size)


def shell(script: str, **environment: str) -> None:
    """Run a shell script that must succeed."""
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], check=True, env=os.environ | environment
    )


def fill(path: Path, size: int) -> None:
    """Write random bytes to a file."""
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - start)))


def peak_rss(pid: int) -> int:
    """Return the most memory that a process has had resident, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def first_line(command: Sequence[str]) -> str:
    """Return the first line that a command prints."""
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return result.stdout.splitlines()[0]
