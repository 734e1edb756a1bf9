import os
from pathlib import Path

import pytest

from dockd.cli.main import main
from tests.support import write_config

PROFILE = """
[[profiles]]
name = "bodycam"
rules = [
    { pattern = "**/.*", kind = "ignore" },
    { pattern = "/DCIM/100MEDIA/{officer!_}_{time}_E.mp4", kind = "video", event = true, \
time_format = "%Y%m%d%H%M%S" },
    { pattern = "/DCIM/100MEDIA/{officer!_}_{time!_}.mp4", kind = "video", \
time_format = "%Y%m%d%H%M%S" },
    { pattern = "**/*.gps", kind = "sidecar" },
]
"""


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    folder = tmp_path / "camera" / "DCIM" / "100MEDIA"
    folder.mkdir(parents=True)
    (folder / ".index").write_bytes(b"i")
    (folder / "PC1042_20261124190500_E.mp4").write_bytes(b"e")
    (folder / "PC1042_0000.mp4").write_bytes(b"v")
    (folder / "a.gps").write_bytes(b"g")
    return tmp_path / "camera"


def run(tmp_path: Path, *arguments: str, profiles: str = PROFILE, extra: str = "") -> int:
    config = write_config(tmp_path, profiles=profiles, extra=extra)
    return main(["profile", "test", "--config", str(config), *arguments])


def test_each_file_is_shown_with_its_rule_and_what_its_name_says(
    tmp_path: Path, camera: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, str(camera)) == 0
    said = capsys.readouterr().out
    assert "ignore   rule 1   DCIM/100MEDIA/.index (1 B)\n" in said
    assert (
        "video    rule 2   DCIM/100MEDIA/PC1042_20261124190500_E.mp4 (1 B)  event"
        "  officer=PC1042  time=20261124190500  recorded 2026-11-24 19:05:00 "
    ) in said
    assert "officer=PC1042  time=0000  its time does not match %Y%m%d%H%M%S\n" in said
    assert "sidecar  rule 4   DCIM/100MEDIA/a.gps (1 B)\n" in said
    assert said.endswith("bodycam: 1 ignore, 1 sidecar, 2 video\n")


def test_files_that_no_rule_fits_are_shown_and_decide_the_exit_code(
    tmp_path: Path, camera: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (camera / "notes.txt").write_bytes(b"n")
    assert run(tmp_path, str(camera)) == 10
    assert "LEFT     no rule  notes.txt (1 B)\n" in capsys.readouterr().out
    (camera / "DCIM" / "101MEDIA").mkdir()
    (camera / "DCIM" / "101MEDIA" / "PC1042\n_1.mp4").write_bytes(b"v")
    assert run(tmp_path, str(camera)) == 20
    assert "LEFT     no rule  DCIM/101MEDIA/PC1042\\x0a_1.mp4 (1 B)\n" in capsys.readouterr().out


def test_what_can_not_be_looked_at_is_shown(
    tmp_path: Path, camera: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look at everything")
    (camera / "closed").mkdir(mode=0)
    assert run(tmp_path, str(camera)) == 20
    assert "FAILS" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, str(tmp_path / "none")) == 66
    assert "none: No such file" in capsys.readouterr().err


def test_one_of_several_profiles_has_to_be_named_unless_the_folder_is_configured(
    tmp_path: Path, camera: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles = PROFILE + PROFILE.replace("bodycam", "other").replace("100MEDIA", "200MEDIA")
    assert run(tmp_path, str(camera), profiles=profiles) == 64
    assert "bodycam, other" in capsys.readouterr().err
    assert run(tmp_path, str(camera), "--profile", "other", profiles=profiles) == 20
    assert run(tmp_path, str(camera), "--profile", "bodycam", profiles=profiles) == 0
    assert run(tmp_path, str(camera), "--profile", "third", profiles=profiles) == 64
    folder = f'[[folders]]\npath = "{camera}"\nserial = "1"\nprofile = "bodycam"\n'
    assert run(tmp_path, str(camera), profiles=profiles, extra=folder) == 0
