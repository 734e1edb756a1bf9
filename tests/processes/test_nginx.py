"""The station and the receiver with a real nginx between them, as people set it up."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.processes.support import PATIENCE, Process, Site

MIB = 2**20
SIZES = (30 * MIB, 3 * MIB, 100)

_CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        {extra}
        location /evidence/ {{
            proxy_pass http://127.0.0.1:{upstream}/;
            {location}
        }}
    }}
}}
"""


class Nginx:
    """nginx before a site's receiver."""

    def __init__(self, site: Site) -> None:
        self._folder = site.folder / "nginx"
        self._folder.mkdir()
        self._upstream = urlsplit(site.url).port
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}/evidence/"

    def start(self, *, extra: str = "", location: str = "") -> None:
        """Start it, or start it again with another configuration."""
        self.stop()
        config = self._folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=self._folder,
                port=self._port,
                upstream=self._upstream,
                extra=extra,
                location=location,
            )
        )
        self._process = subprocess.Popen(
            ["nginx", "-e", str(self._folder / "error.log"), "-p", str(self._folder), "-c", config]
        )
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            assert self._process.poll() is None, (self._folder / "error.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def nginx(site: Site) -> Iterator[Nginx]:
    """An nginx that is not started yet, before a receiver that is."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    site.start_receiver("camden")
    nginx = Nginx(site)
    yield nginx
    nginx.stop()


def start(site: Site, nginx: Nginx) -> Process:
    """Start a station that knows the receiver behind nginx only."""
    direct, site.url = site.url, nginx.url
    try:
        return site.start_station(site.configure("camden", "CAM-1"))
    finally:
        site.url = direct


def said(station: Process, name: str) -> list[dict[str, object]]:
    return [event for event in station.events if event["event"] == name]


def test_a_path_prefix_works(site: Site, nginx: Nginx) -> None:
    nginx.start()
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(MIB // 2), "b.mp4": b"b"})
    start(site, nginx).wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_long_clip_passes_the_default_body_limit_by_itself(site: Site, nginx: Nginx) -> None:
    nginx.start()
    digests = site.fill("CAM-1", {f"{n}.mp4": os.urandom(size) for n, size in enumerate(SIZES)})
    station = start(site, nginx)
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    assert said(station, "target.pieces_smaller")[-1]["now"] == MIB
    assert not said(station, "clip.rejected")


def test_a_body_limit_below_every_piece_is_told_and_rejects_nothing(
    site: Site, nginx: Nginx
) -> None:
    nginx.start(extra="client_max_body_size 10k;")
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(MIB)})
    station = start(site, nginx)
    event = station.wait_for("clip.retrying")
    assert "client_max_body_size" in event["hint"]
    nginx.start()
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    assert not said(station, "clip.rejected")


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_request_buffering_holds_nothing_up(site: Site, nginx: Nginx, buffering: str) -> None:
    nginx.start(
        extra="client_max_body_size 0;",
        location=f"proxy_request_buffering {buffering}; proxy_http_version 1.1;",
    )
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(8 * MIB)})
    station = start(site, nginx)
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    assert not said(station, "target.pieces_smaller")


def test_a_login_before_the_server_is_told_as_that(site: Site, nginx: Nginx) -> None:
    passwords = site.folder / "passwords"
    passwords.write_text("somebody:{PLAIN}secret\n")
    passwords.chmod(0o644)
    site.folder.chmod(0o755)
    nginx.start(location=f'auth_basic "staff only"; auth_basic_user_file {passwords};')
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    station = start(site, nginx)
    event = station.wait_for("target.down")
    assert "requires a login (Basic)" in event["detail"]
    assert "nginx" in event["detail"]
    assert "auth_basic off" in event["hint"]
    nginx.start()
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_server_that_is_down_behind_nginx_is_waited_for(site: Site, nginx: Nginx) -> None:
    site.processes[0].stop()
    nginx.start()
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    station = start(site, nginx)
    event = station.wait_for("target.down")
    assert "502" in event["detail"]
    assert "the server behind it is down" in event["hint"]
    site.start_receiver()
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_server_that_does_not_answer_nginx_is_waited_for(site: Site, nginx: Nginx) -> None:
    site.processes[0].stop()
    with socket.create_server(("127.0.0.1", urlsplit(site.url).port or 0)):
        nginx.start(location="proxy_read_timeout 1s;")
        digests = site.fill("CAM-1", {"a.mp4": b"a"})
        station = start(site, nginx)
        assert "504" in station.wait_for("target.down")["detail"]
    site.start_receiver()
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def deep(levels: int) -> str:
    return "/".join("d" * 200 + str(n) for n in range(levels)) + "/a.mp4"


def test_a_long_path_passes_the_default_header_limit(site: Site, nginx: Nginx) -> None:
    nginx.start()
    digests = site.fill("CAM-1", {deep(19): b"deep", "b.mp4": b"b"})
    station = start(site, nginx)
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    assert not said(station, "clip.retrying")


def test_a_header_that_is_too_long_is_told_and_rejects_nothing(site: Site, nginx: Nginx) -> None:
    nginx.start(extra="large_client_header_buffers 4 1k;")
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    station = start(site, nginx)
    event = station.wait_for("clip.retrying")
    assert "large_client_header_buffers" in event["hint"]
    assert not said(station, "clip.rejected")
    nginx.start()
    station.wait_for("camera.wiped")
    assert site.opened() == digests


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("return 200 '<html><title>Station WiFi</title></html>'; default_type text/html;", "200"),
        ("return 204;", "204"),
        ("return 302 http://portal.example/login;", "302"),
        ("return 403;", "403"),
        ("return 511;", "511"),
        ("return 400;", "400"),
        ("return 200 'please log in'; default_type '';", "200"),
    ],
)
def test_what_answers_for_the_server_rejects_nothing_and_gives_no_receipt(
    site: Site, nginx: Nginx, what: str, told: str
) -> None:
    nginx.start(location=what)
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    station = start(site, nginx)
    event = station.wait_for("target.down")
    assert "an intermediary before the server (nginx" in event["detail"]
    assert told in event["detail"]
    nginx.start()
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    for name in ("clip.rejected", "receipt.refused"):
        assert not said(station, name)
