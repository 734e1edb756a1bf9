from pathlib import Path

import pytest

from tests.station.check.support import Patient


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)
