import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from dockd.base.clock import Clock
from dockd.base.findings import Finding, Level
from dockd.evidence.keys import SigningKey
from dockd.station import config as configuration
from dockd.station.check import server
from dockd.station.check.subject import Machine, Subject
from dockd.station.ledger.ledger import Ledger
from tests.processes.support import Site
from tests.receiver.support import Station, make_site, process
from tests.station.check.support import Patient, healthy, worst

Started = Callable[..., AbstractContextManager[None]]


def days(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=number, hours=1)


def write_certificate(patient: Patient, issued: trustme.LeafCert, name: str) -> None:
    (patient.folder / f"{name}.pem").write_bytes(
        b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    key = patient.folder / f"{name}.key"
    key.write_bytes(issued.private_key_pem.bytes())
    key.chmod(0o600)


@pytest.fixture
def authority(patient: Patient) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(patient.folder / "ca.pem"))
    return authority


@pytest.fixture
def receiver(patient: Patient, authority: trustme.CA) -> Started:
    """What starts a receiver with a certificate that ends in so many days."""

    @contextmanager
    def started(
        until: int = 90, *, name: str = "localhost", signer: trustme.CA = authority
    ) -> Iterator[None]:
        write_certificate(patient, signer.issue_cert(name, not_after=days(until)), "server")
        folder = patient.folder / "receiver"
        folder.mkdir()
        listen = {"certificate": "../server.pem", "certificate_key_file": "../server.key"}
        site = make_site(folder, Station("camden-07", patient.key, "secret"), listen=listen)
        with process(site) as (_, address):
            patient.url = address.replace("127.0.0.1", "localhost")
            patient.target += '\nca_file = "ca.pem"\ntoken_file = "token"'
            yield

    token = patient.folder / "token"
    token.write_text("secret\n")
    token.chmod(0o600)
    return started


def test_a_server_that_is_as_it_should_be_is_told_in_full(
    patient: Patient, receiver: Started
) -> None:
    with receiver():
        findings = patient.findings(server.check)
    assert healthy(findings)
    said = "\n".join(finding.what for finding in findings)
    for part in (
        "supports tus 1.0.0",
        "TLSv1.3",
        "90 days",
        "the clocks of station and server agree",
        "the server accepts this station for uploads",
        "the server accepts this station for receipts",
        "no clip has a receipt yet",
    ):
        assert part in said
    assert "secret" not in said


@pytest.mark.parametrize(("until", "level"), [(29, Level.WARNING), (31, Level.OK)])
def test_a_certificate_that_ends_within_a_month_is_a_warning(
    patient: Patient, receiver: Started, until: int, level: Level
) -> None:
    with receiver(until):
        found = worst(patient.findings(server.check))
    assert found.level is level


def test_an_expired_certificate_is_named_as_the_reason(patient: Patient, receiver: Started) -> None:
    with receiver(-1):
        (found,) = patient.findings(server.check)
    assert found.level is Level.ERROR
    assert "certificate has expired" in found.what
    assert "renew" in found.remedy


@pytest.mark.parametrize(
    "certificate", [{"name": "elsewhere.example"}, {"signer": trustme.CA()}], ids=["name", "signer"]
)
def test_a_certificate_of_another_name_or_signer_is_an_error(
    patient: Patient, receiver: Started, certificate: dict[str, str]
) -> None:
    with receiver(**certificate):
        (found,) = patient.findings(server.check)
    assert found.level is Level.ERROR
    assert "its certificate is not trusted" in found.what


@pytest.mark.parametrize(
    ("until", "level"), [(-1, Level.ERROR), (29, Level.WARNING), (31, Level.OK)]
)
def test_the_stations_own_certificate_is_looked_at(
    patient: Patient, authority: trustme.CA, until: int, level: Level
) -> None:
    write_certificate(patient, authority.issue_cert("camden", not_after=days(until)), "client")
    patient.target = 'client_certificate = "client.pem"\nclient_key_file = "client.key"'
    assert patient.findings(server.check)[0].level is level


def test_a_token_that_the_server_does_not_know_is_an_error(
    patient: Patient, receiver: Started
) -> None:
    (patient.folder / "token").write_text("wrong")
    with receiver():
        findings = patient.findings(server.check)
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    assert len(errors) == 2
    assert all("401" in finding.what and "token" in finding.remedy for finding in errors)


