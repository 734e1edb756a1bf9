from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import Daemon
from tests.cli.test_cli import Shell


@pytest.fixture
def dockd(capsysbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(capsysbinary)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def daemon(socket: Path) -> Iterator[Daemon]:
    daemon = Daemon()
    with daemon.running(socket):
        yield daemon
