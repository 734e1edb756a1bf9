"""What the tests of the control API may ask for."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes.support import Process, Site
from tests.station.control.support import SOCKET, Asking, Start, with_control


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Start a station of the site and wait until it takes orders."""
    with ExitStack() as stack:

        def begin(config: Path) -> tuple[Process, Asking]:
            station = site.start_station(with_control(config))
            station.wait_for("control.listens")
            station.wait_for("daemon.started")
            asking = Asking(config.parent / SOCKET)
            stack.enter_context(asking.http)
            return station, asking

        yield begin


@pytest.fixture
def asked(site: Site, start: Start) -> Asking:
    """A station without cameras."""
    site.start_receiver("camden")
    _, asking = start(site.configure("camden"))
    return asking
