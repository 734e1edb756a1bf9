import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockd.base.errors import AgeNoMatchError
from dockd.evidence import journal
from dockd.evidence.age import Sealer, X25519Identity
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import Content, JournalHead, Manifest, sign, statement_sha256
from dockd.evidence.verify import Exhibits, Verification, prove
from tests.pages import ROOT, blocks
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
        self.folder = folder
        self.clip = folder / "clip.age"
        self.journal = folder / "journal.jsonl"
        sealed = seal(PLAINTEXT)
        self.clip.write_bytes(sealed)
        entries = [self.entry(journal.GENESIS, "camera.docked", detail={})]
        manifest = make_manifest(
            STATION,
            plaintext=content(PLAINTEXT),
            ciphertext=content(sealed),
            recipients=[IDENTITY.recipient.fingerprint],
            journal=entries[-1].head,
        )
        token = sign(manifest, STATION)
        receipt = sign(make_receipt(RECEIVER, manifest, token), RECEIVER)
        told: list[tuple[str, int | None, dict[str, str]]] = [
            ("clip.spooled", 1, {"manifest_sha256": statement_sha256(token)}),
            ("clip.acknowledged", 1, {"receipt_sha256": statement_sha256(receipt)}),
            ("camera.undocked", None, {}),
        ]
        for event, clip, detail in told:
            entries.append(self.entry(entries[-1].head, event, clip=clip, detail=detail))
        self.write_journal(entries)
        self.manifest = manifest
        self.entries = entries
        self.exhibits = Exhibits(
            manifest=self.write("manifest.jws", token),
            station_keys=[STRANGER.verify_key, STATION.verify_key],
            receipt=self.write("receipt.jws", receipt),
            receiver_keys=[RECEIVER.verify_key],
            clip=self.clip,
            identities=[IDENTITY],
            journal=self.journal,
        )

    @staticmethod
    def entry(
        head: JournalHead, event: str, *, clip: int | None = None, detail: Mapping[str, Any]
    ) -> journal.Entry:
        return journal.link(
            head, at="2026-11-21T12:00:00.000Z", event=event, camera="c", clip=clip, detail=detail
        )

    def write(self, name: str, statement: str) -> Path:
        path = self.folder / name
        path.write_text(statement)
        return path

    def write_journal(self, entries: list[journal.Entry]) -> None:
        self.journal.write_text("".join(entry.as_json() + "\n" for entry in entries))

    def bring(self, manifest: Manifest) -> None:
        """Put a manifest of the station's in the place of the one in the case."""
        self.write("manifest.jws", sign(manifest, STATION))

    def anchor(self, *heads: JournalHead, key: SigningKey = STATION) -> None:
        """Add later manifests of the station's that carry these heads."""
        self.exhibits = replace(
            self.exhibits,
            anchors=[
                self.write(f"anchor-{number}.jws", sign(make_manifest(key, journal=head), key))
                for number, head in enumerate(heads)
            ],
        )

    def journal_finding(self) -> Verification:
        (found,) = [finding for finding in prove(self.exhibits) if finding.what == "journal"]
        return found

    def findings(self) -> list[tuple[str, bool]]:
        return [(finding.what, finding.holds) for finding in prove(self.exhibits)]

    def failure(self) -> Verification:
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
    assert "intact up to entry 4" in details


def test_what_is_not_handed_in_is_not_checked(case: Case) -> None:
    alone = Exhibits(case.exhibits.manifest, case.exhibits.station_keys)
    assert [finding.what for finding in prove(alone) if finding.checked] == ["manifest"]
    case.exhibits = replace(case.exhibits, identities=())
    (unseen,) = [finding for finding in prove(case.exhibits) if not finding.checked]
    assert (unseen.what, unseen.detail) == ("plaintext", "not checked: no identity given")
    case.exhibits = replace(case.exhibits, receipt=None)
    found = [finding.what for finding in prove(case.exhibits) if finding.checked]
    assert found == ["manifest", "ciphertext", "journal"]


def test_a_manifest_by_nobody_known_ends_the_proof(case: Case) -> None:
    case.exhibits = replace(case.exhibits, station_keys=[STRANGER.verify_key])
    assert case.findings() == [("manifest", False)]
    assert "an unknown key" in case.failure().detail


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


@pytest.mark.parametrize("exhibit", ["manifest", "receipt", "clip", "journal"])
def test_an_exhibit_that_cannot_be_read_is_a_finding(case: Case, exhibit: str) -> None:
    case.exhibits = replace(case.exhibits, identities=())
    path: Path = getattr(case.exhibits, exhibit)
    path.unlink()
    assert case.failure().detail == f"{path}: No such file or directory"


