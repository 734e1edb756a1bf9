"""``python -m dockd`` is ``dockd``."""

import sys

from dockd.cli import main

if __name__ == "__main__":
    sys.exit(main())
