"""A disk that hangs may hang a thread, and never the event loop."""

import signal
from pathlib import Path

from tests.processes.support import Site


def test_nothing_that_the_event_loop_does_touches_a_disk(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a", "b.gps": b"b"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", "CAM-2", policy="overwrite")
    text = config.read_text()
    config.write_text(text.replace('socket = ""', 'socket = "control.sock"'))
    notes = site.folder / "notes"
    station = site.start("tests.processes.guarded", str(config), str(notes), log="guarded")
    station.wait_for("camera.wiped")
    station.signal(signal.SIGHUP)
    station.wait_for("config.reloaded")
    site.camera("CAM-2").rmdir()
    station.wait_for("camera.undocked", lambda event: event["camera"] == "bodycam:CAM-2")
    site.fill("CAM-2", {"c.mp4": b"c"})
    station.wait_for("camera.wiped", lambda event: event["camera"] == "bodycam:CAM-2")
    assert station.stop() == 0
    assert Path(notes).read_text() == ""
