"""The control API of a station in this process."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
import structlog

from dockd.base.clock import Clock
from dockd.base.errors import (
    CameraRefusedError,
    ControlError,
    JournalBrokenError,
    LedgerError,
    WipeDamageError,
)
from dockd.evidence.statements import JournalHead
from dockd.station import events
from dockd.station.control import api, client, feed
from dockd.station.control.decoding import decode
from dockd.station.control.listening import unix_listener
from dockd.station.control.openapi import document
from dockd.station.control.reading import Facts, Reader
from dockd.station.control.views import ClipStory, ClipView, Stage, Status, Verdict
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.ledger import Ledger
from dockd.station.ledger.queries import Queries
from dockd.station.model import Camera, FoundFile, Match
from tests.station.control.inside import HangingDisk, Inside, at_work
from tests.usb import FakeMounter, FakeUdev

DOCUMENT = Path(__file__).parents[3] / "docs" / "control-api.json"


def folder_camera(path: Path, serial: str = "CAM-1") -> str:
    path.mkdir(exist_ok=True)
    return (
        f'\n[[folders]]\npath = "{path}"\nserial = "{serial}"\nprofile = "generic"\n'
        "settle_seconds = 0\nrescan_seconds = 1\n"
    )


def in_spool(status: Status) -> int:
    return status.clips.get("spooled", 0) + status.clips.get("uploading", 0)


def test_the_status_is_answered_while_every_thread_and_the_ledger_hang(tmp_path: Path) -> None:
    async def ask() -> Status:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        async with at_work(tmp_path) as inside:
            released, held = threading.Event(), threading.Event()

            def hold_ledger() -> None:
                with inside.ledgers[0].database.lock:
                    held.set()
                    released.wait()

            threads = [asyncio.to_thread(hold_ledger), asyncio.to_thread(released.wait)]
            blocked = [asyncio.ensure_future(thread) for thread in threads]
            try:
                while not held.is_set():  # noqa: ASYNC110  # a thread sets it
                    await asyncio.sleep(0.001)
                return await inside.status()
            finally:
                released.set()
                await asyncio.wait(blocked)

    status = asyncio.run(ask())
    assert status.station.id == "camden-07"
    assert status.troubles == []


def test_a_status_that_is_from_before_says_so_until_it_is_fresh_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_PATIENCE", 0.02)
    disk = HangingDisk()

    async def ask() -> tuple[Status, Status]:
        async with at_work(tmp_path, files=disk) as inside:
            disk.gate.clear()
            stale = await inside.status()
            disk.gate.set()
            return stale, await inside.until(lambda status: not status.troubles)

    stale, fresh = asyncio.run(ask())
    (trouble,) = stale.troubles
    assert trouble.event == "status.stale"
    assert trouble.hint
    assert stale.verdict is Verdict.WORKING
    assert fresh.verdict is Verdict.WELL
    assert fresh.spool.free > 0


def test_a_mistake_in_what_is_told_is_shown_and_ends_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> Facts:
        raise KeyError("a mistake")

    async def ask() -> tuple[Status, Status]:
        async with at_work(tmp_path) as inside:
            monkeypatch.setattr(Reader, "facts", mistaken)
            wrong = await inside.status()
            monkeypatch.undo()
            return wrong, await inside.until(lambda status: not status.troubles)

    with structlog.testing.capture_logs() as log:
        wrong, right = asyncio.run(ask())
    assert [one.event for one in wrong.troubles] == ["status.stale"]
    assert wrong.verdict is Verdict.NEEDS_PERSON
    assert right.verdict is Verdict.WELL
    (told,) = [line for line in log if line["event"] == "status.stale"]
    assert told["error"] == "unforeseen"


def test_a_mistake_in_putting_a_status_together_is_an_answer_and_ends_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> Status:
        raise KeyError("DCIM/secret-name.mp4")

    async def ask() -> httpx.Response:
        async with at_work(tmp_path) as inside:
            async with inside.http.stream("GET", "events"):
                monkeypatch.setattr(feed, "compose", mistaken)
                answer = await inside.http.get("status")
            monkeypatch.undo()
            await inside.status()
            return answer

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.json()["error"] == "unforeseen"
    assert "secret-name" not in answer.text


def test_what_tells_of_the_station_reads_its_ledger_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runs = feed.StatusFeed.run, 0

    async def fail_once(*args: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise KeyError("x")
        await run(*args)

    monkeypatch.setattr(feed.StatusFeed, "run", fail_once)

    async def ask() -> httpx.Response:
        async with at_work(tmp_path) as inside:
            while runs < 2:  # noqa: ASYNC110  # nothing tells that it is started again
                await asyncio.sleep(0.01)
            return await inside.http.get("clips")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (200, [])


def test_what_only_a_person_can_mend_is_shown_wherever_the_station_is(tmp_path: Path) -> None:
    broken = JournalBrokenError("entry 2", hint="see docs/operate.md")
    damaged = WipeDamageError("1 files, first DCIM/secret-name.txt", hint="take it out of service")
    harmed = events.wipe_damaged(camera="generic:CAM-1", files=1, paths=["DCIM/secret-name.txt"])

    async def ask() -> tuple[Status, list[httpx.Response]]:
        with structlog.testing.capture_logs() as log:
            async with at_work(tmp_path, listen="127.0.0.1:0") as inside:
                incidents = inside.station.activity.incidents.scope("test")
                incidents.failed(events.journal_broken(), broken)
                incidents.failed(harmed, damaged)
                url = next(
                    line["address"] for line in log if "http" in str(line.get("address", ""))
                )
                async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
                    paths = ("v1/display", "v1/technician", "metrics")
                    return await inside.status(), [await http.get(path) for path in paths]

    status, (display, technician, scraped) = asyncio.run(ask())
    assert status.verdict is Verdict.NEEDS_PERSON
    assert {one.event for one in status.troubles if one.needs_person} == {
        "journal.broken",
        "wipe.damaged",
    }
    assert display.json()["verdict"] == "needs-person"
    assert "secret-name" not in technician.text
    assert {one["hint"]: one["what"] for one in technician.json()["troubles"]} == {
        broken.hint: broken.message,
        damaged.hint: WipeDamageError().message,
    }
    assert 'dockd_troubles{needs_person="true"} 2.0' in scraped.text


def test_a_journal_that_cannot_be_read_is_not_told_as_tampering_and_is_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = True
    sound = Journal.verify

    def verify(journal: Journal) -> JournalHead:
        if fails:
            raise LedgerError("disk I/O error", hint="check the disk")
        return sound(journal)

    async def run() -> None:
        nonlocal fails
        async with at_work(tmp_path) as inside:
            status = await inside.until(lambda status: bool(status.troubles))
            assert [one.event for one in status.troubles] == ["journal.unreadable"]
            fails = False
            await inside.until(lambda status: not status.troubles)

    monkeypatch.setattr(Journal, "verify", verify)
    monkeypatch.setattr("dockd.station.app._JOURNAL_PAUSE", 0.05)
    with structlog.testing.capture_logs() as log:
        asyncio.run(run())
    said = [line["event"] for line in log if line["event"].startswith("journal.")]
    assert said == ["journal.unreadable", "journal.readable"]


def test_a_ledger_that_cannot_be_read_is_not_told_as_a_clip_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_ledger: Ledger, _number: int) -> NoReturn:
        raise LedgerError("disk I/O error", hint="check the disk")

    async def run() -> None:
        async with at_work(tmp_path) as inside:
            answer = await inside.http.post("resync", json={"clip": 1})
            assert answer.status_code == 404
            monkeypatch.setattr(Queries, "known_clip", unreadable)
            answer = await inside.http.post("resync", json={"clip": 1})
            assert answer.status_code == 503
            assert "disk I/O error" in answer.json()["detail"]

    asyncio.run(run())


def test_an_order_that_is_only_half_sent_is_nothing_to_complain_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with at_work(tmp_path) as inside:
            _, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
            writer.write(b"POST /v1/resync HTTP/1.1\r\nHost: dockd\r\nContent-Length: 100\r\n\r\n{")
            await writer.drain()
            # Answered behind it, so the half has arrived.
            await inside.status()
            writer.close()
            await writer.wait_closed()
            assert (await inside.http.post("resync", json={})).status_code == 200

    with structlog.testing.capture_logs() as log:
        asyncio.run(run())
    assert not caplog.records
    assert [line["event"] for line in log].count("order.resync") == 1


def test_an_order_that_the_ledger_holds_up_is_carried_out_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_PATIENCE", 0.05)

    async def order() -> tuple[httpx.Response, Status]:
        async with at_work(tmp_path) as inside:
            released, held = threading.Event(), threading.Event()

            def hold_ledger() -> None:
                with inside.ledgers[0].database.lock:
                    held.set()
                    released.wait()

            holding = asyncio.ensure_future(asyncio.to_thread(hold_ledger))
            while not held.is_set():  # noqa: ASYNC110  # a thread sets it
                await asyncio.sleep(0.001)
            answer = await inside.http.post("pause", json={"what": ["wipes"], "reason": "x"})
            released.set()
            await holding
            return answer, await inside.until(lambda status: bool(status.pauses))

    answer, status = asyncio.run(order())
    assert answer.status_code == 503
    assert answer.json()["error"] == "busy"
    assert [pause.what for pause in status.pauses] == ["wipes"]


@pytest.mark.parametrize(
    ("path", "order", "code"),
    [
        ("pause", {"what": ["uploads"], "reason": ""}, 422),
        ("pause", {"what": [], "reason": "x"}, 422),
        ("pause", {"what": ["ingest"], "reason": "x"}, 422),
        ("pause", {"what": ["uploads"], "reason": "x", "until": "tomorrow"}, 422),
        ("pause", {"what": ["uploads"], "reason": "x", "until": "2001-01-01T00:00:00.000Z"}, 422),
        ("pause", {"what": ["uploads"], "reason": "x", "until": "2099-99-99T99:99:99.999Z"}, 422),
        ("pause", {"what": ["uploads"], "reason": "x", "until": "2099-02-29T12:00:00.000Z"}, 422),
        ("pause", {"what": ["uploads"], "reason": "x", "until": "२०९९-01-01T00:00:00.000Z"}, 422),
        ("pause", {"what": ["uploads"], "reason": "x", "for": 5}, 422),
        ("pause", [], 422),
        ("pause", {"what": ["uploads"], "reason": "x" * 100_000}, 413),
        ("resume", {}, 422),
        ("resync", {"clip": "one"}, 422),
        ("resync", {"clip": 9}, 404),
        ("resync", {"clip": 2**63 - 1}, 404),
        ("resync", {"clip": 99999999999999999999}, 422),
        ("resync", {"camera": "CAM-9"}, 404),
        ("nothing", {}, 404),
        ("status", {}, 405),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, path: str, order: object, code: int
) -> None:
    async def give() -> httpx.Response:
        async with at_work(tmp_path) as inside:
            before = inside.ledgers[0].journal.head()
            answer = await inside.http.post(path, json=order)
            assert inside.ledgers[0].journal.head() == before
            assert (await inside.status()).pauses == []
            return answer

    answer = asyncio.run(give())
    assert answer.status_code == code
    assert answer.json()["error"]
    assert answer.json()["detail"]


def test_a_resync_looks_at_every_camera_or_at_one_and_is_journalled_with_the_peers_uid(
    tmp_path: Path,
) -> None:
    extra = folder_camera(tmp_path / "1", "CAM-1") + folder_camera(tmp_path / "2", "CAM-2")

    async def order() -> None:
        async with at_work(tmp_path, extra=extra) as inside:
            await inside.until(lambda status: len(status.cameras) == 2)
            every = (await inside.http.post("resync", json={})).json()
            one = (await inside.http.post("resync", json={"camera": "CAM-2"})).json()
            place = (await inside.http.post("resync", json={"camera": str(tmp_path / "1")})).json()
            entries = [e for e in inside.ledgers[0].journal.entries() if e.event == "order.resync"]
        assert every["cameras"] == ["generic:CAM-1", "generic:CAM-2"]
        assert one["cameras"] == ["generic:CAM-2"]
        assert place["cameras"] == ["generic:CAM-1"]
        assert [entry.seq for entry in entries] == [a["order"] for a in (every, one, place)]
        assert entries[1].detail == {
            "uid": os.getuid(),
            "named": "CAM-2",
            "failed": False,
            "reupload": False,
        }

    asyncio.run(order())


def test_clips_are_listed_newest_first_and_each_has_its_story(tmp_path: Path) -> None:
    extra = folder_camera(tmp_path / "1")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "1" / name).write_bytes(name.encode())

    async def ask() -> None:
        async with at_work(tmp_path, extra=extra) as inside:
            await inside.http.post("pause", json={"what": ["uploads"], "reason": "x"})
            await inside.until(lambda status: in_spool(status) == 2)
            clips = await listed(inside)
            assert [clip.id for clip in clips] == [2, 1]
            assert await listed(inside, limit="1") == clips[:1]
            for limit, more in (("1", "true"), ("2", "false")):
                answer = await inside.http.get("clips", params={"limit": limit})
                assert answer.headers["Dockd-More"] == more
            assert await listed(inside, camera="CAM-1", since=clips[1].found) == clips
            answer = await inside.http.get("clips", params={"camera": "CAM-2"})
            assert (answer.status_code, answer.json()["error"]) == (404, "unknown")
            assert await listed(inside, state="wiped") == []
            assert (await inside.http.get("clips", params={"state": "lost"})).status_code == 422
            story = await told(inside, "1")
            assert story == await told(inside, str(clips[1].clip_id))
            assert story.journal[0].event == "clip.found"
            assert story.manifest is not None
            assert story.manifest["clip_id"] == clips[1].clip_id
            assert story.receipt is None
            assert (await inside.http.get("clips/99")).status_code == 404

    asyncio.run(ask())


def test_a_list_comes_in_pages_whatever_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "CLIPS_AT_ONCE", 2)
    monkeypatch.setattr(client, "CLIPS_AT_ONCE", 2)
    for number in range(5):
        folder = tmp_path / "1"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.mp4").write_bytes(b"%d" % number)

    async def ask() -> None:
        async with at_work(tmp_path, extra=folder_camera(tmp_path / "1")) as inside:
            await inside.until(lambda status: sum(status.clips.values()) == 5)
            answer = await inside.http.get("clips", params={"limit": 1_000_000})
            assert [one["id"] for one in answer.json()] == [5, 4]
            assert answer.headers["Dockd-More"] == "true"
            assert [one.id for one in await listed(inside, before="4")] == [3, 2]
            assert [one.id for one in await listed(inside, before="2")] == [1]
            asking = client.Client(tmp_path / "c.sock")
            for limit, numbers in ((100, [5, 4, 3, 2, 1]), (3, [5, 4, 3])):
                found = await asyncio.to_thread(asking.clips, limit=limit)
                assert [one.id for one in found] == numbers

    asyncio.run(ask())


def test_a_clip_is_found_by_what_people_call_it(tmp_path: Path) -> None:
    for name in ("A/0001.mp4", "B/0001.mp4", "B/0002.mp4", "B/\n3.mp4"):
        path = tmp_path / "1" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(name.encode())

    async def ask() -> None:
        async with at_work(tmp_path, extra=folder_camera(tmp_path / "1")) as inside:
            await inside.until(lambda status: in_spool(status) == 4)
            clips = {clip.path: clip for clip in await listed(inside)}
            second = clips["B/0002.mp4"]
            names = ["B/0002.mp4", "0002.mp4", str(second.clip_id)[:8], str(second.id)]
            for name in names:
                assert (await told(inside, name)).clip.id == second.id
            assert (await told(inside, r"\x0a3.mp4")).clip.id == clips[r"B/\x0a3.mp4"].id
            answer = await inside.http.get("clips/0001.mp4")
            assert answer.status_code == 409
            for path in ("A/0001.mp4", "B/0001.mp4"):
                assert f"{clips[path].id} ({clips[path].camera}, {path})" in answer.json()["detail"]
            for name in ("002.mp4", "0002.mp", str(second.clip_id)[:3] + "x"):
                assert (await inside.http.get(f"clips/{name}")).status_code == 404

    asyncio.run(ask())


async def listed(inside: Inside, **query: str) -> list[ClipView]:
    answer = await inside.http.get("clips", params=query)
    return decode(list[ClipView], answer.text)


async def told(inside: Inside, name: str) -> ClipStory:
    return decode(ClipStory, (await inside.http.get(f"clips/{name}")).text)


def test_the_events_begin_at_once_go_on_with_changes_and_end_with_the_station(
    tmp_path: Path,
) -> None:
    async def follow() -> list[Status]:
        seen = []
        work = at_work(tmp_path)
        inside = await work.__aenter__()
        async with inside.http.stream("GET", "events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                seen.append(decode(Status, line.removeprefix("data: ")))
                if len(seen) == 1:
                    order = {"what": ["uploads"], "reason": "x"}
                    await inside.http.post("pause", json=order)
                elif seen[-1].pauses:
                    ending = asyncio.ensure_future(work.__aexit__(None, None, None))
        await ending
        return seen

    seen = asyncio.run(follow())
    assert not seen[0].pauses
    assert seen[-1].pauses


def test_a_client_that_reads_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(tmp_path) as inside:
            stalled = socket.socket(socket.AF_UNIX)
            stalled.connect(str(tmp_path / "c.sock"))
            stalled.sendall(b"GET /v1/events HTTP/1.1\r\nHost: dockd\r\n\r\n")
            await inside.status()
        stalled.close()

    asyncio.run(run())


def test_the_socket_is_for_owner_and_group_and_gone_with_the_station(tmp_path: Path) -> None:
    async def run() -> int:
        async with at_work(tmp_path):
            return (tmp_path / "c.sock").stat().st_mode & 0o777

    assert asyncio.run(run()) == 0o660
    assert not (tmp_path / "c.sock").exists()


def test_a_dead_daemons_socket_is_taken_over_and_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with unix_listener(path) as living:
        living.socket.listen()
        with (
            pytest.raises(ControlError, match="another dockd listens there"),
            unix_listener(path),
        ):
            pass
        assert path.is_socket()
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_took_ones_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        with unix_listener(path):
            path.unlink()
            other.bind(str(path))
        assert path.is_socket()


def test_a_port_that_is_taken_is_told_and_holds_nothing_up(tmp_path: Path) -> None:
    async def run(port: int) -> None:
        with structlog.testing.capture_logs() as log:
            async with at_work(tmp_path, listen=f"127.0.0.1:{port}") as inside:
                assert (await inside.status()).verdict is Verdict.WELL
        (failed,) = [line for line in log if line["event"] == "control.failed"]
        assert str(port) in failed["detail"]
        assert failed["hint"]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(run(taken.getsockname()[1]))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="No such file") as caught:
        unix_listener(tmp_path / "no" / "s").__enter__()
    assert caught.value.hint


def test_the_port_offers_what_may_be_seen_and_nothing_else(tmp_path: Path) -> None:
    extra = folder_camera(tmp_path / "1")
    (tmp_path / "1" / "secret-name.mp4").write_bytes(b"x")

    async def run() -> None:
        with structlog.testing.capture_logs() as log:
            async with at_work(tmp_path, extra=extra, listen="127.0.0.1:0") as inside:
                (address,) = [
                    line["address"]
                    for line in log
                    if line["event"] == "control.listens" and "http" in line["address"]
                ]
                await inside.until(lambda status: bool(status.clips))
                async with httpx.AsyncClient(base_url=address, trust_env=False) as http:
                    for path in ("", "metrics", "healthz", "readyz", "v1/display", "v1/technician"):
                        answer = await http.get(path)
                        assert answer.status_code == 200, path
                        assert "secret-name" not in answer.text
                    for path in ("v1/status", "v1/clips", "v1/events", "openapi.json"):
                        assert (await http.get(path)).status_code == 404, path
                    for path in ("v1/resync", "v1/pause", "v1/display"):
                        assert (await http.post(path, json={})).status_code in {404, 405}, path
                    lured = await http.get("v1/display", headers={"Host": "evil.example"})
                    assert lured.status_code == 400

    asyncio.run(run())


def test_what_is_published_is_what_the_code_says(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "dockd.station.control.openapi"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert DOCUMENT.read_text() == made.stdout

    async def ask() -> object:
        async with at_work(tmp_path) as inside:
            return (await inside.http.get("http://dockd/openapi.json")).json()

    assert asyncio.run(ask()) == document() == json.loads(made.stdout)


def test_every_reference_in_what_is_published_leads_somewhere() -> None:
    published = document()
    text = json.dumps(published)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(published["components"]["schemas"])
    assert "Status" in named


def test_a_camera_is_waiting_while_uploads_are_held_and_its_clips_are_counted(
    tmp_path: Path,
) -> None:
    extra = folder_camera(tmp_path / "1")
    (tmp_path / "1" / "a.mp4").write_bytes(b"x" * 1000)

    async def ask() -> Status:
        async with at_work(tmp_path, extra=extra) as inside:
            await inside.http.post("pause", json={"what": ["uploads"], "reason": "x"})
            return await inside.until(
                lambda status: in_spool(status) == 1 and status.cameras[0].stage is Stage.WAITING
            )

    status = asyncio.run(ask())
    (camera,) = status.cameras
    assert (camera.bytes_total, camera.bytes_done) == (1000, 0)
    assert not camera.safe_to_take
    assert status.oldest_unacknowledged is not None
    assert status.spool.used > 1000


def test_who_watches_slowly_misses_what_came_and_went_and_sees_what_is(tmp_path: Path) -> None:
    async def follow() -> tuple[Status, Status]:
        async with at_work(tmp_path) as inside:
            changes = inside.station.control.feed.changes()
            first = await anext(changes)
            for reason in ("one", "two", "three"):
                order = {"what": ["uploads"], "reason": reason}
                await inside.http.post("pause", json=order)
                await inside.status()
            second = await anext(changes)
            await changes.aclose()
            return first, second

    first, second = asyncio.run(follow())
    assert first.pauses == []
    assert [pause.reason for pause in second.pauses] == ["three"]


def test_a_camera_that_is_refused_is_shown_where_it_is(tmp_path: Path) -> None:
    async def ask() -> Status:
        async with at_work(tmp_path) as inside:
            error = CameraRefusedError("it has no serial number", hint="see its profile")
            refused = events.camera_refused(place="3", profile="generic", serial="")
            inside.station.activity.incidents.scope("test").failed(refused, error)
            return await inside.status()

    status = asyncio.run(ask())
    (camera,) = status.cameras
    assert (camera.place, camera.stage, camera.safe_to_take) == ("3", Stage.REFUSED, False)
    assert camera.troubles[0].hint == "see its profile"
    assert status.verdict is Verdict.NEEDS_PERSON


def test_a_camera_that_was_refused_is_no_trouble_once_it_is_pulled_out(tmp_path: Path) -> None:
    udev, mounter = FakeUdev(tmp_path / "sys"), FakeMounter()
    usb = '[[profiles]]\nname = "generic"\nrules = [{ pattern = "*.mp4", kind = "video" }]\n'
    usb += '[profiles.usb]\nvendor = "1234"\n'

    def refused(status: Status) -> bool:
        return any(trouble.event == "camera.refused" for trouble in status.troubles)

    async def script() -> None:
        seams: dict[str, Any] = {"udev": lambda: udev, "mounter": lambda _: mounter}
        extra = folder_camera(tmp_path / "camera")
        config = {"profiles": usb}
        async with at_work(tmp_path, extra=extra, config=config, **seams) as inside:
            await inside.until(lambda status: len(status.cameras) == 1)
            udev.plug("3", serial="CAM-1", volumes=(mounter.volume(tmp_path / "volume"),))
            status = await inside.until(refused)
            assert [one.stage for one in status.cameras if one.place.endswith("3")] == [
                Stage.REFUSED
            ]
            udev.unplug("3")
            await inside.until(lambda status: not refused(status))
            (tmp_path / "camera").rmdir()
            status = await inside.until(lambda status: not status.cameras)
            assert status.verdict is Verdict.WELL

    asyncio.run(script())


def test_a_clip_that_left_with_its_camera_is_waited_for_only_while_the_station_has_it(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.db", Clock())
    camera = Camera("generic", "CAM-1")
    docking = ledger.dockings.begin(camera, "1")
    found = [FoundFile(name, 5, 1, Match("video")) for name in (b"a.mp4", b"b.mp4")]
    ledger.dockings.observe(camera, docking, found)
    reader = Reader(tmp_path / "ledger.db")
    there = reader.facts({camera.id: docking})
    ledger.dockings.end(camera, docking)
    gone = reader.facts({})
    asyncio.run(reader.aclose())
    ledger.close()
    assert there.oldest_unacknowledged is not None
    assert gone.clips == there.clips
    assert gone.oldest_unacknowledged is None


def test_what_is_in_the_spool_is_waited_for_with_its_camera_or_without(tmp_path: Path) -> None:
    extra = folder_camera(tmp_path / "1")
    (tmp_path / "1" / "a.mp4").write_bytes(b"x")

    async def ask() -> Status:
        async with at_work(tmp_path, extra=extra) as inside:
            await inside.http.post("pause", json={"what": ["uploads"], "reason": "x"})
            await inside.until(lambda status: in_spool(status) == 1)
            shutil.rmtree(tmp_path / "1")
            return await inside.until(lambda status: not status.cameras)

    assert asyncio.run(ask()).oldest_unacknowledged is not None


def test_nothing_is_left_beside_the_ledger_at_the_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(tmp_path) as inside:
            await inside.http.post("pause", json={"what": ["uploads"], "reason": "x"})
            await inside.status()
            async with inside.http.stream("GET", "events"):
                pass

    asyncio.run(run())
    beside = {path.name for path in (tmp_path / "state").glob("ledger.db*")}
    assert beside == {"ledger.db"}


def test_a_folder_has_its_bay(tmp_path: Path) -> None:
    extra = folder_camera(tmp_path / "1") + 'bay = "7"\n'

    async def run() -> None:
        async with at_work(tmp_path, extra=extra) as inside:
            status = await inside.until(lambda status: bool(status.cameras))
            assert status.bays == ["7"]
            assert status.cameras[0].place == "7"

    asyncio.run(run())


def test_cameras_are_listed_as_people_count_their_bays(tmp_path: Path) -> None:
    places = [str(tmp_path / f"bay {number}") for number in (2, 10, 1)]
    extra = "".join(
        folder_camera(Path(place), f"CAM-{number}") for number, place in enumerate(places)
    )

    async def ask() -> Status:
        async with at_work(tmp_path, extra=extra) as inside:
            return await inside.until(lambda status: len(status.cameras) == 3)

    shown = [camera.place for camera in asyncio.run(ask()).cameras]
    assert shown == [places[2], places[0], places[1]]
