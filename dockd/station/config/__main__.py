"""Writes ``config.example.toml``: ``python -m dockd.station.config``."""

import sys

from dockd.base import settings
from dockd.station.config import EXAMPLE_HEADING, Config

sys.stdout.write(settings.write_example(Config, EXAMPLE_HEADING))
