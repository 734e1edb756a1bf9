"""The output of the demo: live lines while it works, a table at its end."""

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from dockd.station.lifecycle import STATE_NAMES, StateName
from dockd.station.pipeline.activity import ClipProgress

if TYPE_CHECKING:
    from dockd.demo import Report

_BAR = 20
_CLEAR_BELOW = "\x1b[J"


class ProgressDisplay:
    """Progress on standard error: live on a terminal, one line per change elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = 0
        self._last: Mapping[StateName, int] = {}

    def show(
        self, works: Sequence[ClipProgress], states: Mapping[StateName, int], clips: int
    ) -> None:
        """Show the clips by state, and the progress of each one in work."""
        summary = ", ".join(f"{states[state]} {state}" for state in STATE_NAMES if state in states)
        if not self._stream.isatty():
            if states != self._last:
                self._stream.write(f"{clips} clips: {summary}\n")
            self._last = states
            return
        width = shutil.get_terminal_size().columns - 1
        lines = [f"{clips} clips: {summary}", *map(_bar, works)]
        self._erase()
        self._stream.write("".join(line[:width] + "\n" for line in lines))
        self._stream.flush()
        self._lines = len(lines)

    def end(self) -> None:
        """Clear the live lines."""
        self._erase()
        self._lines = 0

    def _erase(self) -> None:
        if self._lines:
            self._stream.write(f"\x1b[{self._lines}F{_CLEAR_BELOW}")


def _bar(work: ClipProgress) -> str:
    share = work.done / work.total if work.total else 1.0
    filled = round(_BAR * share)
    bar = "#" * filled + "." * (_BAR - filled)
    return f"  {work.stage:<6} [{bar}] {share:4.0%}  {work.clip.camera.serial} {work.clip.name}"


def print_report(report: "Report") -> None:
    """Print the table, and in the last line whether everything was verified."""
    resumed = "never" if report.resumed_at is None else f"at byte {report.resumed_at:,}"
    rows = [
        ("clips", f"{report.clips}"),
        ("bytes", f"{report.bytes:,}"),
        ("ingest", f"{report.ingest_mb_per_second} MB/s a clip"),
        ("upload", f"{report.upload_mb_per_second} MB/s a clip"),
        ("interruptions", f"{report.cuts}, resumed {resumed}"),
        ("receipts verified", f"{report.receipts_verified}"),
        ("wiped", f"{report.wiped}"),
        ("decrypted", f"clip {report.proved_clip[:16]}…, SHA-256 {report.proved_sha256[:16]}…"),
        ("matches the camera", "yes" if report.proved else "NO"),
        ("took", f"{report.seconds} s"),
    ]
    for name, value in rows:
        print(f"  {name:<18} {value}")  # noqa: T201
    print("everything verified" if report.holds else "NOT everything verified")  # noqa: T201
