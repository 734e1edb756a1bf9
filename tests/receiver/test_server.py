"""The receiver as a process."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import structlog

from dockd.receiver import server
from tests.receiver.support import PATCH, TUS, Site, Station, make_site, process

STATION = Station()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, STATION)


def test_sigterm_ends_it_at_once_and_an_upload_in_flight_goes_on_later(site: Site) -> None:
    clip = STATION.clip(b"x" * 4_000_000)
    with process(site) as (child, address), httpx.Client(base_url=address) as client:
        created = client.post("files/", headers=clip.creation)
        path = created.url.join(created.headers["Location"]).path
        host = httpx.URL(address)
        assert host.port is not None
        with socket.create_connection((host.host, host.port)) as connection:
            headers = {**PATCH, "Host": "a", "Upload-Offset": "0", "Content-Length": "4000000"}
            lines = [f"PATCH {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
            connection.sendall("\r\n".join(lines).encode() + clip.data[:3_000_000])
            part = next((site.store / "incoming").glob("*.part"))
            while part.stat().st_size < 1_000_000:
                pass
            child.send_signal(signal.SIGTERM)
            answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert child.wait(20) == 0
    with process(site) as (_, address), httpx.Client(base_url=address) as client:
        offset = int(client.head(path, headers=TUS).headers["Upload-Offset"])
        assert offset >= 1_000_000
        headers = {**PATCH, "Upload-Offset": str(offset)}
        assert client.patch(path, content=clip.data[offset:], headers=headers).status_code == 204
        headers = {"Content-Type": "application/jose", "Prefer": "wait=20"}
        receipt = client.put(f"receipts/{clip.id}", content=clip.token, headers=headers)
        site.receipt(receipt.text, clip)


@pytest.mark.parametrize("method", ["write_at", "fsync"])
def test_a_disk_that_hangs_does_not_keep_it_from_ending(site: Site, method: str) -> None:
    clip = STATION.clip()
    with process(site, "tests.receiver.hanging", method) as (child, address):
        host = httpx.URL(address)
        assert host.port is not None
        with socket.create_connection((host.host, host.port)) as connection:
            headers = {**clip.creation, "Host": "a", "Content-Length": str(len(clip.data))}
            headers["Content-Type"] = PATCH["Content-Type"]
            lines = ["POST /files/ HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
            connection.sendall("\r\n".join(lines).encode() + clip.data)
            assert "hangs\n" in iter(child.stderr.readline, "")
            child.terminate()
            assert child.wait(30) == 0
        events = [json.loads(line)["event"] for line in child.stderr if line.startswith("{")]
    assert {"receiver.cut_short", "receiver.stopped"} & set(events)


def failure(site: Site) -> tuple[int, dict[str, str]]:
    """Start a receiver that can't run; return its exit code and its last words."""
    command = [sys.executable, "-m", "dockd", "receiver", "--config", str(site.config_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    event: dict[str, str] = json.loads(ended.stderr.splitlines()[-1])
    assert event["event"] == "receiver.failed"
    assert event["hint"]
    return ended.returncode, event


def test_a_second_receiver_on_the_store_says_so_and_gives_up(site: Site) -> None:
    with process(site):
        exit_code, event = failure(site)
    assert (exit_code, event["error"]) == (75, "store.busy")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        exit_code, event = failure(make_site(tmp_path, STATION, listen={"port": port}))
    assert (exit_code, event["error"]) == (75, "listen.failed")
    assert str(port) in event["detail"]


def test_an_address_that_is_not_there_yet_is_worth_another_try(tmp_path: Path) -> None:
    # TEST-NET-1, RFC 5737: nobody's.
    exit_code, event = failure(make_site(tmp_path, STATION, listen={"host": "192.0.2.1"}))
    assert (exit_code, event["error"]) == (75, "listen.failed")
    assert "192.0.2.1" in event["detail"]


def test_a_name_that_is_none_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    exit_code, event = failure(make_site(tmp_path, STATION, listen={"host": "a..b"}))
    assert (exit_code, event["error"]) == (78, "config.invalid")


def test_a_missing_key_is_named(site: Site) -> None:
    (site.folder / "receiver.key").unlink()
    exit_code, event = failure(site)
    assert (exit_code, event["error"]) == (78, "key.unusable")


def test_a_wrong_configuration_is_told_in_the_log(site: Site) -> None:
    site.config_path.write_text("[receiver]\n")
    command = [sys.executable, "-m", "dockd", "receiver", "--config", str(site.config_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 78
    (line,) = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert (line["event"], line["error"]) == ("receiver.failed", "config.invalid")


def test_what_nobody_foresaw_is_told_in_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server, "open_receiver", fail)
    with structlog.testing.capture_logs() as log, monkeypatch.context() as patched:
        patched.setattr(server, "configure", lambda **_: None)
        assert server.run(site.config_path) == 70
    (line,) = [line for line in log if line["event"] == "receiver.failed"]
    assert line["error"] == "unforeseen"
    assert isinstance(line["exc_info"], ZeroDivisionError)


def test_ipv6_can_be_listened_on(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, listen={"host": "::1"})
    with process(site) as (_, address):
        assert address.startswith("http://[::1]:")
        assert httpx.get(f"{address}healthz").status_code == 200


def test_systemd_is_told_when_it_listens_that_it_works_and_when_it_stops(site: Site) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(site.folder / "notify"))
        manager.settimeout(30)

        def heard(wanted: str) -> str:
            while True:
                message = manager.recv(4096).decode()
                if message.startswith(wanted):
                    return message

        environment = {
            "NOTIFY_SOCKET": str(site.folder / "notify"),
            "WATCHDOG_USEC": "4000000",
        }
        with process(site, environment=environment) as (child, address):
            heard("READY=1")
            assert httpx.get(f"{address}healthz").status_code == 200
            assert heard("STATUS=") == "STATUS=0 uploads under way"
            heard("WATCHDOG=1")
            child.send_signal(signal.SIGTERM)
            heard("STOPPING=1")
            assert child.wait(20) == 0
