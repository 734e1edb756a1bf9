"""Brings a camera's docking to a stage, and holds it there by making something slow."""

import subprocess
from enum import StrEnum

import pytest

from tests.vm.machine import Camera, Machine
from tests.vm.media import clip
from tests.vm.shell import PATIENCE
from tests.vm.station import Bodycam, Station


class Stage(StrEnum):
    """What goes on when a camera is pulled, or dockd killed."""

    INGEST = "ingest"
    UPLOAD = "upload"
    WIPE = "wipe"


def each_stage(*, first: Stage) -> list[object]:
    """Return the stages for a test's parameters: one always, the others where there is time."""
    others = [stage for stage in Stage if stage is not first]
    return [first, *(pytest.param(stage, marks=pytest.mark.thorough) for stage in others)]


def record(name: str) -> dict[str, bytes]:
    """Return files that take a while to be read and sent: three clips, and one that is none."""
    clips = {f"DCIM/{number}.mp4": clip((name, number), 2_000_000) for number in range(3)}
    return {**clips, "DCIM/settings.txt": b"volume=3\n"}


def reach(station: Station, camera: Bodycam, stage: Stage) -> Camera:
    """Dock a camera, and return when it is in a stage; it stays there for some seconds."""
    since = station.mark()
    if stage is Stage.INGEST:
        plugged = station.plug(camera)
        station.machine.limit(plugged, **{"bps-read": 700_000})
        # One clip is sealed, so the next one is being read.
        station.wait_for("clip.spooled", camera, since=since)
    elif stage is Stage.UPLOAD:
        station.machine.run("tc qdisc add dev lo root tbf rate 3mbit burst 128kb latency 1s")
        plugged = station.plug(camera)
        station.machine.journal.wait_for("receiver.upload_created", since=since)
    else:
        window = _Window(station.machine)
        plugged = station.plug(camera)
        station.machine.limit(plugged, **{"iops-write": 2})
        window.wait()
    return plugged


def let_go(station: Station, plugged: Camera) -> None:
    """Make everything fast again."""
    station.machine.run("tc qdisc del dev lo root; true")
    if plugged in station.machine.cameras:
        station.machine.limit(plugged)


class _Window:
    """Waits for a camera to be mounted read-write."""

    def __init__(self, machine: Machine) -> None:
        self._process = subprocess.Popen(
            machine.shell.command("findmnt --poll=mount --first-only --options rw --noheadings"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        assert self._process.wait(PATIENCE) == 0
