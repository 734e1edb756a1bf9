"""``python -m dockd`` is ``dockd``."""

import sys

from dockd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
