"""Metrics and health, and the alerts and the dashboard that are built on them."""

import asyncio
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route

from dockd.station.control import health, metrics
from dockd.station.control.metrics import Metrics
from dockd.station.control.views import (
    CameraView,
    LeftAloneView,
    PauseView,
    SpoolView,
    Stage,
    StationView,
    Status,
    TargetView,
    Trouble,
    Verdict,
)

DOCS = Path(__file__).parents[3] / "docs"
ALERTS = DOCS / "alerts.yml"
DASHBOARD = DOCS / "grafana-dashboard.json"
_NAME = re.compile(r"\bdockd_\w+")


def trouble(*, needs_person: bool) -> Trouble:
    return Trouble(
        event="target.down",
        needs_person=needs_person,
        what="nothing listens there",
        hint="start the server",
        since="2026-11-21T11:00:00.000Z",
    )


def camera(stage: Stage) -> CameraView:
    return CameraView(
        id="generic:CAM-0001",
        profile="generic",
        serial="CAM-0001",
        place="3",
        docking=1,
        docked_at="2026-11-21T11:00:00.000Z",
        stage=stage,
        safe_to_take=stage is Stage.DONE,
        clips={},
        bytes_total=0,
        bytes_done=0,
        seconds_left=None,
        troubles=[],
    )


def status(**changes: Any) -> Status:
    """A station at noon that has just begun; ``changes`` replace members."""
    idle = Status(
        at="2026-11-21T12:00:00.000Z",
        verdict=Verdict.WELL,
        station=StationView(id="camden-07", version="1.2", since="2026-11-21T11:59:00.000Z", pid=7),
        cameras=[],
        bays=[],
        clips={},
        oldest_unacknowledged=None,
        work=[],
        troubles=[],
        pauses=[],
        spool=SpoolView(used=1, budget=2, free=3, reserve=4, waiting=False),
        target=TargetView(
            url="https://evidence.example/files/",
            reachable=None,
            last_success=None,
            gives_receipts=True,
        ),
        rates={},
    )
    return replace(idle, **changes)


def get(routes: list[Route], path: str, accept: str = "") -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://station") as client:
            return await client.get(path, headers={"Accept": accept})

    return asyncio.run(main())


def scrape(counters: Metrics, state: Status) -> str:
    answer = get(metrics.routes(counters, lambda: state), "/metrics")
    assert answer.status_code == 200
    return answer.text


