"""Which files of a folder are complete: they rest, and nobody writes to them."""

from collections.abc import Callable, Mapping

from dockd.clock import Clock
from dockd.model import FileStat
from dockd.tree import Root, open_file

_CLOSE_LOST = 600.0
"""Seconds without a change after which a file counts as closed though no watch has said so.

Not less: who is slow to write on would lose what he writes after a wipe.
"""

HasWriter = Callable[[int], bool | None]
"""Tells whether a file is open for writing, or that it can't be told; a test replaces it."""


class Settling:
    """The files of one folder, from look to look."""

    def __init__(self, clock: Clock, settle_seconds: float, has_writer: HasWriter) -> None:
        self.settle_seconds = settle_seconds
        self._clock = clock
        self._has_writer = has_writer
        self._seen: dict[bytes, tuple[FileStat, float]] = {}
        """How each file was, and since when, by the monotonic clock."""
        self._writing: set[bytes] = set()

    def written(self, path: bytes) -> None:
        """Say that a file was written to; ``closed`` will be said as well."""
        self._writing.add(path)

    def closed(self, path: bytes) -> None:
        """Say that a file was closed by whoever wrote to it."""
        self._writing.discard(path)

    def unsettled(
        self, root: Root, files: Mapping[bytes, FileStat], *, is_local: bool
    ) -> dict[bytes, str]:
        """Return which of a look's files are not complete, and why; blocks.

        Args:
            root: where they are.
            files: all files of the look.
            is_local: whether they are changed by this machine alone, and by its clock.
        """
        now = self._clock.monotonic()
        before, self._seen = self._seen, {}
        for path, stat in files.items():
            known, since = before.get(path, (None, now))
            self._seen[path] = (stat, since if known == stat else now)
        # What no look has seen yet may have come after this one went by its folder.
        self._writing -= before.keys() - files.keys()
        reasons = {path: self._reason(root, path, is_local=is_local) for path in files}
        return {path: reason for path, reason in reasons.items() if reason}

    def _reason(self, root: Root, path: bytes, *, is_local: bool) -> str:
        stat, since = self._seen[path]
        unchanged = self._clock.monotonic() - since
        if is_local:
            newest = max(stat.modified_ns, stat.changed_ns) / 1e9
            unchanged = max(unchanged, self._clock.now().timestamp() - newest)
        if unchanged < self.settle_seconds:
            return "it keeps changing"
        is_open = self._is_open(root, path) if is_local else None
        if is_open is None and unchanged < _CLOSE_LOST:
            is_open = path in self._writing
        return "somebody has it open for writing" if is_open else ""

    def _is_open(self, root: Root, path: bytes) -> bool | None:
        try:
            with open_file(root, path) as fd:
                return self._has_writer(fd)
        except OSError:
            # Reading it will fail as well, and tell what is wrong.
            return False