def test_a_statement_of_any_size_is_looked_at(case: Case) -> None:
    """A clip that is named in place of its manifest, say."""
    with case.exhibits.manifest.open("r+") as file:
        file.truncate(1 << 40)
    assert "longer than" in case.failure().detail


def test_it_is_said_how_far_the_journal_has_a_witness(case: Case) -> None:
    assert case.journal_finding().detail == (
        "intact up to entry 4, anchored by signed manifests up to entry 1;"
        " the last entry about this clip is 3, beyond that"
    )
    case.anchor(case.entries[1].head)
    assert "up to entry 2; the last entry about this clip is 3, beyond" in (
        case.journal_finding().detail
    )
    case.anchor(case.entries[2].head, case.entries[0].head)
    assert ("anchor", True) in case.findings()
    assert case.journal_finding().detail == (
        "intact up to entry 4, anchored by signed manifests up to entry 3;"
        " the last entry about this clip is 3, within that"
    )


def test_a_later_manifest_does_not_witness_what_was_put_behind_the_anchor(case: Case) -> None:
    """The entries that tell of manifest, receipt and wipe lie behind the manifest's own anchor."""
    case.anchor(case.entries[3].head)
    forged = [*case.entries[:2], case.entry(case.entries[1].head, "clip.wiped", clip=1, detail={})]
    case.write_journal(forged)
    case.exhibits = replace(case.exhibits, receipt=None)
    assert case.failure().detail == (
        f"{case.journal}: The journal's hash chain is broken:"
        " it ends at entry 3, but a manifest names entry 4"
    )
    case.exhibits = replace(case.exhibits, anchors=[])
    assert "is 3, beyond that" in case.journal_finding().detail


def test_an_anchor_by_nobody_known_is_a_finding_and_witnesses_nothing(case: Case) -> None:
    stranger = SigningKey.generate()
    case.anchor(case.entries[2].head, key=stranger)
    assert case.failure().what == "anchor"
    assert case.failure().detail.startswith(f"{case.folder}/anchor-0.jws: ")
    assert "anchored by signed manifests up to entry 1" in case.journal_finding().detail


@pytest.mark.parametrize("branch", ["anchor", "manifest"])
def test_a_journal_that_lacks_what_a_manifest_followed_is_refused(case: Case, branch: str) -> None:
    """As where the station has gone on twice from one state, and this is the other journal."""
    previous = JournalHead(seq=1, hash="e" * 64)
    if branch == "anchor":
        later = make_manifest(STATION, journal=case.entries[3].head).model_copy(
            update={"previous": previous}
        )
        path = case.write("later.jws", sign(later, STATION))
        case.exhibits = replace(case.exhibits, anchors=[path])
    else:
        head = JournalHead(seq=0, hash="e" * 64)
        manifest = case.manifest.model_copy(update={"previous": head})
        case.exhibits = replace(
            case.exhibits, manifest=case.write("forked.jws", sign(manifest, STATION)), receipt=None
        )
    assert case.failure().what == "journal"


def test_an_anchor_of_another_stations_journal_is_not_in_this_one(case: Case) -> None:
    case.anchor(JournalHead(seq=2, hash="e" * 64))
    assert "entry 2 is not the one that a manifest names" in case.failure().detail


def cut(case: Case) -> str:
    case.write_journal(case.entries[:2])
    return "no clip.acknowledged"


def tell_of_another_clips_receipt(case: Case) -> str:
    head = case.entries[1].head
    told = case.entry(head, "clip.acknowledged", clip=2, detail=case.entries[2].detail)
    case.write_journal([*case.entries[:2], told])
    return "no clip.acknowledged"


def end_lines_otherwise(case: Case) -> str:
    case.journal.write_bytes(case.journal.read_bytes().replace(b"\n", b"\r\n"))
    return "not in the form in which it was hashed"


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
    "damage",
    [
        cut,
        cut_before_the_anchor,
        edit,
        drop,
        garbage,
        html,
        another_stations,
        tell_of_another_clips_receipt,
        end_lines_otherwise,
    ],
)
def test_a_journal_that_does_not_bear_the_clip_out_is_found(
    case: Case, damage: Callable[[Case], str]
) -> None:
    told = damage(case)
    assert case.failure().what == "journal"
    assert told in case.failure().detail