def samples(text: str) -> dict[str, float]:
    """Every sample of a page by its name and labels, as they stand there."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def eventful() -> Metrics:
    """Counters that have seen each thing once."""
    counters = Metrics()
    counters.ingested(5_000_000, 2.0)
    counters.uploaded(5_000_200, 40.0)
    counters.acknowledged()
    counters.wiped(3)
    counters.retried("target.down")
    counters.receipt_refused("unknown-key")
    return counters


BUSY = {
    "cameras": [camera(stage) for stage in Stage],
    "clips": {"found": 2, "uploading": 1, "wiped": 40},
    "oldest_unacknowledged": "2026-11-21T11:00:00.000Z",
    "troubles": [trouble(needs_person=True), *[trouble(needs_person=False)] * 2],
    "pauses": [
        PauseView(
            what="wipes", reason="inquiry", since="2026-11-21T11:00:00.000Z", until=None, by=0
        )
    ],
    "spool": SpoolView(used=100, budget=1000, free=200, reserve=50, waiting=True),
    "target": TargetView(
        url="https://evidence.example/files/",
        reachable=False,
        last_success="2026-11-21T11:30:00.000Z",
        gives_receipts=True,
    ),
}


def test_what_the_core_tells_is_counted() -> None:
    seen = samples(scrape(eventful(), status()))
    assert seen['dockd_stage_bytes_total{stage="ingest"}'] == 5_000_000
    assert seen['dockd_stage_bytes_total{stage="upload"}'] == 5_000_200
    assert seen['dockd_stage_duration_seconds_sum{stage="upload"}'] == 40
    assert seen['dockd_stage_duration_seconds_bucket{le="30.0",stage="upload"}'] == 0
    assert seen['dockd_stage_duration_seconds_bucket{le="100.0",stage="upload"}'] == 1
    assert seen["dockd_clips_acknowledged_total"] == 1
    assert seen["dockd_clips_wiped_total"] == 3
    assert seen['dockd_retries_total{cause="target.down"}'] == 1
    assert seen['dockd_receipts_refused_total{reason="unknown-key"}'] == 1


def test_files_that_nobody_has_read_are_counted_over_all_cameras() -> None:
    left = LeftAloneView(files=2, size=30, suspect=1)
    cameras = [replace(camera(Stage.DONE), left_alone=left), camera(Stage.READING)]
    seen = samples(scrape(Metrics(), status(**BUSY | {"cameras": [*cameras, cameras[0]]})))
    assert seen["dockd_left_alone_files"] == 4
    assert seen["dockd_left_alone_bytes"] == 60


def test_the_gauges_are_those_of_the_status_at_the_scrape() -> None:
    seen = samples(scrape(Metrics(), status(**BUSY)))
    assert seen['dockd_build_info{station="camden-07",version="1.2"}'] == 1
    assert seen['dockd_cameras_docked{standing="safe"}'] == 1
    assert seen['dockd_cameras_docked{standing="stuck"}'] == 3
    assert seen['dockd_cameras_docked{standing="working"}'] == len(Stage) - 4
    assert seen["dockd_left_alone_files"] == seen["dockd_left_alone_bytes"] == 0
    assert seen['dockd_clips{state="found"}'] == 2
    assert seen['dockd_clips{state="rejected"}'] == 0
    assert seen["dockd_oldest_unacknowledged_clip_age_seconds"] == 3600
    assert seen['dockd_troubles{needs_person="true"}'] == 1
    assert seen['dockd_troubles{needs_person="false"}'] == 2
    assert seen['dockd_paused{what="wipes"}'] == 1
    assert seen['dockd_paused{what="uploads"}'] == 0
    assert seen["dockd_spool_used_bytes"] == 100
    assert seen["dockd_spool_disk_free_bytes"] == 200
    assert seen["dockd_spool_waiting"] == 1
    assert seen["dockd_target_reachable"] == 0
    started, succeeded = (
        seen[f"dockd_{name}_seconds"] for name in ("start_time", "last_success_timestamp")
    )
    assert started - succeeded == 29 * 60


def test_what_is_not_known_yet_is_left_out_and_no_alarm() -> None:
    seen = samples(scrape(Metrics(), status()))
    assert "dockd_target_reachable" not in seen
    assert "dockd_last_success_timestamp_seconds" not in seen
    assert seen["dockd_oldest_unacknowledged_clip_age_seconds"] == 0


def test_a_second_station_at_work_on_the_same_counters_doubles_nothing() -> None:
    counters = Metrics()
    scrape(counters, status())
    names = re.findall(r"^# TYPE (\w+)", scrape(counters, status()), re.MULTILINE)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, content_type: str) -> None:
    answer = get(metrics.routes(Metrics(), status), "/metrics", accept)
    assert answer.headers["Content-Type"] == content_type
    assert answer.text.endswith("# EOF\n") == accept.startswith("application/openmetrics")


def promtool(*arguments: str, given: str = "") -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    ran = subprocess.run(
        ["promtool", *arguments],
        input=given,
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not ran.stderr, ran.stderr


def test_promtool_finds_nothing_to_improve_in_the_metrics() -> None:
    promtool("check", "metrics", given=scrape(eventful(), status(**BUSY)))


def test_the_alerts_are_rules() -> None:
    promtool("check", "rules", str(ALERTS))


def test_the_alerts_wake_somebody_when_they_should_and_nobody_else() -> None:
    promtool("test", "rules", str(Path(__file__).with_name("alerts_test.yml")))


def exposed() -> set[str]:
    """Every name that a scrape can hold."""
    page = scrape(eventful(), status(**BUSY))
    return {
        sample.name for family in text_string_to_metric_families(page) for sample in family.samples
    }


def expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_every_metric_of_an_alert_exists() -> None:
    rules = re.findall(r"expr: ((?:.*\n)(?: {10,}.*\n)*)", ALERTS.read_text())
    assert len(rules) == ALERTS.read_text().count("- alert:")
    assert set(_NAME.findall(" ".join(rules))) <= exposed()


def test_every_metric_is_on_the_dashboard_and_the_dashboard_has_no_other() -> None:
    known = {re.sub(r"_(sum|count)$", "_bucket", name) for name in exposed()}
    assert set(_NAME.findall(" ".join(expressions()))) == known


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(expressions())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_the_panels_of_the_dashboard_do_not_lie_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells


def test_the_operators_page_describes_every_metric() -> None:
    page = (DOCS / "operate.md").read_text()
    families = text_string_to_metric_families(scrape(eventful(), status(**BUSY)))
    names = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    assert names == set(re.findall(r"^\| `(dockd_\w+)`", page, re.MULTILINE))


def test_health_is_told_while_the_work_begins_and_readiness_with_the_reason() -> None:
    reasons: list[str | None] = ["the ledger is being opened"]
    routes = health.routes(lambda: reasons[-1])
    assert get(routes, "/healthz").status_code == 200
    starting = get(routes, "/readyz")
    assert (starting.status_code, starting.json()["reason"]) == (503, reasons[0])
    reasons.append(None)
    assert get(routes, "/readyz").status_code == 200
