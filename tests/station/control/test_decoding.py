"""The client's side of the control API reads exactly what the views declare."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from dockd.station.control.decoding import MismatchError, decode
from dockd.station.control.encoding import encode, encode_all
from dockd.station.control.views import Stage, Status, Trouble
from tests.cli.support import camera, pause, status, trouble, work

BUSY = status(
    cameras=[camera(stage=Stage.FAILING, troubles=[trouble()])],
    work=[work()],
    troubles=[trouble(next_try=None), trouble(camera=None, clip=None, path=None)],
    pauses=[pause(until="2026-11-22T00:00:00.000Z")],
)


def test_what_is_encoded_is_decoded_as_the_same() -> None:
    assert decode(Status, encode(BUSY)) == BUSY
    assert decode(list[Trouble], encode_all(BUSY.troubles)) == BUSY.troubles
    assert decode(list[Trouble], encode_all([])) == []


def test_members_that_were_added_later_have_their_defaults() -> None:
    older = asdict(BUSY)
    del older["log"], older["cameras"][0]["left_alone"], older["troubles"][0]["count"]
    assert decode(Status, json.dumps(older)) == BUSY


def changed(*path: Any, to: Any = None) -> str:
    document: Any = asdict(BUSY)
    place = document
    for name in path[:-1]:
        place = place[name]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("<html>", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 10**6, "not JSON"),
        ("[]", "not an object"),
        (changed("at"), "at: missing"),
        (changed("v", to=2), "v: not one of 1"),
        (changed("v", to=True), "v: not one of 1"),
        (changed("at", to="2026-11-21T12:00:00Z"), "at: not a moment"),
        (changed("at", to="2026-11-31T12:00:00.000Z"), "at: day"),
        (changed("at", to=1), "at: not of type str"),
        (changed("verdict", to="sleepy"), "verdict: not one of 'well'"),
        (changed("cameras", to={}), "cameras: not an array"),
        (changed("cameras", 0, "docking", to="1"), "cameras.0.docking: not of type int"),
        (changed("cameras", 0, "clips", to={"lost": 1}), "cameras.0.clips.lost: not one of"),
        (changed("spool", "used", to=True), "spool.used: not of type int"),
        (changed("work", 0, "rate", to="1"), "work.0.rate: not of type float"),
        (changed("troubles", 1, "needs_person", to=1), "troubles.1.needs_person: not of type"),
    ],
)
def test_what_is_not_declared_is_refused_with_its_place(content: str | bytes, problem: str) -> None:
    with pytest.raises(MismatchError) as raised:
        decode(Status, content)
    assert str(raised.value).startswith(problem)