def test_a_receipt_for_another_stations_upload_proves_nothing_of_this_manifest(case: Case) -> None:
    """A manifest is a claim: what it says of officer, time and place, its own upload proves."""
    theirs = make_manifest(
        STRANGER,
        station="soho-01",
        plaintext=case.manifest.plaintext,
        ciphertext=case.manifest.ciphertext,
        recipients=case.manifest.recipients,
    )
    receipt = sign(make_receipt(RECEIVER, theirs, sign(theirs, STRANGER)), RECEIVER)
    case.bring(case.manifest.model_copy(update={"ciphertext": content(b"our own, thrown away")}))
    case.write("receipt.jws", receipt)
    case.exhibits = replace(case.exhibits, journal=None)
    assert case.findings() == [("manifest", True), ("receipt", False)]
    (_, finding) = prove(case.exhibits)
    assert "by soho-01" in finding.detail


# Without dockd, by the commands of docs/prove.md


CHAIN, ANCHORS, CLIP = range(3)
"""The blocks about the journal: its form and chain, its witnesses, what it tells of the clip."""


def run_blocks(case: Case, *commands: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", "\n".join(["set -euo pipefail", *commands])],
        cwd=case.folder,
        capture_output=True,
        text=True,
        check=False,
    )


def page_blocks() -> tuple[list[str], list[str]]:
    """The commands of the proof up to the journal, and those about it."""
    page = (ROOT / "docs" / "prove.md").read_text()
    before, _, after = page.partition("## Without dockd")[2].partition("### The journal")
    first, second = ([text for _, text in blocks(part, "sh")] for part in (before, after))
    return first, second


def by_hand(case: Case, block: int) -> bool:
    """Say whether a block about the journal finds it right."""
    return run_blocks(case, "source functions", page_blocks()[1][block]).returncode == 0


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A case with a later anchor, in a folder where all but its journal was proved by hand."""
    for tool in ("age", "basenc", "jq", "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"the documentation's commands need {tool}")
    case = Case(tmp_path_factory.mktemp("case"))
    case.anchor(case.entries[2].head)
    case.exhibits.anchors[0].rename(case.folder / "anchor.jws")
    case.exhibits = replace(case.exhibits, anchors=[case.folder / "anchor.jws"])
    (case.folder / "station.key.pub").write_bytes(STATION.verify_key.pem())
    (case.folder / "receiver.key.pub").write_bytes(RECEIVER.verify_key.pem())
    (case.folder / "evidence.key").write_text(f"{IDENTITY}\n")
    done = run_blocks(case, *page_blocks()[0], "declare -f > functions")
    assert done.returncode == 0, done.stdout + done.stderr
    return case


@pytest.fixture
def witnessed(proved: Case) -> Case:
    proved.write_journal(proved.entries)
    return proved


def test_what_belongs_together_is_proved_by_hand(witnessed: Case) -> None:
    assert [by_hand(witnessed, block) for block in (CHAIN, ANCHORS, CLIP)] == [True] * 3
    assert all(holds for _, holds in witnessed.findings())


def lines_of(case: Case) -> list[str]:
    return case.journal.read_text().splitlines(keepends=True)


def put_lines(case: Case, lines: list[str]) -> None:
    case.journal.write_text("".join(lines))


def rehashed(**members: Any) -> str:
    """A line whose hash is right, whatever else is in it."""
    text = journal.canonical(members)
    return journal.canonical(members | {"hash": hashlib.sha256(text.encode()).hexdigest()}) + "\n"


def name_a_member_twice(case: Case) -> None:
    lines = lines_of(case)
    put_lines(case, [lines[0].replace("{", '{"event":"clip.wiped",', 1), *lines[1:]])


def put_white_space_in(case: Case) -> None:
    put_lines(case, [line.replace(":", ": ", 1) for line in lines_of(case)])


def escape_a_letter(case: Case) -> None:
    put_lines(
        case, [line.replace("camera.docked", "c\\u0061mera.docked") for line in lines_of(case)]
    )


def turn_the_members_around(case: Case) -> None:
    turned = [dict(reversed(json.loads(line).items())) for line in lines_of(case)]
    put_lines(case, [json.dumps(one, separators=(",", ":")) + "\n" for one in turned])


def put_two_entries_on_a_line(case: Case) -> None:
    lines = lines_of(case)
    put_lines(case, [lines[0].rstrip(), *lines[1:]])


def alter_an_entry(case: Case) -> None:
    put_lines(case, [line.replace("camera.docked", "camera.locked") for line in lines_of(case)])


def alter_the_last_entry_and_leave_its_line_open(case: Case) -> None:
    *lines, last = lines_of(case)
    put_lines(case, [*lines, last.rstrip().replace("camera.undocked", "camera.docked")])


def leave_the_first_out(case: Case) -> None:
    put_lines(case, lines_of(case)[1:])


def leave_one_out(case: Case) -> None:
    lines = lines_of(case)
    put_lines(case, [*lines[:2], *lines[3:]])


def leave_one_out_and_count_anew(case: Case) -> None:
    entries = [json.loads(line) for line in lines_of(case)]
    del entries[1]
    for number, members in enumerate(entries, start=1):
        del members["hash"]
        members["seq"] = number
    put_lines(case, [rehashed(**members) for members in entries])


def leave_a_number_out(case: Case) -> None:
    members = json.loads(lines_of(case)[-1])
    del members["hash"]
    put_lines(case, [*lines_of(case)[:-1], rehashed(**members | {"seq": 5})])


def write_a_number_as_text(case: Case) -> None:
    members = json.loads(lines_of(case)[-1])
    del members["hash"]
    put_lines(case, [*lines_of(case)[:-1], rehashed(**members | {"seq": "4"})])


def put_the_hash_elsewhere(case: Case) -> None:
    """What a search for it, and a text without it, would take for the entry's own."""
    members = json.loads(lines_of(case)[-1]) | {"event": "camera.docked"}
    text = journal.canonical({name: members[name] for name in members if name != "hash"})
    members["detail"] = {"hash": hashlib.sha256(text.encode()).hexdigest(), "x": 1}
    put_lines(case, [*lines_of(case)[:-1], journal.canonical(members) + "\n"])


