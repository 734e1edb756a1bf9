"""A real daemon on folder cameras, and who asks it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from dockd.station.control.decoding import decode
from dockd.station.control.views import ClipStory, ClipView, PauseView, ResyncAnswer, Status
from tests.processes.support import PATIENCE, Process

SOCKET = "control.sock"


class Asking:
    """Asks a daemon on its control socket."""

    def __init__(self, socket: Path) -> None:
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://dockd/v1/", timeout=30
        )

    def status(self) -> Status:
        return decode(Status, self._ok(self.http.get("status")))

    def clips(self, **query: Any) -> list[ClipView]:
        answer = self.http.get("clips", params=query)
        assert answer.status_code == 200, answer.text
        return decode(list[ClipView], answer.text)

    def story(self, name: object) -> ClipStory:
        return decode(ClipStory, self._ok(self.http.get(f"clips/{name}")))

    def resync(self, **order: Any) -> ResyncAnswer:
        return decode(ResyncAnswer, self._ok(self.http.post("resync", json=order)))

    def pause(self, *what: str, reason: str = "a test", **order: Any) -> list[PauseView]:
        answer = self.http.post("pause", json={"what": what, "reason": reason, **order})
        assert answer.status_code == 200, answer.text
        return decode(list[PauseView], answer.text)

    def resume(self, *what: str) -> list[PauseView]:
        answer = self.http.post("resume", json={"what": what})
        assert answer.status_code == 200, answer.text
        return decode(list[PauseView], answer.text)

    def _ok(self, answer: httpx.Response) -> str:
        assert answer.status_code == 200, answer.text
        return answer.text


Start = Callable[[Path], tuple[Process, Asking]]


def with_control(config: Path, *, socket: str = SOCKET, listen: str = "") -> Path:
    """Let a site's station be asked."""
    text = config.read_text().replace('socket = ""', f'socket = "{socket}"')
    config.write_text(text.replace('listen = ""', f'listen = "{listen}"'))
    return config


def status_until(asking: Asking, holds: Callable[[Status], bool]) -> Status:
    """Follow a daemon's events until a status is as it should be; it sends signs of life."""
    end = time.monotonic() + PATIENCE
    with asking.http.stream("GET", "events") as answer:
        for line in answer.iter_lines():
            assert time.monotonic() < end, "no such status came"
            if line.startswith("data: "):
                status = decode(Status, line.removeprefix("data: "))
                if holds(status):
                    return status
    raise AssertionError("the daemon ended")
