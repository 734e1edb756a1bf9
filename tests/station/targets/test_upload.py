"""What an upload sends, and how it goes on where an earlier attempt ended."""

import base64
import hashlib
import itertools
import resource
from pathlib import Path

import httpx
import pytest

from dockd.base.errors import RejectedError, SpoolDamagedError, SpoolError, TransientError
from dockd.station.targets import Sealed
from dockd.station.targets.chunks import SpoolFile
from dockd.station.targets.tus import PATIENCE, TusTarget
from tests.station.targets.support import (
    ENDPOINT,
    MANIFEST,
    MIB,
    Station,
    TusServer,
    make_config,
    make_sealed,
    problem,
)

SIZE = 2 * MIB + 12345
OFFSETS = [0, MIB, 2 * MIB, SIZE]


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return make_sealed(tmp_path, SIZE)


@pytest.fixture
def server() -> TusServer:
    return TusServer()


@pytest.fixture
def station(server: TusServer) -> Station:
    return Station(server)


def assert_stored_once(server: TusServer, sealed: Sealed) -> None:
    whole = [upload for upload in server.uploads.values() if len(upload.data) == upload.length]
    assert [hashlib.sha256(upload.data).hexdigest() for upload in whole] == [sealed.sha256]


def break_after(server: TusServer, station: Station, sealed: Sealed, chunks: int) -> None:
    """Upload so many chunks, then lose the connection."""
    server.script["PATCH"].extend([server.answer] * chunks)
    server.script["PATCH"].append(httpx.ReadError("cut"))
    server.script["HEAD"].append(httpx.ConnectError("down"))
    with pytest.raises(TransientError):
        station.upload(sealed)
    server.requests.clear()
    station.progress.clear()


