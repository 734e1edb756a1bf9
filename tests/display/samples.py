"""Made-up statuses."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dockd.station.control.views import (
    CameraView,
    PauseView,
    SpoolView,
    Stage,
    StationView,
    Status,
    TargetView,
    Trouble,
    Verdict,
    Work,
)

GB = 2**30


def moment(minutes_ago: float = 0) -> str:
    """Return a moment as the API writes it."""
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def camera(place: str, stage: Stage, **members: Any) -> CameraView:
    """Return a camera in a bay; it is half done unless it is done."""
    done = stage is Stage.DONE
    serial = members.get("serial", f"BWC-{sum(place.encode()):05}")
    default: dict[str, Any] = {
        "id": f"bodycam/{serial}",
        "profile": "bodycam",
        "serial": serial,
        "place": place,
        "docking": 1,
        "docked_at": moment(12),
        "stage": stage,
        "safe_to_take": done,
        "clips": {"wiped": 9} if done else {"acknowledged": 4, "uploading": 1, "spooled": 4},
        "bytes_total": 0 if stage is Stage.LOOKING else 9 * GB,
        "bytes_done": 9 * GB if done else int(4.2 * GB),
        "seconds_left": 190 if stage in {Stage.READING, Stage.UPLOADING} else None,
        "troubles": [],
    }
    return CameraView(**default | members)


def trouble(event: str = "upload.failed", **members: Any) -> Trouble:
    """Return a trouble that passes by itself."""
    default: dict[str, Any] = {
        "event": event,
        "needs_person": False,
        "what": "the server answered 503",
        "hint": "look at the server's log",
        "since": moment(7),
        "next_try": moment(-2),
        "failures": 5,
    }
    return Trouble(**default | members)


def pause(what: str = "uploads", **members: Any) -> PauseView:
    """Return an order to pause."""
    default: dict[str, Any] = {
        "what": what,
        "reason": "line under repair",
        "since": moment(30),
        "until": None,
        "by": 0,
    }
    return PauseView(**default | members)


def status(*cameras: CameraView, bays: list[str] | None = None, **members: Any) -> Status:
    """Return a station's status with cameras in the bays, in their order."""
    default: dict[str, Any] = {
        "at": moment(),
        "verdict": Verdict.WORKING if cameras else Verdict.WELL,
        "station": StationView(id="camden-07", version="1.0", since=moment(9000), pid=812),
        "cameras": list(cameras),
        "bays": [one.place for one in cameras] if bays is None else bays,
        "clips": {"spooled": 4, "uploading": 1, "acknowledged": 4, "wiped": 5127},
        "oldest_unacknowledged": moment(14),
        "work": [],
        "troubles": [one for camera in cameras for one in camera.troubles],
        "pauses": [],
        "spool": SpoolView(
            used=38 * GB, budget=200 * GB, free=412 * GB, reserve=20 * GB, waiting=False
        ),
        "target": TargetView(
            url="https://evidence.example/files/",
            reachable=True,
            last_success=moment(1),
            gives_receipts=True,
        ),
        "rates": {"ingest": 92e6, "upload": 11.8e6},
    }
    return Status(**default | members)


def work(camera: CameraView, clip: int, **members: Any) -> Work:
    """Return a clip of a camera that is being sent."""
    default: dict[str, Any] = {
        "clip": clip,
        "camera": camera.id,
        "path": "PC1/20260114.mp4",
        "stage": "upload",
        "done": int(0.6 * GB),
        "total": int(1.4 * GB),
        "rate": 11.8e6,
    }
    return Work(**default | members)


STUCK = trouble(
    "clip.rejected",
    needs_person=True,
    what="PC1/20260114.mp4: the server refused it: 413 Content Too Large",
    hint="raise max_clip_size at the receiver, then run dockd resync --failed",
    next_try=None,
    failures=1,
    camera="bodycam/BWC-00451",
    clip=4711,
    path="PC1/20260114.mp4",
)


def every_stage() -> Status:
    """Return a station with a bay for each stage, and two empty ones."""
    cameras = [
        camera(
            f"Bay {number}",
            stage,
            troubles={
                Stage.STUCK: [STUCK],
                Stage.FAILING: [trouble("camera.failed", what="the mount failed")],
                Stage.REFUSED: [trouble("camera.refused", needs_person=True, next_try=None)],
            }.get(stage, []),
        )
        for number, stage in enumerate(Stage, 1)
    ]
    bays = [f"Bay {number}" for number in range(1, len(cameras) + 3)]
    return status(*cameras, bays=bays, work=[work(cameras[2], 4712)])


def many(count: int) -> Status:
    """Return a station with so many bays, as an early morning has them."""
    stages = [Stage.DONE, Stage.UPLOADING, Stage.READING, Stage.DONE, Stage.WAITING, Stage.DONE]
    cameras = [
        camera(f"Bay {number}", stages[number % len(stages)], serial=f"BWC-{number * 7919:06}")
        for number in range(1, count + 1)
        if number % 9
    ]
    return status(*cameras, bays=[f"Bay {number}" for number in range(1, count + 1)])
