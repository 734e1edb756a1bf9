from dockd.station.control.views import LeftAloneView, Verdict
from tests.processes.support import Site
from tests.station.control.support import Start, status_until


def test_a_camera_whose_folder_rolled_over_to_one_that_no_rule_knows_needs_a_person(
    site: Site, start: Start
) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    rules = config.read_text()
    config.write_text(rules.replace('"**/*.mp4"', '"DCIM/100MEDIA/*.mp4"'))
    site.fill("CAM-1", {"DCIM/100MEDIA/a.mp4": b"a", "DCIM/101MEDIA/b.mp4": b"bb"})
    _, asking = start(config)
    status = status_until(asking, lambda status: bool(status.cameras and status.troubles))
    (camera,) = status.cameras
    assert not camera.safe_to_take
    assert camera.left_alone == LeftAloneView(files=1, size=2, suspect=1)
    assert status.verdict is Verdict.NEEDS_PERSON
    (trouble,) = status.troubles
    assert trouble.event == "camera.files_left"
    assert "DCIM/101MEDIA/b.mp4" in trouble.what
