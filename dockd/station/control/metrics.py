"""Prometheus metrics: counters that the pipeline increments, gauges from a Status.

Names and units follow https://prometheus.io/docs/practices/naming/. Labels have few values,
and none names a camera or a clip. docs/operate.md lists all of them.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dockd.station.control.views import CameraView, Moment, Stage, Status
from dockd.station.lifecycle import STATE_NAMES
from dockd.station.model import Standing

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
"""Buckets: from a sidecar, in under a second, to a long video over a slow link, in hours."""
_PAUSABLE = ("uploads", "wipes")
_STANDINGS = {Stage.DONE: Standing.SAFE} | dict.fromkeys(
    (Stage.STUCK, Stage.FAILING, Stage.REFUSED), Standing.STUCK
)

# In the text format they are unused gauges beside each counter.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library lacks it


class Metrics:
    """The counters; thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._bytes = Counter(
            "dockd_stage_bytes",
            "Bytes that went through a stage: plaintext read, ciphertext sent.",
            ["stage"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "dockd_stage_duration_seconds",
            "How long a clip took in a stage; of uploads, the attempt that completed it.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._acknowledged = Counter(
            "dockd_clips_acknowledged",
            "Clips whose receipt was verified and kept.",
            registry=self.registry,
        )
        self._wiped = Counter(
            "dockd_clips_wiped",
            "Clips that were removed from a camera, and their absence read back.",
            registry=self.registry,
        )
        self._retries = Counter(
            "dockd_retries",
            "Failures that are retried, by the name of their log event.",
            ["cause"],
            registry=self.registry,
        )
        self._refused = Counter(
            "dockd_receipts_refused",
            "Receipts that were refused.",
            ["reason"],
            registry=self.registry,
        )
        # A series that exists from the start has a rate from its first increase on.
        for stage in ("ingest", "upload"):
            self._bytes.labels(stage)
            self._seconds.labels(stage)
        for cause in ("clip.retrying", "target.down"):
            self._retries.labels(cause)

    def ingested(self, size: int, seconds: float) -> None:
        """Count a clip of ``size`` bytes that was read and spooled."""
        self._passed("ingest", size, seconds)

    def uploaded(self, size: int, seconds: float) -> None:
        """Count a clip whose upload is complete, and the bytes of its last attempt."""
        self._passed("upload", size, seconds)

    def _passed(self, stage: str, size: int, seconds: float) -> None:
        self._bytes.labels(stage).inc(size)
        self._seconds.labels(stage).observe(seconds)

    def acknowledged(self) -> None:
        """Count a clip whose receipt is durable in the ledger."""
        self._acknowledged.inc()

    def wiped(self, clips: int) -> None:
        """Count clips that were wiped from a camera."""
        self._wiped.inc(clips)

    def retried(self, cause: str) -> None:
        """Count a failure that is retried; ``cause`` is the error's event name."""
        self._retries.labels(cause).inc()

    def receipt_refused(self, reason: str) -> None:
        """Count a refused receipt; ``reason`` is the error's."""
        self._refused.labels(reason).inc()


def routes(metrics: Metrics, current: Callable[[], Status]) -> list[Route]:
    """Return the route of ``/metrics``, in the format that the client requests.

    Args:
        metrics: the counters.
        current: returns the station's current status; called at each scrape.
    """
    page = _Page(metrics, current)

    async def scrape(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(page), headers={"Content-Type": content_type})

    return [Route("/metrics", scrape)]


class _Page(Collector):
    """One scrape: the counters, then the gauges."""

    def __init__(self, metrics: Metrics, current: Callable[[], Status]) -> None:
        self._metrics = metrics
        self._current = current

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics.registry.collect()
        yield from _gauges(self._current())


def _gauges(status: Status) -> Iterator[Metric]:
    now = _seconds(status.at)
    station, spool, target = status.station, status.spool, status.target
    yield InfoMetricFamily(
        "dockd_build", "The running dockd.", {"version": station.version, "station": station.id}
    )
    yield _gauge("dockd_start_time_seconds", "When the daemon started.", _seconds(station.since))
    yield _by(
        "dockd_cameras_docked",
        "Cameras in the dock: work in progress, safe to take, or stuck, failing or refused.",
        "standing",
        {str(standing): 0 for standing in Standing} | Tally(map(_standing, status.cameras)),
    )
    left_alone = [camera.left_alone for camera in status.cameras]
    yield _gauge(
        "dockd_left_alone_files",
        "Files on docked cameras that no rule of their profile selects or ignores.",
        sum(one.files for one in left_alone),
    )
    yield _gauge(
        "dockd_left_alone_bytes",
        "Bytes of these files.",
        sum(one.size for one in left_alone),
    )
    yield _by(
        "dockd_clips",
        "All clips in the ledger.",
        "state",
        {str(name): 0 for name in STATE_NAMES} | dict(status.clips),
    )
    oldest = status.oldest_unacknowledged
    yield _gauge(
        "dockd_oldest_unacknowledged_clip_age_seconds",
        "How long the oldest clip without a receipt has waited; 0 where all have theirs.",
        max(now - _seconds(oldest), 0.0) if oldest else 0.0,
    )
    yield _by(
        "dockd_troubles",
        "What blocks clips, cameras or the station.",
        "needs_person",
        {"false": 0, "true": 0}
        | {
            str(needs).lower(): sum(
                one.count for one in status.troubles if one.needs_person is needs
            )
            for needs in (False, True)
        },
    )
    held = {pause.what for pause in status.pauses}
    yield _by(
        "dockd_paused",
        "Whether it is paused.",
        "what",
        {what: what in held for what in _PAUSABLE},
    )
    yield _gauge(
        "dockd_spool_used_bytes", "Ciphertext in the spool, written and reserved.", spool.used
    )
    yield _gauge("dockd_spool_budget_bytes", "The maximum size of the spool.", spool.budget)
    yield _gauge("dockd_spool_disk_free_bytes", "Free bytes of the spool's disk.", spool.free)
    yield _gauge(
        "dockd_spool_disk_reserve_bytes", "What the spool leaves free of its disk.", spool.reserve
    )
    yield _gauge("dockd_spool_waiting", "Whether ingest waits for space.", spool.waiting)
    if target.reachable is not None:
        yield _gauge("dockd_target_reachable", "Whether the server is reachable.", target.reachable)
    if target.last_success is not None:
        yield _gauge(
            "dockd_last_success_timestamp_seconds",
            "When the server last accepted a clip or issued a receipt.",
            _seconds(target.last_success),
        )
    lost = CounterMetricFamily("dockd_log_lines_lost", "Lines of the log that were not written.")
    lost.add_metric([], status.log.lines_lost)
    yield lost


def _standing(camera: CameraView) -> str:
    return str(_STANDINGS.get(camera.stage, Standing.WORKING))


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)


def _by(name: str, meaning: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _seconds(moment: Moment) -> float:
    return datetime.fromisoformat(moment).timestamp()