@pytest.mark.parametrize(
    "forge",
    [
        name_a_member_twice,
        put_white_space_in,
        escape_a_letter,
        turn_the_members_around,
        put_two_entries_on_a_line,
        alter_an_entry,
        alter_the_last_entry_and_leave_its_line_open,
        leave_the_first_out,
        leave_one_out,
        leave_one_out_and_count_anew,
        leave_a_number_out,
        write_a_number_as_text,
        put_the_hash_elsewhere,
        html,
        end_lines_otherwise,
    ],
)
def test_a_journal_that_is_not_its_own_chain_is_refused_by_hand_and_by_dockd(
    witnessed: Case, forge: Callable[[Case], object]
) -> None:
    forge(witnessed)
    assert not by_hand(witnessed, CHAIN)
    assert not witnessed.journal_finding().holds


def begin_a_new_chain(case: Case, *, smuggled: bool = False) -> None:
    """Put in another first entry, and make all after it anew."""
    chain = [case.entry(journal.GENESIS, "camera.undocked", detail={})]
    for entry in case.entries[1:]:
        detail = (
            {**entry.detail, "hash": entry.hash, "seq": entry.seq} if smuggled else entry.detail
        )
        chain.append(case.entry(chain[-1].head, entry.event, clip=entry.clip, detail=detail))
    case.write_journal(chain)


def smuggle_the_anchors_in(case: Case) -> None:
    begin_a_new_chain(case, smuggled=True)


def cut_before_the_later_anchor(case: Case) -> None:
    put_lines(case, lines_of(case)[:2])


def cut_all(case: Case) -> None:
    put_lines(case, [])


@pytest.mark.parametrize(
    "forge", [begin_a_new_chain, smuggle_the_anchors_in, cut_before_the_later_anchor, cut_all]
)
def test_a_journal_that_lacks_what_an_anchor_names_is_refused_by_hand_and_by_dockd(
    witnessed: Case, forge: Callable[[Case], object]
) -> None:
    forge(witnessed)
    assert by_hand(witnessed, CHAIN)
    assert not by_hand(witnessed, ANCHORS)
    assert not witnessed.journal_finding().holds


def test_an_anchor_in_an_open_last_line_is_refused_by_hand(witnessed: Case) -> None:
    head = witnessed.entries[2].head
    put_lines(witnessed, [lines_of(witnessed)[0], f'{{"hash":"{head.hash}","seq":{head.seq}}}'])
    assert not by_hand(witnessed, CHAIN)
    assert not witnessed.journal_finding().holds


@pytest.mark.parametrize("forge", [cut, tell_of_another_clips_receipt, cut_all])
def test_a_journal_that_does_not_tell_of_the_clip_is_refused_by_hand_and_by_dockd(
    witnessed: Case, forge: Callable[[Case], object]
) -> None:
    forge(witnessed)
    assert by_hand(witnessed, CHAIN)
    assert not by_hand(witnessed, CLIP)
    assert not witnessed.journal_finding().holds
