"""``dockd demo``: the whole workflow on one machine, with throw-away keys, and its proof.

A real receiver process on loopback, two folders as cameras, the daemon's own
:class:`~dockd.station.Station`, and a connection that is cut once in the middle of a clip.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dockd.base.clock import Clock
from dockd.base.errors import StatementError
from dockd.base.logs import configure as configure_logs
from dockd.demo.layout import DemoSite, LaidOut
from dockd.demo.proxy import BreakingProxy
from dockd.demo.show import ProgressDisplay, print_report
from dockd.evidence.age import open_stream
from dockd.evidence.keys import VerifyKey
from dockd.evidence.statements import Content, verify_receipt
from dockd.host.notify import Notifier
from dockd.station import config as configuration
from dockd.station.app import Station
from dockd.station.config import TargetConfig
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import StateName
from dockd.station.model import Clip

_REFRESH = 0.1
_CHUNK: int = TargetConfig.model_fields["chunk_size"].default
"""The maximum size of one PATCH."""


@dataclass(frozen=True)
class Report:
    """What the demo did, and whether everything was verified."""

    clips: int
    bytes: int
    seconds: float
    ingest_mb_per_second: float
    upload_mb_per_second: float
    cuts: int
    resumed_at: int | None
    """The offset at which the interrupted upload resumed."""
    receipts_verified: int
    wiped: int
    proved_clip: str
    proved_sha256: str
    proved: bool
    """Whether a stored clip decrypted to the digest of the clip on the camera."""

    @property
    def holds(self) -> bool:
        """Whether every clip was delivered, in spite of the interruption."""
        whole = self.receipts_verified == self.wiped == self.clips
        return whole and self.proved and self.cuts == 1 and self.resumed_at is not None


def run(source: Path | None, *, as_json: bool) -> int:
    """Run the demo; returns 0 only if everything was verified.

    Raises:
        DockdError: it could not be set up.
    """
    with tempfile.TemporaryDirectory(prefix="dockd-demo-") as name:
        site = DemoSite(Path(name))
        laid_out = site.lay_out(source)
        with (site.folder / "dockd.log").open("w", buffering=1) as log:
            configure_logs(style="json", stream=log)
            report = asyncio.run(_play(site, laid_out, ProgressDisplay(sys.stderr)))
    if as_json:
        print(json.dumps({"holds": report.holds, **asdict(report)}))  # noqa: T201
    else:
        print_report(report)
    return 0 if report.holds else 1


async def _play(site: DemoSite, laid_out: Sequence[LaidOut], display: ProgressDisplay) -> Report:
    began = time.monotonic()
    receiver = await asyncio.to_thread(site.start_receiver)
    try:
        # Ciphertext is longer than its clip, so there is one that is as long.
        at_least = min(max(clip.size for clip in laid_out), _CHUNK)
        async with BreakingProxy(receiver.host, receiver.port, at_least=at_least) as proxy:
            station = Station(configuration.load(site.write_station_config(proxy.port)))
            working = asyncio.create_task(station.run(Notifier({})))
            await _until_wiped(site, station, working, len(laid_out), display)
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
    finally:
        await asyncio.to_thread(receiver.stop)
    return _report(site, laid_out, time.monotonic() - began, proxy.cuts)


async def _until_wiped(
    site: DemoSite,
    station: Station,
    working: asyncio.Task[None],
    clips: int,
    display: ProgressDisplay,
) -> None:
    """Show the progress until every clip is wiped, or the daemon has failed."""
    wiped = 0
    while wiped < clips:
        await asyncio.wait({working}, timeout=_REFRESH)
        if working.done():
            return working.result()
        states = await asyncio.to_thread(_states, site)
        wiped = states.get("wiped", 0)
        display.show(station.activity.current(), states, clips)
    display.end()
    return None


def _states(site: DemoSite) -> dict[StateName, int]:
    counts: dict[StateName, int] = {}
    for clip in _clips(site):
        counts[clip.state.shown] = counts.get(clip.state.shown, 0) + 1
    return counts


def _clips(site: DemoSite) -> list[Clip]:
    path = site.folder / "station" / "ledger.db"
    if not path.exists():
        return []
    ledger = Ledger(path, Clock())
    try:
        return ledger.queries.clips()
    finally:
        ledger.close()


def _report(site: DemoSite, laid_out: Sequence[LaidOut], seconds: float, cuts: int) -> Report:
    events = [json.loads(line) for line in (site.folder / "dockd.log").read_text().splitlines()]
    clips = _clips(site)
    keys = [VerifyKey.load(site.folder / "receiver.key.pub")]
    resumed = [event["offset"] for event in events if event["event"] == "clip.upload_resumed"]
    original = max(laid_out, key=lambda clip: clip.size)
    clip_id, sha256 = _prove(site, clips, original)
    return Report(
        clips=len(laid_out),
        bytes=sum(clip.size for clip in laid_out),
        seconds=round(seconds, 2),
        ingest_mb_per_second=_rate(events, "clip.spooled", "size"),
        upload_mb_per_second=_rate(events, "clip.uploaded", "sent"),
        cuts=cuts,
        resumed_at=resumed[0] if resumed else None,
        receipts_verified=sum(_has_good_receipt(clip, keys) for clip in clips),
        wiped=sum(not (site.camera_root(c.camera.serial) / c.name).exists() for c in clips),
        proved_clip=clip_id,
        proved_sha256=sha256,
        proved=sha256 == original.sha256,
    )


def _rate(events: Sequence[dict[str, Any]], name: str, size: str) -> float:
    """Return the megabytes a second of one clip in a stage, over all clips."""
    done = [event for event in events if event["event"] == name]
    seconds = sum(event["seconds"] for event in done)
    return round(sum(event[size] for event in done) / seconds / 1e6, 1) if seconds else 0.0


def _has_good_receipt(clip: Clip, keys: Sequence[VerifyKey]) -> bool:
    with contextlib.suppress(StatementError):
        return bool(verify_receipt(clip.receipt or "", keys, clip.manifest or ""))
    return False


def _prove(site: DemoSite, clips: Sequence[Clip], original: LaidOut) -> tuple[str, str]:
    """Decrypt the stored copy of a clip with the throw-away identity; returns its id and digest."""
    clip_id = next(
        str(clip.clip_id)
        for clip in clips
        if clip.camera.id == original.camera and clip.name == original.path
    )
    (stored,) = site.store.rglob(f"{clip_id}.age")
    with stored.open("rb") as file:
        return clip_id, Content.of(open_stream(file, [site.identity])).sha256