def test_a_clip_is_created_and_sent_in_chunks(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    station.upload(sealed)
    assert server.methods() == ["OPTIONS", "POST", "PATCH", "PATCH", "PATCH"]
    assert [int(r.headers["Upload-Offset"]) for r in server.asked("PATCH")] == OFFSETS[:-1]
    assert_stored_once(server, sealed)


def test_the_creation_names_the_length_and_carries_the_manifest(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    station.upload(sealed)
    (upload,) = server.uploads.values()
    assert upload.length == sealed.size
    name, value = upload.metadata.split(" ")
    assert (name, base64.b64decode(value).decode()) == ("manifest", MANIFEST)


def test_the_url_is_remembered_before_the_first_byte_goes_out(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    remembered_by_then = []

    def first_bytes(request: httpx.Request) -> httpx.Response:
        remembered_by_then.append(station.url)
        return server.answer(request)

    server.script["PATCH"].append(first_bytes)
    station.upload(sealed)
    assert remembered_by_then == [str(server.asked("PATCH")[0].url)]


def test_an_upload_whose_url_cannot_be_remembered_sends_nothing(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    async def fail(_: str) -> None:
        raise TransientError("the ledger is busy")

    async def attempt(target: TusTarget) -> None:
        await target.upload(sealed, None, fail, station.progress.append)

    with pytest.raises(TransientError, match="ledger"):
        station.run(attempt)
    assert "PATCH" not in server.methods()


@pytest.mark.parametrize("chunk_size", [MIB, 10 * MIB])
def test_progress_counts_bytes_as_they_go_out(
    server: TusServer, sealed: Sealed, chunk_size: int
) -> None:
    station = Station(server, make_config(chunk_size=chunk_size))
    station.upload(sealed)
    assert sorted(set(station.progress)) == OFFSETS
    assert station.progress == sorted(station.progress)


def test_the_bandwidth_limit_spaces_the_blocks(server: TusServer, sealed: Sealed) -> None:
    station = Station(server)
    station.rate = 100_000
    station.upload(sealed)
    assert station.clock.elapsed == pytest.approx(SIZE / station.rate - 1, abs=0.2)
    assert_stored_once(server, sealed)


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_broken_upload_goes_on_at_the_servers_offset(
    server: TusServer, station: Station, sealed: Sealed, chunks: int
) -> None:
    break_after(server, station, sealed, chunks)
    station.upload(sealed)
    assert server.methods()[:2] == ["OPTIONS", "HEAD"]
    assert "POST" not in server.methods()
    assert int(server.asked("PATCH")[0].headers["Upload-Offset"]) == OFFSETS[chunks]
    assert station.progress[0] == OFFSETS[chunks]
    assert_stored_once(server, sealed)


def test_bytes_of_a_cut_chunk_that_the_server_kept_are_not_sent_again(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    break_after(server, station, sealed, 1)
    (upload,) = server.uploads.values()
    upload.data += sealed.path.read_bytes()[MIB : MIB + 777]
    station.upload(sealed)
    assert int(server.asked("PATCH")[0].headers["Upload-Offset"]) == MIB + 777
    assert_stored_once(server, sealed)


def test_an_upload_that_is_whole_already_sends_nothing(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    station.upload(sealed)
    server.requests.clear()
    station.upload(sealed)
    assert server.methods() == ["OPTIONS", "HEAD"]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_server_that_forgot_the_upload_gets_it_anew(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    break_after(server, station, sealed, 1)
    server.uploads.clear()
    server.script["HEAD"].append(httpx.Response(status))
    station.upload(sealed)
    assert station.remembered == [f"{ENDPOINT}1", f"{ENDPOINT}2"]
    assert_stored_once(server, sealed)


def test_a_server_that_allows_no_upload_at_all_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    break_after(server, station, sealed, 1)
    server.script["HEAD"].append(httpx.Response(403))
    server.script["POST"].append(httpx.Response(403))
    with pytest.raises(TransientError, match="answered POST with 403") as raised:
        station.upload(sealed)
    assert "enrol this station" in raised.value.hint
    assert station.url == f"{ENDPOINT}1"


def test_an_upload_that_expires_while_it_is_sent_begins_anew(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    def expire(request: httpx.Request) -> httpx.Response:
        server.uploads.clear()
        return httpx.Response(410)

    server.script["PATCH"].extend([server.answer, expire])
    station.upload(sealed)
    assert server.methods()[2:6] == ["PATCH", "PATCH", "HEAD", "POST"]
    assert_stored_once(server, sealed)


def test_an_upload_of_another_length_is_not_gone_on_with(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    break_after(server, station, sealed, 1)
    server.uploads["/files/1"].length += 1
    station.upload(sealed)
    assert station.url == f"{ENDPOINT}2"
    assert len(server.uploads["/files/1"].data) == MIB
    assert_stored_once(server, sealed)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1080/files/1",
        "http://127.0.0.1:1081/files/1",
        "http://old.example/files/1",
        "//old.example/files/1",
        "http://user:password@127.0.0.1:1080/files/1",
        "not a url\x00",
    ],
)
def test_a_remembered_url_on_another_server_is_never_asked(
    server: TusServer, station: Station, sealed: Sealed, url: str
) -> None:
    station.url = url
    station.upload(sealed)
    assert {r.url.netloc for r in server.requests} == {b"127.0.0.1:1080"}
    assert {r.url.scheme for r in server.requests} == {"http"}
    assert station.url == f"{ENDPOINT}1"
    assert_stored_once(server, sealed)


def test_a_clip_that_is_stored_already_is_not_sent(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    server.script["POST"].append(problem(409, "clip-stored"))
    station.upload(sealed)
    assert server.methods() == ["OPTIONS", "POST"]
    assert station.progress == [SIZE]


# Lost answers and mismatches ------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [httpx.ReadError("reset"), httpx.RemoteProtocolError("closed"), httpx.ReadTimeout("late")],
)
def test_a_lost_final_answer_is_made_up_for_by_asking(
    server: TusServer, station: Station, sealed: Sealed, error: Exception
) -> None:
    server.script["PATCH"].extend([server.answer, server.answer, server.stored_then(error)])
    station.upload(sealed)
    assert server.methods()[-2:] == ["PATCH", "HEAD"]
    assert_stored_once(server, sealed)


def test_a_lost_answer_in_the_middle_is_made_up_for_by_asking(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    server.script["PATCH"].append(server.stored_then(httpx.ReadError("reset")))
    station.upload(sealed)
    assert server.methods()[1:] == ["POST", "PATCH", "HEAD", "PATCH", "PATCH"]
    assert_stored_once(server, sealed)


def test_answers_that_stay_lost_end_the_attempt(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    server.script["PATCH"].extend([httpx.ReadError("reset")] * (PATIENCE + 1))
    with pytest.raises(TransientError, match="reset"):
        station.upload(sealed)
    assert len(server.asked("HEAD")) == PATIENCE


def test_an_offset_mismatch_is_resolved_by_asking(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    def another_connection(request: httpx.Request) -> httpx.Response:
        server.uploads["/files/1"].data += sealed.path.read_bytes()[:1000]
        return server.answer(request)

    server.script["PATCH"].append(another_connection)
    station.upload(sealed)
    assert [int(r.headers["Upload-Offset"]) for r in server.asked("PATCH")][:2] == [0, 1000]
    assert_stored_once(server, sealed)


@pytest.mark.parametrize("status", [409, 460, 417, 404, 410])
def test_an_answer_that_asking_does_not_resolve_ends_the_attempt(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    server.script["PATCH"].extend(httpx.Response(status) for _ in range(20))
    with pytest.raises(TransientError, match=str(status)):
        station.upload(sealed)
    assert len(server.asked("PATCH")) == PATIENCE + 1


# Checksums ------------------------------------------------------------------------------


def checksums(server: TusServer) -> list[str]:
    return [r.headers.get("Upload-Checksum", "") for r in server.asked("PATCH")]


def sha256_header(data: bytes) -> str:
    return "sha256 " + base64.b64encode(hashlib.sha256(data).digest()).decode()


def test_each_chunk_carries_its_own_checksum(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    station.upload(sealed)
    data = sealed.path.read_bytes()
    assert checksums(server) == [
        sha256_header(data[start:end]) for start, end in itertools.pairwise(OFFSETS)
    ]


def test_a_clip_in_one_chunk_carries_the_digest_that_was_recorded(
    server: TusServer, sealed: Sealed
) -> None:
    station = Station(server, make_config(chunk_size=10 * MIB))
    station.upload(sealed)
    assert checksums(server) == [sha256_header(sealed.path.read_bytes())]


@pytest.mark.parametrize("extensions", ["creation", "creation,checksum-trailer,expiration"])
def test_a_server_without_checksums_is_sent_none(
    server: TusServer, station: Station, sealed: Sealed, extensions: str
) -> None:
    server.extensions = extensions
    station.upload(sealed)
    assert set(checksums(server)) == {""}
    assert_stored_once(server, sealed)


@pytest.mark.parametrize("status", [460, 417])
def test_a_chunk_that_was_damaged_on_its_way_is_sent_again(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    server.script["PATCH"].extend([server.answer, httpx.Response(status)])
    station.upload(sealed)
    assert [int(r.headers["Upload-Offset"]) for r in server.asked("PATCH")] == [
        0,
        MIB,
        MIB,
        2 * MIB,
    ]
    assert_stored_once(server, sealed)


def test_a_checksum_mismatch_that_comes_from_the_spool_is_told_from_one_of_the_network(
    server: TusServer, sealed: Sealed
) -> None:
    data = bytearray(sealed.path.read_bytes())
    data[5000] ^= 1
    sealed.path.write_bytes(data)
    with pytest.raises(SpoolDamagedError, match="bytes that differ from those written"):
        Station(server, make_config(chunk_size=10 * MIB)).upload(sealed)


# The spool ------------------------------------------------------------------------------


def test_a_missing_ciphertext_is_damage(station: Station, sealed: Sealed) -> None:
    sealed.path.unlink()
    with pytest.raises(SpoolDamagedError, match="is gone"):
        station.upload(sealed)


def test_a_ciphertext_that_was_cut_short_is_damage(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    server.extensions = "creation"
    with sealed.path.open("r+b") as file:
        file.truncate(MIB + 5)
    with pytest.raises(SpoolDamagedError, match=f"{MIB + 5} bytes instead of {SIZE}"):
        station.upload(sealed)


def test_a_ciphertext_that_cannot_be_read_now_is_not_damaged(
    station: Station, sealed: Sealed
) -> None:
    sealed.path.unlink()
    sealed.path.mkdir()
    with pytest.raises(SpoolError, match="Is a directory") as raised:
        station.upload(sealed)
    assert not isinstance(raised.value, SpoolDamagedError)


def test_a_station_that_is_short_of_descriptors_takes_nothing_for_damaged(sealed: Sealed) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, before[1]))
    try:
        with pytest.raises(SpoolError, match="Too many open files") as raised:
            SpoolFile.open(sealed)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not isinstance(raised.value, SpoolDamagedError)


# What the server can do -----------------------------------------------------------------


def test_the_servers_abilities_are_asked_for_once(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    async def twice(target: TusTarget) -> None:
        await station.attempt(target, sealed)
        station.url = None
        await station.attempt(target, sealed)

    station.run(twice)
    assert len(server.asked("OPTIONS")) == 1


@pytest.mark.parametrize("status", [503, 413])
def test_the_servers_abilities_are_asked_for_again_after_trouble(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    async def twice(target: TusTarget) -> None:
        server.script["POST"].append(httpx.Response(status))
        with pytest.raises((TransientError, RejectedError)):
            await station.attempt(target, sealed)
        server.extensions = "creation"
        await station.attempt(target, sealed)

    station.run(twice)
    assert set(checksums(server)) == {""}
    assert_stored_once(server, sealed)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(405),
        httpx.Response(401),
        httpx.Response(204, headers={"Allow": "POST, OPTIONS"}),
        httpx.Response(200, html="<p>welcome</p>"),
    ],
)
def test_a_server_that_does_not_tell_its_abilities_is_taken_for_a_plain_one(
    server: TusServer, station: Station, sealed: Sealed, answer: httpx.Response
) -> None:
    server.script["OPTIONS"].append(answer)
    station.upload(sealed)
    assert set(checksums(server)) == {""}
    assert_stored_once(server, sealed)


def test_a_clip_that_is_too_large_for_the_server_is_rejected_before_it_is_sent(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    server.max_size = SIZE - 1
    with pytest.raises(RejectedError, match=f"{SIZE} bytes, and the server accepts {SIZE - 1}"):
        station.upload(sealed)
    assert server.methods() == ["OPTIONS"]


def test_a_clip_that_just_fits_the_server_is_sent(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    server.max_size = SIZE
    station.upload(sealed)
    assert_stored_once(server, sealed)


@pytest.mark.parametrize(
    "headers",
    [
        {"Tus-Version": "2.0.0", "Tus-Extension": "creation"},
        {"Tus-Version": "1.0.0", "Tus-Extension": "termination"},
    ],
)
def test_a_tus_server_that_dockd_cannot_work_with_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed, headers: dict[str, str]
) -> None:
    server.script["OPTIONS"].append(httpx.Response(204, headers=headers))
    with pytest.raises(TransientError) as raised:
        station.upload(sealed)
    assert raised.value.hint
    assert server.methods() == ["OPTIONS"]
