"""A receiver whose disk hangs: ``python -m tests.receiver.hanging METHOD CONFIG``."""

import sys
import time
from pathlib import Path

from dockd.host.files import Files
from dockd.receiver.server import run

_LONG = 3600.0


def main(method: str, config: Path) -> int:
    """Run the receiver on a disk that never answers one kind of request."""

    def hang(*_: object) -> None:
        sys.stderr.write("hangs\n")
        sys.stderr.flush()
        time.sleep(_LONG)

    setattr(Files, method, hang)
    return run(config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
