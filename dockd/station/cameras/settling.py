"""Which files of a folder are complete: unchanged for a while, and not open for writing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dockd.base.clock import Clock
from dockd.station.cameras.tree import Root, open_file
from dockd.station.model import FileStat

_WRITER = "find the process that writes to it, and stop it"
_QUIET = (
    "find the process that keeps changing it; better, let it write as the user dockd:"
    " docs/configure.md, In folders"
)

HasWriter = Callable[[int], bool | None]
"""Returns whether a file is open for writing, None if unknown; a test replaces it."""


@dataclass(frozen=True)
class Reason:
    """Why a file is not complete yet."""

    what: str
    hint: str
    within: float
    """Seconds in which it is complete if it is not changed any more."""


class Settling:
    """The files of one folder, from scan to scan."""

    def __init__(
        self, clock: Clock, settle_seconds: float, quiet_seconds: float, has_writer: HasWriter
    ) -> None:
        """Start with a folder.

        Args:
            clock: the time.
            settle_seconds: how long files must stay unchanged.
            quiet_seconds: the same where open files can't be detected.
            has_writer: detects open files.
        """
        self.settle_seconds = settle_seconds
        self.quiet_seconds = max(settle_seconds, quiet_seconds)
        self.again_in = settle_seconds
        """Seconds after which a file that was incomplete at the last scan may be complete."""
        self._clock = clock
        self._has_writer = has_writer
        self._seen: dict[bytes, tuple[FileStat, float]] = {}
        """The status of each file, and since when, by the monotonic clock."""

    def unsettled(
        self, root: Root, files: Mapping[bytes, FileStat], *, is_local: bool
    ) -> dict[bytes, Reason]:
        """Return which files of a scan are not complete, and why; blocks.

        Args:
            root: their root.
            files: all files of the scan.
            is_local: whether only this machine changes them, and with its clock.
        """
        now = self._clock.monotonic()
        before, self._seen = self._seen, {}
        for path, stat in files.items():
            known, since = before.get(path, (None, now))
            self._seen[path] = (stat, since if known == stat else now)
        self.again_in = self.quiet_seconds
        reasons = {path: self._reason(root, path, is_local=is_local) for path in files}
        return {path: reason for path, reason in reasons.items() if reason}

    def _reason(self, root: Root, path: bytes, *, is_local: bool) -> Reason | None:
        stat, since = self._seen[path]
        unchanged = self._clock.monotonic() - since
        if is_local:
            newest = max(stat.modified_ns, stat.changed_ns) / 1e9
            age = self._clock.now().timestamp() - newest
            # A clock that was set forward makes recently written files look old.
            unchanged = max(unchanged, min(age, self._clock.steady()))
        if unchanged < self.settle_seconds:
            return self._writer("it keeps changing", self.settle_seconds - unchanged)
        is_open = self._is_open(root, path) if is_local else None
        if is_open:
            return self._writer("another process has it open for writing", self.settle_seconds)
        # Nor does a close event from inotify: another process than the writer may have closed it.
        if is_open is None and unchanged < self.quiet_seconds:
            what = (
                "open files can't be detected here, so it must stay unchanged"
                f" for {self.quiet_seconds:.0f} s"
            )
            self.again_in = min(self.again_in, self.quiet_seconds - unchanged)
            return Reason(what, _QUIET, self.quiet_seconds)
        return None

    def _writer(self, what: str, again_in: float) -> Reason:
        self.again_in = min(self.again_in, again_in)
        return Reason(what, _WRITER, self.settle_seconds)

    def _is_open(self, root: Root, path: bytes) -> bool | None:
        try:
            with open_file(root, path) as fd:
                return self._has_writer(fd)
        except OSError:
            # Perhaps transient: too few descriptors, or its writer sets its mode last.
            return None
