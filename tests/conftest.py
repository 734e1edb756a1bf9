"""What every test may ask for."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.station.support import Site

# Whoever starts the tests in the background may ignore signals, and so would every process that
# a test starts; what has a handler here has its default there.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty site."""
    with Site(tmp_path) as site:
        yield site
