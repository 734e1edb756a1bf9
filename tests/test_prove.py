import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dockd import journal
from dockd.age import Sealer, X25519Identity
from dockd.errors import AgeNoMatchError
from dockd.keys import SigningKey
from dockd.manifest import Content, JournalHead, Manifest, sign, statement_sha256
from dockd.prove import Exhibits, Finding, prove
from tests.support import make_manifest, make_receipt

STATION, RECEIVER, STRANGER = (SigningKey.generate() for _ in range(3))
IDENTITY = X25519Identity.generate()
PLAINTEXT = b"what the officer recorded" * 10_000


def content(data: bytes) -> Content:
    return Content(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def seal(data: bytes) -> bytes:
    sealer = Sealer([IDENTITY.recipient])
    out = bytearray(len(data) + 16 * (len(data) // 65536 + 1))
    return sealer.prologue + out[: sealer.seal_into(bytearray(data), out, final=True)]


class Case:
    """All that belongs to one clip, as files and statements."""

    def __init__(self, folder: Path) -> None:
        self.clip = folder / "clip.age"
        self.journal = folder / "journal.jsonl"
        sealed = seal(PLAINTEXT)
        self.clip.write_bytes(sealed)
        entries = [self._entry(journal.GENESIS, "camera.docked")]
        manifest = make_manifest(
            STATION,
            plaintext=content(PLAINTEXT),
            ciphertext=content(sealed),
            recipients=[IDENTITY.recipient.fingerprint],
            journal=entries[-1].head,
        )
        token = sign(manifest, STATION)
        receipt = sign(make_receipt(RECEIVER, manifest, token), RECEIVER)
        for event, member, statement in (
            ("clip.spooled", "manifest_sha256", token),
            ("clip.acknowledged", "receipt_sha256", receipt),
        ):
            detail = {member: statement_sha256(statement)}
            entries.append(self._entry(entries[-1].head, event, **detail))
        self.write_journal(entries)
        self.manifest = manifest
        self.entries = entries
        self.exhibits = Exhibits(
            manifest=token,
            station_keys=[STRANGER.verify_key, STATION.verify_key],
            receipt=receipt,
            receiver_keys=[RECEIVER.verify_key],
            clip=self.clip,
            identities=[IDENTITY],
            journal=self.journal,
        )

    def _entry(self, head: JournalHead, event: str, **detail: str) -> journal.Entry:
        return journal.link(
            head, at="2026-11-21T12:00:00.000Z", event=event, camera="c", clip=1, detail=detail
        )

    def write_journal(self, entries: list[journal.Entry]) -> None:
        self.journal.write_text("".join(entry.as_json() + "\n" for entry in entries))

    def bring(self, manifest: Manifest) -> None:
        """Put a manifest of the station's in the place of the one in the case."""
        self.exhibits = replace(self.exhibits, manifest=sign(manifest, STATION))

    def findings(self) -> list[tuple[str, bool]]:
        return [(finding.what, finding.holds) for finding in prove(self.exhibits)]

    def failure(self) -> Finding:
        (failed,) = [finding for finding in prove(self.exhibits) if not finding.holds]
        return failed


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_what_belongs_together_is_proved(case: Case) -> None:
    assert case.findings() == [
        ("manifest", True),
        ("receipt", True),
        ("ciphertext", True),
        ("plaintext", True),
        ("journal", True),
    ]
    details = " ".join(finding.detail for finding in prove(case.exhibits))
    for told in (case.manifest.clip_id, "camden-07", "evidence-1", content(PLAINTEXT).sha256):
        assert told in details
    assert "unbroken up to entry 3" in details


def test_what_is_not_handed_in_is_not_checked(case: Case) -> None:
    alone = Exhibits(case.exhibits.manifest, case.exhibits.station_keys)
    assert [finding.what for finding in prove(alone)] == ["manifest"]
    case.exhibits = replace(case.exhibits, identities=())
    assert ("plaintext", True) not in case.findings()
    case.exhibits = replace(case.exhibits, receipt=None)
    assert case.findings() == [("manifest", True), ("ciphertext", True), ("journal", True)]


def test_a_manifest_by_nobody_known_ends_the_proof(case: Case) -> None:
    case.exhibits = replace(case.exhibits, station_keys=[STRANGER.verify_key])
    assert case.findings() == [("manifest", False)]
    assert "not known here" in case.failure().detail


def test_a_receipt_that_counts_for_nothing_ends_the_proof(case: Case) -> None:
    case.exhibits = replace(case.exhibits, receiver_keys=[STRANGER.verify_key])
    assert case.findings() == [("manifest", True), ("receipt", False)]


def test_without_receiver_keys_no_receipt_holds(case: Case) -> None:
    case.exhibits = replace(case.exhibits, receiver_keys=())
    assert ("receipt", False) in case.findings()


def test_a_damaged_ciphertext_is_found(case: Case) -> None:
    data = bytearray(case.clip.read_bytes())
    data[-1] ^= 1
    case.clip.write_bytes(data)
    assert case.findings()[2:] == [("ciphertext", False), ("plaintext", False), ("journal", True)]
    ciphertext, plaintext = [one for one in prove(case.exhibits) if not one.holds]
    assert f"instead of {len(data)} with {case.manifest.ciphertext.sha256}" in ciphertext.detail
    assert "damaged" in plaintext.detail


def test_another_plaintext_under_a_right_ciphertext_digest_is_found(case: Case) -> None:
    sealed = seal(b"something else")
    case.clip.write_bytes(sealed)
    manifest = case.manifest.model_copy(update={"ciphertext": content(sealed)})
    case.bring(manifest)
    case.exhibits = replace(case.exhibits, receipt=None, journal=None)
    assert case.findings() == [("manifest", True), ("ciphertext", True), ("plaintext", False)]


def test_an_identity_that_does_not_open_it_is_found(case: Case) -> None:
    case.exhibits = replace(case.exhibits, identities=[X25519Identity.generate()])
    assert case.failure().what == "plaintext"
    assert AgeNoMatchError().message in case.failure().detail


@pytest.mark.parametrize("exhibit", ["clip", "journal"])
def test_an_exhibit_that_cannot_be_read_is_a_finding(case: Case, exhibit: str) -> None:
    case.exhibits = replace(case.exhibits, identities=())
    path: Path = getattr(case, exhibit)
    path.unlink()
    assert case.failure().detail == f"{path}: No such file or directory"


def cut(case: Case) -> str:
    case.write_journal(case.entries[:-1])
    return "no clip.acknowledged"


def cut_before_the_anchor(case: Case) -> str:
    case.write_journal([])
    return "ends at entry 0, but a manifest names entry 1"


def edit(case: Case) -> str:
    case.write_journal([case.entries[0], replace(case.entries[1], clip=2), case.entries[2]])
    return "does not follow"


def drop(case: Case) -> str:
    case.write_journal([case.entries[0], case.entries[2]])
    return "does not follow"


def garbage(case: Case) -> str:
    case.journal.write_bytes(b"\xff\xfe")
    return "decode"


def html(case: Case) -> str:
    case.journal.write_text("<html>\n")
    return "not an entry"


def another_stations(case: Case) -> str:
    detail = {"manifest_sha256": "0" * 64}
    first = journal.link(
        journal.GENESIS, at="then", event="clip.spooled", camera="c", clip=1, detail=detail
    )
    case.write_journal([first])
    return "not the one that a manifest names"


@pytest.mark.parametrize(
    "damage", [cut, cut_before_the_anchor, edit, drop, garbage, html, another_stations]
)
def test_a_journal_that_does_not_bear_the_clip_out_is_found(
    case: Case, damage: Callable[[Case], str]
) -> None:
    told = damage(case)
    assert case.failure().what == "journal"
    assert told in case.failure().detail


def test_a_clip_that_another_station_brought_is_proved_by_its_receipt(case: Case) -> None:
    """What is stored is the other station's ciphertext, and the receipt says so."""
    theirs = make_manifest(
        STRANGER,
        station="soho-01",
        plaintext=case.manifest.plaintext,
        ciphertext=case.manifest.ciphertext,
        recipients=case.manifest.recipients,
    )
    receipt = sign(make_receipt(RECEIVER, theirs, sign(theirs, STRANGER)), RECEIVER)
    case.bring(case.manifest.model_copy(update={"ciphertext": content(b"our own, thrown away")}))
    case.exhibits = replace(case.exhibits, receipt=receipt, journal=None)
    assert [holds for _, holds in case.findings()] == [True] * 4
