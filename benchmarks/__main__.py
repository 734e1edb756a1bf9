"""Runs the benchmarks and writes docs/performance.md; exits 1 where one is too slow."""

import argparse
import os
import platform
import ssl
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks import floor, ingest, station
from benchmarks.floor import Step
from benchmarks.measure import Comparison, first_line

RSS_LIMIT = 96 * 2**20
_PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def main() -> int:
    """Run them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default: 5)")
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="16 GiB of tmpfs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dockd-bench-", dir=options.tmpfs) as name:
        comparisons = ingest.measure(Path(name), options.runs)
        moving, rss = station.measure(Path(name), max(options.runs // 2, 1))
        steps = floor.measure(Path(name))
    page = _render([*comparisons, moving], rss, steps)
    _PAGE.write_text(page)
    print(page)
    return 0 if rss < RSS_LIMIT and all(one.holds for one in [*comparisons, moving]) else 1


def _render(comparisons: Sequence[Comparison], rss: int, steps: Sequence[Step]) -> str:
    rows = "\n".join(
        f"| {one.name} | {one.size / one.ours / 1e6:,.0f} MB/s | {one.against} |"
        f" {one.size / one.theirs / 1e6:,.0f} MB/s | {one.ratio:.2f} × |"
        f" {one.at_least:g} × | {'yes' if one.holds else '**no**'} |"
        for one in comparisons
    )
    moving = comparisons[-1]
    least = sum(step.times * step.cost for step in steps)
    cores = os.cpu_count() or 1
    at_most = cores / least * 1e9
    costs = "\n".join(f"| {step.what} | {step.times} × | {step.cost:.2f} ns |" for step in steps)
    return f"""\
# Performance

Written by `make bench`. Each row is the ratio of two medians out of one run, the two taken
in turn; speeds are of plaintext, and move with the machine, ratios less so.

| what | dockd | against | its speed | ratio | at least | holds |
|---|---|---|---|---|---|---|
{rows}

Peak RSS of the daemon while it moved those clips: {rss / 2**20:.0f} MiB
(limit {RSS_LIMIT >> 20} MiB, {"holds" if rss < RSS_LIMIT else "**does not hold**"}).

Debian's `sha256sum` does not use the processor's SHA instructions; OpenSSL, and with it
dockd, does. SHA-256 is what limits an ingest, encryption is not.

The station is set up for two cores: two clips are read and two uploaded at once, and its
spool holds 1 GiB. It keeps two digests of every clip and writes it to its spool; the receiver
re-reads and digests what it stored, and signs a receipt. rclone does none of that.

## What a byte costs at least

Daemon and receiver keep all cores busy, so what limits them is processor time. These are the
steps that no implementation of the same promises can leave out, each timed by itself, in
processor time for a byte, on buffers that stay in the cache:

| step | times | each |
|---|---|---|
{costs}

Together {least:.1f} ns of one core: whoever did nothing else at all would move
{at_most / 1e6:,.0f} MB/s on {cores} cores, {at_most * moving.theirs / moving.size:.2f} × what
it is compared with. dockd takes {cores * moving.ours / moving.size * 1e9:.1f} ns. The rest is
Python, the kernel's network, and new pages of memory, for spool and store: under a
hypervisor that backs a page when it is first touched, they cost several times as much in the
long run as in this table, whose pages others had just given back.

## The machine

- {_processor()}, {os.cpu_count()} cores, Linux {platform.release()}
- Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, cryptography {version("cryptography")}
- {first_line(["age", "--version"])} (age), {first_line([station.RCLONE, "version"])}, \
{first_line(["sha256sum", "--version"])}
"""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
