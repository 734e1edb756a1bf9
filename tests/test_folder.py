from pathlib import Path

from dockd.sources.folder import filesystem_type
from tests.support import small_disk


def test_the_file_system_under_a_path_is_known_by_its_type(tmp_path: Path) -> None:
    with small_disk(tmp_path / "with space", size="1m") as disk:
        assert filesystem_type(disk / "a" / "b") == "tmpfs"
    assert filesystem_type(Path("/proc/self")) == "proc"


def test_a_link_is_of_the_file_system_that_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/proc")
    assert filesystem_type(link / "version") == "proc"