def test_a_server_that_is_not_there_is_an_error(patient: Patient) -> None:
    (found,) = patient.findings(server.check)
    assert found.level is Level.ERROR
    assert "nothing listens there" in found.what


def test_a_server_without_receipts_is_a_warning(patient: Patient, receiver: Started) -> None:
    with receiver():
        target = patient.config.target.model_copy(update={"receipts_url": None})
        config = patient.config.model_copy(update={"target": target})
        findings = list(server.check(Subject(config, patient.machine, patient.uid)))
    found = worst(findings)
    assert found.level is Level.WARNING
    assert "nothing is ever wiped" in found.what


class Ahead(Clock):
    """A clock that is an hour fast."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


def test_a_clock_that_is_not_the_servers_is_a_warning(patient: Patient, receiver: Started) -> None:
    patient.machine = replace(patient.machine, clock=Ahead())
    with receiver():
        found = worst(patient.findings(server.check))
    assert found.level is Level.WARNING
    assert "ahead of the server's" in found.what


class Page(BaseHTTPRequestHandler):
    """Answers everything with a web page."""

    def handle_one_request(self) -> None:
        if self.rfile.readline():
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n")
            self.wfile.write(b"Content-Length: 0\r\nConnection: close\r\n\r\n")


def test_another_kind_of_server_is_told_from_one_of_tus(patient: Patient) -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as page:
        thread = threading.Thread(target=page.serve_forever)
        thread.start()
        try:
            patient.url = f"http://127.0.0.1:{page.server_port}/"
            findings = patient.findings(server.check)
        finally:
            page.shutdown()
            thread.join()
    assert "does not announce tus" in findings[0].what
    assert worst(findings).level is Level.ERROR


# The receipt


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A receiver that has acknowledged a clip, which still is on its camera."""
    folder = tmp_path / "site"
    folder.mkdir()
    with Site(folder) as site:
        site.fill("CAM-1", {"a.mp4": os.urandom(1000)})
        site.start_receiver("camden")
        station = site.start_station(site.configure("camden", "CAM-1", policy="keep"))
        station.wait_for("clip.acknowledged")
        assert station.stop() == 0
        yield site


def last(site: Site) -> Finding:
    """What there is to say of the receipt."""
    config = configuration.load(site.folder / "camden.toml")
    return list(server.check(Subject(config, Machine(), os.geteuid())))[-2]


def about_the_journal(site: Site) -> Finding:
    """What there is to say of the journal."""
    config = configuration.load(site.folder / "camden.toml")
    return list(server.check(Subject(config, Machine(), os.geteuid())))[-1]


def test_a_journal_that_the_server_knows_is_held_against_its_anchor(site: Site) -> None:
    found = about_the_journal(site)
    assert found.level is Level.OK
    assert "the newest known to the server" in found.what


def test_a_journal_that_began_anew_is_an_error(site: Site) -> None:
    (site.folder / "camden" / "ledger.db").unlink()
    Ledger(site.folder / "camden" / "ledger.db", Clock()).close()
    found = about_the_journal(site)
    assert found.level is Level.ERROR
    assert "that is not in the journal" in found.what


def test_a_receipt_that_was_given_is_asked_for_again_and_verified(site: Site) -> None:
    found = last(site)
    assert found.level is Level.OK
    assert site.receiver_key.kid in found.what


def test_a_receipt_by_a_key_that_is_not_pinned_is_an_error(site: Site) -> None:
    (site.folder / "receiver.pub").write_bytes(SigningKey.generate().verify_key.pem())
    found = last(site)
    assert found.level is Level.ERROR
    assert "an unknown key" in found.what


def test_a_server_that_has_lost_a_clip_is_an_error(site: Site) -> None:
    shutil.rmtree(site.folder / "store" / "clips")
    (site.folder / "store" / "clips").mkdir()
    found = last(site)
    assert found.level is Level.ERROR
    assert "no longer has clip 1" in found.what


def test_asking_leaves_the_ledger_and_the_store_as_they_were(site: Site) -> None:
    def files() -> dict[Path, bytes]:
        kept = [*(site.folder / "store").rglob("*"), site.folder / "camden" / "ledger.db"]
        # The statement log grows by itself for a moment after a receipt.
        log = site.folder / "store" / "log"
        return {
            path: path.read_bytes()
            for path in kept
            if path.is_file() and log not in path.parents and "log.db" not in path.name
        }

    before = files()
    last(site)
    assert files() == before
