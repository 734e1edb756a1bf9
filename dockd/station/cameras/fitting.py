"""How a profile's rules match the files in a folder, for the author of the rules."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dockd.station.cameras.leftovers import Leftovers, weigh
from dockd.station.cameras.profile import Fit, Profile
from dockd.station.cameras.tree import Failures, Root, walk


@dataclass(frozen=True)
class Examined:
    """How a profile's rules match all files of a folder."""

    kinds: Counter[str]
    """The number of files per kind of rule."""
    left_alone: Leftovers
    failures: Failures
    """What could not be read, and why."""

    def summary(self) -> str:
        """Return it as part of a sentence."""
        parts = [f"{count} files of kind {kind}" for kind, count in sorted(self.kinds.items())]
        left = self.left_alone
        if left.files:
            such = f", such as {left.named[0]}" if left.named else ""
            parts.append(f"{left.files} files ({left.size} bytes) fit no rule{such}")
        return ", ".join(parts) or "no files"


def fits(
    folder: Path, profile: Profile, failures: Failures
) -> Iterator[tuple[bytes, int, Fit | None]]:
    """Yield each file below a folder, its size and the rule that fits it; blocks.

    Raises:
        OSError: the folder could not be read.
    """
    for listed in walk(Root(folder), failures):
        yield listed.path, listed.status.st_size, profile.find(listed.path)


def examined(folder: Path, profile: Profile) -> Examined:
    """Return how a profile's rules match all files of a folder; blocks.

    Raises:
        OSError: the folder could not be read.
    """
    kinds: Counter[str] = Counter()
    left: dict[bytes, int] = {}
    failures: Failures = {}
    for path, size, fit in fits(folder, profile, failures):
        if fit is None:
            left[path] = size
        else:
            kinds[fit.config.kind] += 1
    return Examined(kinds, weigh(left), failures)
