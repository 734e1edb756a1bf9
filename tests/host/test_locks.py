import subprocess
import sys
from pathlib import Path

import pytest

from dockd.host.locks import exclusive


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(BlockingIOError), exclusive(path):
            raise AssertionError("it was held twice")
    with exclusive(path):
        pass


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, sys; from pathlib import Path; from dockd.host.locks import exclusive;"
        "held = exclusive(Path(sys.argv[1])); held.__enter__(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    with exclusive(path):
        pass
