"""Composes the station's status from its parts and its ledger."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dockd import __version__
from dockd.base import logs
from dockd.base.clock import Clock, timestamp
from dockd.base.incidents import Incident
from dockd.station import events
from dockd.station.config import Config
from dockd.station.control import troubles
from dockd.station.control.reading import Facts
from dockd.station.control.views import (
    CameraView,
    LeftAloneView,
    LogView,
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
from dockd.station.ledger.reporting import CameraFacts
from dockd.station.lifecycle import ON_ITS_WAY
from dockd.station.model import Doing, Pause, Standing
from dockd.station.pipeline.activity import Activity, ClipProgress
from dockd.station.pipeline.docking import Docking
from dockd.station.pipeline.pauses import Pauses
from dockd.station.pipeline.upload import Uploader
from dockd.station.spool import Spool

_PROCESS_SINCE = timestamp(Clock().now())


@dataclass(frozen=True)
class Parts:
    """The parts of a running station."""

    config: Config
    clock: Clock
    spool: Spool
    uploader: Uploader
    pauses: Pauses
    activity: Activity
    dockings: Mapping[str, Docking]
    """The docked cameras by id."""
    since: str
    """When the station started."""

    def docked(self) -> dict[str, int]:
        """Return the docked cameras' ids and docking numbers, if they have one."""
        return {id_: one.number for id_, one in self.dockings.items() if one.number}


def compose(parts: Parts, facts: Facts, free: int) -> Status:
    """Compose the status.

    Args:
        parts: the station's parts.
        facts: the ledger's facts, read a moment ago.
        free: free bytes of the spool's disk.
    """
    log = logs.health()
    incidents = parts.activity.incidents.shown()
    failing = troubles.of_incidents(incidents)
    failing += troubles.of_log(log, parts.clock.now())
    stuck = [clip.trouble for clip in facts.stuck if clip.trouble is not None]
    pauses = parts.pauses.current()
    works = parts.activity.current()
    all_troubles = sorted(failing + stuck, key=lambda one: (not one.needs_person, one.since))
    of_camera: dict[str | None, list[Trouble]] = {}
    for trouble in all_troubles:
        of_camera.setdefault(trouble.camera, []).append(trouble)
    cameras = [
        _Camera(
            docking, facts.cameras.get(id_, CameraFacts()), works, of_camera.get(id_, [])
        ).view()
        for id_, docking in parts.dockings.items()
    ]
    cameras += [_refused(one) for one in incidents if one.event == events.camera_refused.name]
    return Status(
        at=timestamp(parts.clock.now()),
        verdict=_verdict(all_troubles, cameras, facts, pauses),
        station=StationView(
            id=parts.config.station.id,
            version=__version__,
            since=parts.since,
            pid=os.getpid(),
            process_since=_PROCESS_SINCE,
        ),
        cameras=sorted(cameras, key=lambda one: _in_order(one.place)),
        bays=_bays(parts.config),
        clips=dict(facts.clips),
        oldest_unacknowledged=facts.oldest_unacknowledged,
        work=[_work(one) for one in works],
        troubles=all_troubles,
        pauses=[pause_view(one) for one in pauses],
        spool=SpoolView(
            used=parts.spool.used,
            budget=parts.spool.budget,
            free=free,
            reserve=parts.spool.reserve,
            waiting=parts.spool.waiting,
        ),
        target=_target(parts),
        rates={stage: round(rate) for stage, rate in parts.activity.rates().items()},
        log=LogView(lines_lost=log.lost, failing=log.detail),
    )


def _bays(config: Config) -> list[str]:
    """Return the names of the bays, those of ports first."""
    folders = [folder.bay for folder in config.folders if folder.bay is not None]
    return list(dict.fromkeys([*(bay.name for bay in config.bays), *folders]))


def _in_order(place: str) -> str:
    """Return a key that sorts places numerically: bay 2 before bay 10."""
    return re.sub(r"\d+", lambda number: number[0].zfill(12), place)


def pause_view(pause: Pause) -> PauseView:
    """Return a pause as it is shown."""
    return PauseView(
        what=pause.what, reason=pause.reason, since=pause.since, until=pause.until, by=pause.uid
    )


