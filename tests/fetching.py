"""What tests fetch or build outside their own folders, once, whichever process needs it first."""

import fcntl
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache"


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Let no other process of the tests into the same part meanwhile."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def npm_ci(folder: Path) -> None:
    """Install what a folder's lock file pins, where that is not done yet."""
    pinned = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    done = folder / "node_modules" / ".pinned"
    with alone("npm"):
        if not done.exists() or done.read_text() != pinned:
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True)
            done.write_text(pinned)
