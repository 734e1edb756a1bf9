"""What every test may ask for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.support import Site

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


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Number what is long, as a key is: made anew in every process that collects the tests."""
    return argname if isinstance(val, str | bytes) and len(val) > 50 else None


def pytest_xdist_auto_num_workers() -> int:
    """Use more processes than there are processors: most tests wait for others, or for a disk."""
    return len(os.sched_getaffinity(0)) + 1


_MAY_SKIP = ("mounting is not permitted here", "root may look at everything")
"""Where the tests run decides about these, and no package."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a test was skipped that must not be; ``DOCKD_ALL_TESTS`` is set in CI."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "DOCKD_ALL_TESTS" not in os.environ or reporter is None:
        return
    for report in reporter.stats.get("skipped", []):
        if not any(reason in str(report.longrepr) for reason in _MAY_SKIP):
            reporter.write_line(f"must not be skipped: {report.nodeid}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