def _target(parts: Parts) -> TargetView:
    health = parts.uploader.target
    return TargetView(
        url=parts.config.target.url,
        reachable=health.reachable,
        last_success=None if health.last_success is None else timestamp(health.last_success),
        gives_receipts=parts.config.target.receipts_url is not None,
    )


def _work(work: ClipProgress) -> Work:
    return Work(
        clip=work.clip.id,
        camera=work.clip.camera.id,
        path=work.clip.name,
        stage=work.stage,
        done=work.done,
        total=work.total,
        rate=round(work.meter.rate()),
    )


@dataclass(frozen=True)
class _Camera:
    """One docked camera, with its facts, work and troubles."""

    docking: Docking
    facts: CameraFacts
    works: Sequence[ClipProgress]
    troubles: Sequence[Trouble]

    def view(self) -> CameraView:
        camera = self.docking.media.camera
        mine = [work for work in self.works if work.clip.camera == camera]
        uploads = [work for work in mine if work.stage == "upload"]
        safe = self.docking.standing is Standing.SAFE
        done = min(self.facts.done + sum(map(_plaintext_sent, uploads)), self.facts.total)
        rate = sum(work.meter.rate() for work in uploads)
        left = max(self.facts.total - self.facts.stuck - done, 0)
        looked_at, left_alone = self.docking.looked_at, self.docking.left_alone
        return CameraView(
            id=camera.id,
            profile=camera.profile,
            serial=camera.serial,
            place=self.docking.media.place,
            docking=self.docking.number or None,
            docked_at=timestamp(self.docking.began),
            looked_at=None if looked_at is None else timestamp(looked_at),
            looked_from=self.docking.looked_from,
            stage=self._stage(mine),
            safe_to_take=safe,
            clips=dict(self.facts.clips),
            bytes_total=self.facts.total,
            bytes_done=done,
            seconds_left=float(round(left / rate)) if left and rate else None,
            left_alone=LeftAloneView(
                files=left_alone.files, size=left_alone.size, suspect=left_alone.suspect
            ),
            troubles=list(self.troubles),
        )

    def _stage(self, works: Iterable[ClipProgress]) -> Stage:
        under_way = {work.stage for work in works}
        doing = self.docking.doing
        # A finished camera is rescanned regularly, and stays done meanwhile.
        stages = {
            Stage.DONE: self.docking.standing is Standing.SAFE,
            Stage.STUCK: self.docking.standing is Standing.STUCK,
            Stage.FAILING: any(one.event == events.camera_failed.name for one in self.troubles),
            Stage.WIPING: doing is Doing.WIPING,
            Stage.READING: "ingest" in under_way,
            Stage.UPLOADING: "upload" in under_way,
            Stage.LOOKING: doing is Doing.LOOKING or not self.docking.number,
        }
        return next((stage for stage, is_it in stages.items() if is_it), Stage.WAITING)


def _refused(incident: Incident) -> CameraView:
    """Return a camera that is plugged in, but refused."""
    profile, serial = str(incident.fields["profile"]), str(incident.fields["serial"])
    return CameraView(
        id=f"{profile}:{serial}",
        profile=profile,
        serial=serial,
        place=str(incident.fields["place"]),
        docking=None,
        docked_at=timestamp(incident.since),
        stage=Stage.REFUSED,
        safe_to_take=False,
        clips={},
        bytes_total=0,
        bytes_done=0,
        seconds_left=None,
        troubles=[troubles.of_incident(incident)],
    )


def _plaintext_sent(work: ClipProgress) -> int:
    """Return the plaintext bytes that an upload in progress corresponds to."""
    return work.clip.size * work.done // work.total if work.total else 0


def _verdict(
    troubles: Sequence[Trouble],
    cameras: Iterable[CameraView],
    facts: Facts,
    pauses: Iterable[Pause],
) -> Verdict:
    if any(trouble.needs_person for trouble in troubles):
        return Verdict.NEEDS_PERSON
    stages = {camera.stage for camera in cameras}
    if Stage.STUCK in stages:
        return Verdict.NEEDS_PERSON
    on_its_way = any(facts.clips.get(state.shown) for state in ON_ITS_WAY)
    if stages <= {Stage.DONE} and not on_its_way:
        return Verdict.WORKING if troubles else Verdict.WELL
    if any(pause.until is None for pause in pauses):
        # Only a resume command ends it.
        return Verdict.NEEDS_PERSON
    return Verdict.WORKING
