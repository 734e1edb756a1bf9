"""What every test may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.station.support import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty site."""
    with Site(tmp_path) as site:
        yield site
