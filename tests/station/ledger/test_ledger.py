import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from dockd.base.errors import (
    JournalBrokenError,
    LedgerError,
    LedgerVersionError,
    ManifestRefusedError,
    NotFoundError,
    TransitionError,
)
from dockd.base.randomness import Randomness
from dockd.evidence import journal
from dockd.evidence.journal import GENESIS
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import (
    Content,
    JournalHead,
    derive_clip_id,
    read_unverified_manifest,
    sign,
    statement_sha256,
)
from dockd.station.ledger import journal_kinds as journal_entries
from dockd.station.ledger.database import Database
from dockd.station.ledger.dockings import Observed
from dockd.station.ledger.ingests import SealedFacts
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.ledger import Ledger
from dockd.station.ledger.schema import MIGRATIONS
from dockd.station.lifecycle import (
    LIFECYCLE,
    ON_ITS_WAY,
    PENDING,
    UNWIPED,
    Happening,
    State,
)
from dockd.station.model import Camera, Clip, FileStat, FoundFile, Match, Pause
from tests.clocks import FakeClock
from tests.pages import ROOT
from tests.support import ALICE, BOB, fill, make_manifest, small_disk

CAMERA = Camera("generic", "CAM-0001")
OTHER = Camera("generic", "CAM-0002")
KEY = SigningKey.generate()
PATH = b"DCIM/0001.mp4"


def found(path: bytes = PATH, size: int = 1000, *, match: Match | None = None) -> FoundFile:
    return FoundFile(path, size, 1_700_000_000_000_000_000, match or Match("video"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(path, FakeClock())) as opened:
        yield opened


class Story:
    """Takes clips of one camera through their lives."""

    def __init__(self, ledger: Ledger, camera: Camera = CAMERA) -> None:
        self.ledger = ledger
        self.camera = camera
        self.docking = ledger.dockings.begin(camera, "bay 1")

    def look(self, *files: FoundFile) -> Observed:
        return self.ledger.dockings.observe(self.camera, self.docking, files)

    def clip(self, path: bytes = PATH) -> Clip:
        """The newest clip at a path."""
        return [
            clip
            for clip in self.ledger.queries.clips()
            if clip.path == path and clip.camera == self.camera
        ][-1]

    def ingest(self, clip: Clip) -> None:
        self.ledger.ingests.begin(clip, self.docking)

    def interrupt(self, clip: Clip) -> None:
        self.ledger.ingests.interrupt(clip, "clip.changed", "it changed")

    def give_up(self, clip: Clip) -> None:
        self.ledger.ingests.unreadable(clip, "clip.unreadable", "Input/output error")

    def spool(self, clip: Clip) -> None:
        plaintext = Content(sha256=f"{clip.id:064x}", size=clip.size)
        facts = SealedFacts(
            derive_clip_id(clip.camera.id, plaintext.sha256),
            FileStat(clip.size, clip.modified_ns, 5, 6, 7),
            plaintext,
            Content(sha256=f"{clip.id + 1000:064x}", size=clip.size + 200),
        )

        def signed(head: JournalHead) -> str:
            manifest = make_manifest(
                KEY, plaintext=plaintext, ciphertext=facts.ciphertext, journal=head
            )
            file = manifest.file.model_copy(update={"path": clip.name})
            return sign(manifest.model_copy(update={"file": file}), KEY)

        self.ledger.ingests.spooled(clip, facts, signed(self.ledger.journal.head()))

    def leave(self, clip: Clip) -> None:
        """Look without a clip's file."""
        self.look(*(found(one.path, one.size) for one in self._present() if one.id != clip.id))

    def come_again(self, clip: Clip) -> None:
        """Find, and read, a clip that has left while it was in the spool."""
        self.look(*(found(one.path, one.size) for one in self._present()), found(clip.path))
        again = self.clip(clip.path)
        self.ingest(again)
        facts = SealedFacts(
            str(clip.clip_id),
            FileStat(clip.size, clip.modified_ns, 5, 6, 8),
            Content(sha256=str(clip.plaintext_sha256), size=clip.size),
            Content(sha256="f" * 64, size=clip.size + 200),
        )
        assert self.ledger.ingests.rejoin(again, facts, [ALICE, BOB]) is not None

    def renew(self, clip: Clip) -> None:
        self.ledger.ingests.renewed(clip, str(clip.manifest or sign(make_manifest(KEY), KEY)))

    def lose(self, clip: Clip) -> None:
        self.ledger.ingests.spool_lost(clip, "spool.damaged", "the disk returns other bytes")

    def upload(self, clip: Clip) -> None:
        self.ledger.uploads.begin(clip)

    def finish(self, clip: Clip) -> None:
        self.ledger.uploads.uploaded(clip)

    def restart(self, clip: Clip) -> None:
        self.ledger.orders.restart_upload(clip, 7)

    def reject(self, clip: Clip) -> None:
        self.ledger.uploads.reject(clip, "clip.rejected", "422: no")

    def acknowledge(self, clip: Clip) -> None:
        self.ledger.uploads.acknowledge(clip, f"receipt of {clip.id}", f"answer of {clip.id}")

    def confirm(self, clip: Clip) -> None:
        self.ledger.wipes.confirmed(clip, f"receipt of {clip.id}", f"new answer of {clip.id}")

    def disown(self, clip: Clip) -> None:
        self.ledger.wipes.disown(clip)

    def begin_wipe(self, clip: Clip) -> None:
        self.ledger.wipes.begin([clip], "delete")

    def wipe(self, clip: Clip) -> None:
        self.ledger.wipes.wiped([clip])

    def recover(self, clip: Clip) -> None:
        self.ledger.ingests.recover()

    def read_again(self, clip: Clip) -> None:
        self.ledger.orders.read_again(clip, 7)

    def send_again(self, clip: Clip) -> None:
        self.ledger.orders.send_again(clip, 7)

    def replace(self, clip: Clip) -> None:
        self.ledger.dockings.replaced(clip)

    def bring_to(self, state: State, path: bytes = PATH) -> Clip:
        """Find a file, and take it to a state."""
        self.look(*(found(clip.path, clip.size) for clip in self._present()), found(path))
        for step in LIVES[state]:
            step(self, self.clip(path))
        clip = self.clip(path)
        assert clip.state is state
        return clip

    def _present(self) -> list[Clip]:
        return [
            clip
            for clip in self.ledger.queries.clips()
            if clip.camera == self.camera and clip.present and clip.state is not State.WIPED
        ]


Step = Callable[[Story, Clip], None]

LIVES: dict[State, list[Step]] = {
    State.FOUND: [],
    State.INGESTING: [Story.ingest],
    State.UNREADABLE: [Story.ingest, Story.give_up],
    State.SPOOLED: [Story.ingest, Story.spool],
    State.UPLOADING: [Story.ingest, Story.spool, Story.upload],
    State.UPLOADED: [Story.ingest, Story.spool, Story.upload, Story.finish],
    State.REJECTED: [Story.ingest, Story.spool, Story.upload, Story.reject],
    State.ACKNOWLEDGED: [Story.ingest, Story.spool, Story.upload, Story.acknowledge],
    State.WIPING: [
        *(Story.ingest, Story.spool, Story.upload, Story.acknowledge),
        Story.begin_wipe,
    ],
    State.WIPED: [
        *(Story.ingest, Story.spool, Story.upload, Story.acknowledge),
        *(Story.begin_wipe, Story.wipe),
    ],
}

CHANGES: dict[Step, Happening] = {
    Story.ingest: Happening.READ_BEGUN,
    Story.give_up: Happening.READ_FAILED,
    Story.spool: Happening.SPOOLED,
    Story.renew: Happening.RENEWED,
    Story.lose: Happening.CIPHERTEXT_LOST,
    Story.finish: Happening.UPLOADED,
    Story.restart: Happening.UPLOAD_RESTARTED,
    Story.reject: Happening.REJECTED,
    Story.acknowledge: Happening.ACKNOWLEDGED,
    Story.begin_wipe: Happening.WIPE_BEGUN,
    Story.wipe: Happening.WIPED,
    Story.read_again: Happening.READ_AGAIN,
    Story.send_again: Happening.SENT_AGAIN,
    Story.replace: Happening.REPLACED,
}


@pytest.fixture
def story(ledger: Ledger) -> Story:
    return Story(ledger)


def events_of(ledger: Ledger, clip: Clip) -> list[str]:
    return [entry.event for entry in ledger.journal.entries() if entry.clip == clip.id]


# Transitions


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("change", CHANGES)
def test_a_state_changes_only_as_the_table_says_and_the_journal_tells(
    ledger: Ledger, story: Story, state: State, change: Step
) -> None:
    clip = story.bring_to(state)
    before = ledger.journal.head()
    transition = LIFECYCLE.get((state, CHANGES[change]))
    if transition is not None:
        change(story, clip)
        assert ledger.queries.clip(clip.id).state is transition.to
        (entry,) = ledger.journal.entries(after=before.seq)
        assert (entry.camera, entry.clip) == (CAMERA.id, clip.id)
        assert entry.event == transition.kind
    else:
        with pytest.raises(TransitionError):
            change(story, clip)
        assert ledger.queries.clip(clip.id) == clip
        assert ledger.journal.head() == before
    ledger.journal.verify()


@pytest.mark.parametrize("is_present", [True, False])
@pytest.mark.parametrize("state", State)
def test_what_is_not_in_the_table_does_not_happen_and_changes_nothing(
    ledger: Ledger, story: Story, state: State, is_present: bool
) -> None:
    clip = story.bring_to(state)
    ledger.database.execute("UPDATE clips SET present = ?", (is_present,))
    before, head = rows_of(ledger), ledger.journal.head()
    for happening in Happening:
        transition = LIFECYCLE.get((state, happening))
        if transition is None or transition.present is is_present:
            with pytest.raises(TransitionError), ledger.database.transaction():
                ledger.clips.change(clip, happening, {})
            assert rows_of(ledger) == before
            assert ledger.journal.head() == head


@pytest.mark.parametrize(("state", "happening"), sorted(key for key in LIFECYCLE if key[0]))
def test_what_is_in_the_table_happens_as_it_says(
    ledger: Ledger, story: Story, state: State, happening: Happening
) -> None:
    transition = LIFECYCLE[state, happening]
    clip = story.bring_to(state)
    is_present = not transition.present
    ledger.database.execute("UPDATE clips SET present = ?", (is_present,))
    head = ledger.journal.head()
    with ledger.database.transaction():
        ledger.clips.change(clip, happening, {})
    (entry,) = ledger.journal.entries(after=head.seq)
    assert (entry.event, entry.clip) == (transition.kind, clip.id)
    after = ledger.queries.known_clip(clip.id)
    assert (after and after.state) == transition.to
    if after is not None and after.state is not State.WIPED:
        expected = is_present if transition.present is None else transition.present
        assert after.present is expected


def rows_of(ledger: Ledger) -> list[tuple[object, ...]]:
    return [tuple(row) for row in ledger.database.execute("SELECT * FROM clips")]


def test_states_are_written_in_one_place() -> None:
    for module in (ROOT / "dockd" / "station" / "ledger").glob("*.py"):
        if module.name in {"clips.py", "schema.py"}:
            continue
        source = module.read_text()
        assert "INSERT INTO clips" not in source, module
        assert "DELETE FROM clips" not in source, module
        for written in re.findall(r"UPDATE clips SET (.*?) WHERE", source, re.DOTALL):
            assert not re.search(r"\b(state|present|since)\b", written), module


def test_what_happens_to_a_clip_that_is_not_there_is_not_found(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.INGESTING)
    ledger.database.execute("DELETE FROM clips")
    with pytest.raises(NotFoundError, match="no clip 1"):
        story.spool(clip)


@pytest.mark.parametrize(
    ("state", "change"),
    [
        *((State.UPLOADING, change) for change in (Story.finish, Story.renew, Story.restart)),
        *((State.UPLOADED, change) for change in (Story.renew, Story.restart)),
        (State.ACKNOWLEDGED, Story.begin_wipe),
    ],
)
def test_a_state_that_is_shown_under_the_same_name_lasts_since_the_first_of_them(
    ledger: Ledger, story: Story, state: State, change: Step
) -> None:
    clip = story.bring_to(state)
    ledger.database.execute("UPDATE clips SET since = 'before'")
    ledger.clips.note_problem(clip, "receipt.refused", "it is for another clip")
    change(story, ledger.queries.clip(clip.id))
    (row,) = ledger.database.execute("SELECT since, problem FROM clips")
    assert tuple(row) == ("before", "it is for another clip")


@pytest.mark.parametrize("state", State)
def test_only_an_ingest_under_way_can_be_interrupted(
    ledger: Ledger, story: Story, state: State
) -> None:
    clip = story.bring_to(state)
    before = ledger.journal.head()
    story.interrupt(clip)
    if state is State.INGESTING:
        assert ledger.queries.clip(clip.id).state is State.FOUND
        (entry,) = ledger.journal.entries(after=before.seq)
        assert entry.event == "clip.ingest_interrupted"
    else:
        # It was over before the interruption came: what is spooled stays spooled.
        assert ledger.queries.clip(clip.id) == clip
        assert ledger.journal.head() == before


def test_the_same_problem_is_noted_once(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.UPLOADING)
    ledger.clips.note_problem(clip, "receipt.refused", "it is for another clip")
    noted = ledger.journal.head()
    ledger.clips.note_problem(clip, "receipt.refused", "it is for another clip")
    assert ledger.journal.head() == noted
    assert ledger.queries.clip(clip.id).problem == "it is for another clip"
    ledger.clips.note_problem(clip, "receipt.refused", "it is not a signed statement")
    assert ledger.journal.head().seq == noted.seq + 1


def test_the_table_is_exhausted_by_what_the_ledger_can_do() -> None:
    looks = {Happening.SEEN, Happening.WIPE_UNDONE, Happening.VANISHED}
    ifs = {Happening.READ_INTERRUPTED, Happening.UPLOAD_BEGUN, Happening.DISOWNED}
    spool = {Happening.REJOINED, Happening.RETURNED, Happening.TAKEN_IN}
    assert looks | ifs | spool | {*CHANGES.values()} == set(Happening)


@pytest.mark.parametrize("state", State)
def test_an_upload_begins_once(ledger: Ledger, story: Story, state: State) -> None:
    clip = story.bring_to(state)
    before = ledger.journal.head()
    story.upload(clip)
    story.upload(clip)
    expected = State.UPLOADING if state is State.SPOOLED else state
    assert ledger.queries.clip(clip.id).state is expected
    assert ledger.journal.head().seq == before.seq + (state is State.SPOOLED)


@pytest.mark.parametrize("state", State)
def test_a_wipe_begins_for_acknowledged_clips_only(
    ledger: Ledger, story: Story, state: State
) -> None:
    acknowledged = story.bring_to(State.ACKNOWLEDGED, b"DCIM/first.mp4")
    clip = story.bring_to(state)
    before = ledger.journal.head()
    if state in UNWIPED:
        begun = ledger.wipes.begin([acknowledged, clip], "delete")
        assert begun == [ledger.queries.clip(acknowledged.id), ledger.queries.clip(clip.id)]
        assert {one.state for one in begun} == {State.WIPING}
        assert all(one.wipe_number for one in begun)
        # What an earlier try has left has the number of that one.
        assert clip.wipe_number in {0, begun[1].wipe_number}
        assert ledger.journal.head().seq == before.seq + 2
    else:
        with pytest.raises(TransitionError):
            ledger.wipes.begin([acknowledged, clip], "delete")
        assert ledger.queries.clip(acknowledged.id) == acknowledged
        assert ledger.queries.clip(clip.id) == clip
        assert ledger.journal.head() == before


def test_the_number_of_a_wipe_is_drawn_where_randomness_comes_from(path: Path) -> None:
    class Ones(Randomness):
        def bytes(self, count: int) -> bytes:
            return b"\x01" * count

    with closing(Ledger(path, FakeClock(), Ones())) as ledger:
        story = Story(ledger)
        first = story.bring_to(State.WIPING, b"1.mp4")
        second = story.bring_to(State.WIPING, b"2.mp4")
        assert first.wipe_number == second.wipe_number > 1


def test_a_wipe_that_is_not_allowed_for_one_clip_is_recorded_for_none(
    ledger: Ledger, story: Story
) -> None:
    acknowledged = story.bring_to(State.ACKNOWLEDGED)
    uploading = story.bring_to(State.UPLOADING, b"DCIM/0002.mp4")
    (begun,) = ledger.wipes.begin([acknowledged], "delete")
    with pytest.raises(TransitionError):
        ledger.wipes.wiped([begun, uploading])
    assert ledger.queries.clip(acknowledged.id) == begun


def test_a_whole_life_is_told_in_order(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.UPLOADING)
    ledger.uploads.remember(clip, "https://evidence.example/files/1")
    ledger.uploads.uploaded(clip)
    story.acknowledge(clip)
    story.begin_wipe(clip)
    story.wipe(clip)
    assert events_of(ledger, clip) == [
        "clip.found",
        "clip.ingesting",
        "clip.spooled",
        "clip.uploading",
        "clip.uploaded",
        "clip.acknowledged",
        "wipe.begun",
        "clip.wiped",
    ]
    ledger.journal.verify()


def test_what_an_ingest_made_is_kept_with_its_manifest(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.SPOOLED)
    assert clip.clip_id == derive_clip_id(CAMERA.id, f"{clip.id:064x}")
    assert clip.ciphertext_size == 1200
    assert clip.stat == FileStat(1000, clip.modified_ns, 5, 6, 7)
    entry = next(entry for entry in ledger.journal.entries() if entry.event == "clip.spooled")
    assert entry.detail["manifest_sha256"] == statement_sha256(clip.manifest or "")
    (anchor,) = ledger.journal.anchors()
    assert (anchor.seq, anchor.hash) == (entry.seq - 1, entry.prev)


def test_a_clip_whose_ciphertext_was_lost_is_uploaded_anew_from_the_start(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.UPLOADING)
    ledger.uploads.remember(clip, "https://evidence.example/files/1")
    ledger.uploads.uploaded(clip)
    story.lose(clip)
    lost = ledger.queries.clip(clip.id)
    assert (lost.upload_url, lost.state) == (None, State.FOUND)
    assert lost.problem == "the disk returns other bytes"
    assert ledger.queries.in_spool() == []


def test_a_problem_is_forgotten_with_the_next_step(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.INGESTING)
    story.interrupt(clip)
    stuck = ledger.queries.clip(clip.id)
    assert (stuck.error, stuck.problem) == ("clip.changed", "it changed")
    story.ingest(clip)
    going_on = ledger.queries.clip(clip.id)
    assert (going_on.error, going_on.problem) == (None, None)


def test_ingests_that_a_crash_cut_short_are_found_again(path: Path) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        story = Story(ledger)
        cut = story.bring_to(State.INGESTING)
        done = story.bring_to(State.SPOOLED, b"DCIM/0002.mp4")
    with closing(Ledger(path, FakeClock())) as ledger:
        assert ledger.ingests.recover() == 1
        assert ledger.queries.clip(cut.id).state is State.FOUND
        assert ledger.queries.clip(done.id) == done
        assert ledger.ingests.recover() == 0


# What a look at a camera changes


def test_new_files_are_new_clips(ledger: Ledger, story: Story) -> None:
    match = Match("sidecar", event=True, recorded_at=5.5, metadata={"officer": "Doe"})
    assert story.look(found(), found(b"a.gps", 0, match=match)) == Observed(2, 0)
    clip = story.clip(b"a.gps")
    assert (clip.state, clip.size, clip.present, clip.match) == (State.FOUND, 0, True, match)
    assert clip.docking == story.docking
    assert story.clip().match.recorded_at == 1_700_000_000


def test_the_same_files_change_nothing(ledger: Ledger, story: Story) -> None:
    story.look(found())
    before = ledger.journal.head()
    assert story.look(found()) == Observed(0, 0)
    assert ledger.journal.head() == before


def test_other_times_alone_make_no_other_clip(ledger: Ledger, story: Story) -> None:
    story.look(found())
    assert story.look(replace(found(), modified_ns=7)) == Observed(0, 0)
    assert story.clip().modified_ns == 7
    assert len(ledger.queries.clips()) == 1


@pytest.mark.parametrize("state", sorted(set(State) - {State.WIPED}))
def test_another_size_is_another_clip(ledger: Ledger, story: Story, state: State) -> None:
    clip = story.bring_to(state)
    assert story.look(found(size=1001)) == Observed(1, 0)
    assert story.clip().id != clip.id
    assert story.clip().state is State.FOUND
    left = ledger.queries.clip(clip.id)
    assert (left.state.shown, left.present) == (state.shown, False)
    assert left.state is not State.WIPING
    assert events_of(ledger, clip)[-1] == "clip.replaced"


@pytest.mark.parametrize("state", sorted(set(State) - {State.WIPING, State.WIPED}))
def test_a_file_that_is_gone_is_gone_by_another_hand(
    ledger: Ledger, story: Story, state: State
) -> None:
    clip = story.bring_to(state)
    assert story.look() == Observed(0, 1)
    left = ledger.queries.clip(clip.id)
    assert (left.state, left.present) == (state, False)
    assert events_of(ledger, clip)[-1] == "clip.vanished"
    assert ledger.queries.pending(CAMERA) == 0
    assert ledger.queries.to_wipe(CAMERA) == []


@pytest.mark.parametrize("unseen", [b"DCIM", b"DCIM/0001.mp4"])
def test_what_could_not_be_looked_at_is_not_gone(
    ledger: Ledger, story: Story, unseen: bytes
) -> None:
    clip = story.bring_to(State.SPOOLED)
    observed = ledger.dockings.observe(CAMERA, story.docking, [], [unseen])
    assert observed.vanished == 0
    assert ledger.queries.clip(clip.id).present


def test_what_is_beside_a_folder_that_could_not_be_looked_at_is_gone(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.SPOOLED, b"DCIM2/0001.mp4")
    assert ledger.dockings.observe(CAMERA, story.docking, [], [b"DCIM"]).vanished == 1
    assert not ledger.queries.clip(clip.id).present


def test_a_file_that_reappears_is_a_new_clip(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.look()
    assert story.look(found()) == Observed(1, 0)
    assert story.clip().id != clip.id
    assert ledger.queries.to_wipe(CAMERA) == []


def test_another_file_in_the_place_of_a_clip_is_no_proof_of_its_wipe(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.begin_wipe(clip)
    assert story.look(found(size=77)) == Observed(1, 0)
    assert ledger.queries.clip(clip.id).state is State.ACKNOWLEDGED
    assert not ledger.queries.clip(clip.id).present


def test_a_wipe_cut_short_after_the_removal_is_completed(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.begin_wipe(clip)
    story.look()
    assert ledger.queries.clip(clip.id).state is State.WIPED
    (entry,) = [entry for entry in ledger.journal.entries() if entry.event == "clip.wiped"]
    assert entry.detail == {"recovered": True}


def test_a_wipe_cut_short_before_the_removal_is_still_to_do(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.begin_wipe(clip)
    assert story.look(found()) == Observed(0, 0)
    assert [clip.id for clip in ledger.queries.to_wipe(CAMERA)] == [clip.id]


def test_the_same_path_after_a_wipe_is_a_new_clip(ledger: Ledger, story: Story) -> None:
    wiped = story.bring_to(State.WIPED)
    assert story.look() == Observed(0, 0)
    assert story.look(found()) == Observed(1, 0)
    assert story.clip().id != wiped.id
    assert ledger.queries.clip(wiped.id) == wiped


def test_another_content_under_an_acknowledged_clips_path_is_found_as_a_clip(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.replace(clip)
    assert ledger.queries.to_wipe(CAMERA) == []
    assert story.look(found()) == Observed(1, 0)
    assert ledger.queries.pending(CAMERA) == 1


def test_paths_are_bytes(ledger: Ledger, story: Story) -> None:
    name = bytes(range(1, 256))
    story.look(found(name), found("é".encode()), found("e\u0301".encode()), found(b"\xe9"))
    assert {clip.path for clip in ledger.queries.clips()} == {
        name,
        "é".encode(),
        "e\u0301".encode(),
        b"\xe9",
    }
    assert story.look(found(name)) == Observed(0, 3)
    ledger.journal.verify()


def test_cameras_do_not_see_each_others_clips(ledger: Ledger, story: Story) -> None:
    other = Story(ledger, OTHER)
    clip = story.bring_to(State.ACKNOWLEDGED)
    assert other.look() == Observed(0, 0)
    other.look(found())
    assert ledger.queries.clip(clip.id).present
    assert [clip.camera for clip in ledger.queries.to_ingest(OTHER)] == [OTHER]
    assert ledger.queries.pending(CAMERA) == 0
    assert ledger.queries.to_wipe(OTHER) == []


def test_dockings_are_numbered_and_told(ledger: Ledger) -> None:
    first = ledger.dockings.begin(CAMERA, "bay 1")
    ledger.dockings.end(CAMERA, first)
    assert ledger.dockings.begin(CAMERA, "bay 2") == first + 1
    told = [(entry.event, dict(entry.detail)) for entry in ledger.journal.entries()]
    assert told == [
        ("camera.docked", {"docking": first, "place": "bay 1"}),
        ("camera.undocked", {"docking": first}),
        ("camera.docked", {"docking": first + 1, "place": "bay 2"}),
    ]


# Questions


@pytest.mark.parametrize("state", State)
def test_a_clip_holds_back_the_wipe_while_it_is_pending(
    ledger: Ledger, story: Story, state: State
) -> None:
    story.bring_to(state)
    assert ledger.queries.pending(CAMERA) == (state in PENDING)
    assert len(ledger.queries.to_wipe(CAMERA)) == (state in UNWIPED)
    assert ledger.queries.counts() == {state: 1}


@pytest.mark.parametrize("state", LIVES)
def test_a_clip_waits_for_a_person_when_it_can_not_be_read_or_was_refused(
    ledger: Ledger, story: Story, state: State
) -> None:
    story.bring_to(state)
    assert ledger.queries.stuck(CAMERA) == (state in {State.UNREADABLE, State.REJECTED})
    assert ledger.queries.stuck(OTHER) == 0


def test_event_flagged_clips_go_first_then_the_oldest(ledger: Ledger, story: Story) -> None:
    story.look(
        found(b"late", match=Match("video", recorded_at=30.0)),
        found(b"early", match=Match("video", recorded_at=10.0)),
        found(b"event late", match=Match("video", event=True, recorded_at=40.0)),
        found(b"event early", match=Match("video", event=True, recorded_at=20.0)),
    )
    order = [b"event early", b"event late", b"early", b"late"]
    to_ingest = ledger.queries.to_ingest(CAMERA)
    assert [clip.path for clip in to_ingest] == order
    for clip in to_ingest:
        story.ingest(clip)
        story.spool(clip)
    to_upload = ledger.queries.to_upload(10, exclude=(), receipts=True)
    assert [clip.path for clip in to_upload] == order
    under_way = {to_upload[0].id, to_upload[2].id}
    rest = ledger.queries.to_upload(1, exclude=under_way, receipts=True)
    assert [clip.path for clip in rest] == [b"event late"]
    assert ledger.queries.to_upload(0, exclude=under_way, receipts=True) == []


def test_an_upload_that_is_complete_has_nothing_to_ask_a_target_without_receipts(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.UPLOADING)
    ledger.uploads.uploaded(clip)
    assert ledger.queries.to_upload(10, exclude=(), receipts=False) == []
    assert [clip.id for clip in ledger.queries.to_upload(10, exclude=(), receipts=True)] == [
        clip.id
    ]


def test_a_vanished_clip_is_still_uploaded(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.SPOOLED)
    story.look()
    assert [clip.id for clip in ledger.queries.to_upload(10, exclude=(), receipts=True)] == [
        clip.id
    ]
    assert [clip.id for clip in ledger.queries.in_spool()] == [clip.id]


@pytest.mark.parametrize("state", State)
def test_the_spool_has_to_hold_what_has_no_receipt(
    ledger: Ledger, story: Story, state: State
) -> None:
    story.bring_to(state)
    held = {State.SPOOLED, State.UPLOADING, State.UPLOADED, State.REJECTED}
    assert len(ledger.queries.in_spool()) == (state in held)


def test_a_clip_that_is_not_there_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no clip 1"):
        ledger.queries.clip(1)


# The file


def test_it_is_its_owners_alone_and_durable(ledger: Ledger, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ledger.database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ledger.database.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert ledger.database.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_it_is_there_after_a_restart(path: Path) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        clip = Story(ledger).bring_to(State.ACKNOWLEDGED)
        head = ledger.journal.head()
    with closing(Ledger(path, FakeClock())) as ledger:
        assert ledger.queries.clip(clip.id) == clip
        assert ledger.journal.head() == head == ledger.journal.verify()


def test_a_newer_dockds_ledger_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(LedgerVersionError) as caught:
        Ledger(path, FakeClock())
    assert caught.value.exit_code == 78
    assert caught.value.hint
    assert path.read_bytes()[100:] == before[100:]


def test_what_is_no_database_is_a_ledger_error(path: Path) -> None:
    path.write_bytes(b"certainly not SQLite" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger(path, FakeClock())
    assert path.read_bytes() == b"certainly not SQLite" * 100


def test_a_missing_folder_is_a_ledger_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="unable to open"):
        Ledger(tmp_path / "nowhere" / "ledger.db", FakeClock())


def test_a_ledger_that_cannot_be_read_any_more_is_a_ledger_error(
    ledger: Ledger, story: Story
) -> None:
    story.look(found())
    ledger.database.execute("ALTER TABLE clips RENAME TO gone")
    for ask in (
        ledger.queries.clips,
        ledger.queries.counts,
        lambda: list(ledger.journal.anchors()),
        lambda: ledger.queries.pending(CAMERA),
        lambda: ledger.queries.to_upload(1, exclude=(), receipts=True),
    ):
        with pytest.raises(LedgerError, match="no such table") as caught:
            ask()
        assert caught.value.hint


class FailingDatabase(Database):
    """A database whose next commits fail."""

    failures = 0

    def commit(self) -> None:
        if self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError("disk I/O error")
        super().commit()


def test_a_commit_that_fails_changes_nothing(path: Path) -> None:
    with closing(Ledger(path, FakeClock(), database=FailingDatabase)) as ledger:
        assert isinstance(ledger.database, FailingDatabase)
        story = Story(ledger)
        clip = story.bring_to(State.UPLOADING)
        before = ledger.journal.head()
        ledger.database.failures = 1
        with pytest.raises(LedgerError, match="disk I/O error"):
            story.acknowledge(clip)
        assert ledger.queries.clip(clip.id) == clip
        assert ledger.journal.head() == before
        story.acknowledge(clip)
        assert ledger.queries.clip(clip.id).state is State.ACKNOWLEDGED
        ledger.journal.verify()


def test_what_is_no_manifest_changes_nothing(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.INGESTING)
    before = ledger.journal.head()
    facts = SealedFacts(
        "c" * 64,
        FileStat(1, 2, 3, 4, 5),
        Content(sha256="1" * 64, size=1),
        Content(sha256="2" * 64, size=2),
    )
    with pytest.raises(ManifestRefusedError):
        ledger.ingests.spooled(clip, facts, "a.b.c")
    assert ledger.queries.clip(clip.id) == clip
    assert ledger.journal.head() == before
    story.spool(clip)


def test_a_full_disk_is_a_ledger_error_and_loses_nothing(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", size="1m") as disk,
        closing(Ledger(disk / "ledger.db", FakeClock())) as ledger,
    ):
        story = Story(ledger)
        clips = [story.bring_to(State.UPLOADING, f"{n}.mp4".encode()) for n in range(3)]
        filler = fill(disk)
        noted = 0

        def note() -> None:
            nonlocal noted
            while True:
                ledger.journal.record("test.noted", number=noted, filling="x" * 3000)
                noted += 1

        with pytest.raises(LedgerError, match="full"):
            note()
        assert ledger.journal.verify()
        head = ledger.journal.head()
        with pytest.raises(LedgerError, match="full"):
            ledger.dockings.observe(CAMERA, story.docking, [found(b"%d" % n) for n in range(1000)])
        assert ledger.journal.head() == head
        assert [ledger.queries.clip(clip.id) for clip in clips] == clips
        filler.unlink()
        for clip in clips:
            story.acknowledge(clip)
        assert len(ledger.queries.to_wipe(CAMERA)) == 3
        kept = [entry for entry in ledger.journal.entries() if entry.event == "test.noted"]
        assert [entry.detail["number"] for entry in kept] == list(range(noted))
        ledger.journal.verify()


def test_threads_take_turns(ledger: Ledger) -> None:
    def write() -> None:
        for _ in range(50):
            ledger.journal.record("test.noted")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.journal.verify().seq == 200


def test_more_entries_than_one_page_are_read_in_order(ledger: Ledger) -> None:
    with ledger.database.transaction():
        for _ in range(2001):
            ledger.journal.append("test.noted", None, None)
    assert [entry.seq for entry in ledger.journal.entries()] == list(range(1, 2002))
    assert [entry.seq for entry in ledger.journal.entries(after=1999)] == [2000, 2001]


# Orders


@pytest.mark.parametrize("order", [Story.read_again, Story.send_again, Story.restart])
@pytest.mark.parametrize("state", State)
def test_what_an_order_takes_up_is_told_with_what_it_was(
    ledger: Ledger, story: Story, state: State, order: Step
) -> None:
    clip = story.bring_to(state)
    if (state, CHANGES[order]) not in LIFECYCLE:
        return  # nothing happens, see above
    order(story, clip)
    *_, entry = ledger.journal.entries()
    assert entry.event == "clip.taken_up"
    assert (entry.detail["order"], entry.detail["before"]) == (7, state.shown)
    assert ("former_receipt" in entry.detail) == (state is State.ACKNOWLEDGED)


def test_a_receipt_is_given_up_with_the_state_that_it_gave(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.UPLOADING)
    ledger.uploads.remember(clip, "https://evidence.example/files/1")
    ledger.uploads.uploaded(clip)
    story.acknowledge(clip)
    story.read_again(clip)
    again = ledger.queries.clip(clip.id)
    assert (again.receipt, again.upload_url, again.state) == (None, None, State.FOUND)
    assert ledger.queries.to_wipe(CAMERA) == []
    assert ledger.queries.pending(CAMERA) == 1


def test_a_clip_that_a_cut_short_wipe_has_left_can_be_taken_up(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.begin_wipe(clip)
    story.look(found())
    again = ledger.queries.clip(clip.id)
    assert (again.state, again.wipe_number) == (State.ACKNOWLEDGED, 0)
    story.read_again(clip)
    assert "wipe.undone" in [entry.event for entry in ledger.journal.entries()]


def test_a_clip_that_a_wipe_has_set_aside_is_still_being_wiped(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.begin_wipe(clip)
    ledger.dockings.observe(CAMERA, story.docking, [], unseen=[PATH])
    assert ledger.queries.clip(clip.id).state is State.WIPING
    assert ledger.queries.clip(clip.id).present


def test_a_clip_whose_wipe_has_begun_is_not_taken_up(ledger: Ledger, story: Story) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.begin_wipe(clip)
    with pytest.raises(TransitionError, match="in state wiping"):
        story.read_again(clip)
    assert ledger.queries.clip(clip.id).receipt


def test_an_unreadable_clip_is_tried_again_at_the_next_docking(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.UNREADABLE)
    assert ledger.queries.to_ingest(CAMERA) == []
    ledger.dockings.begin(OTHER, "bay 2")
    assert ledger.queries.to_ingest(CAMERA) == []
    docking = ledger.dockings.begin(CAMERA, "bay 1")
    (again,) = ledger.queries.to_ingest(CAMERA)
    assert (again.id, again.error) == (clip.id, None)
    *_, entry = ledger.journal.entries()
    assert (entry.event, entry.detail) == (
        "clip.taken_up",
        {"docking": docking, "before": "unreadable"},
    )


def acknowledged(story: Story) -> Clip:
    story.look(found())
    for step in (Story.ingest, Story.spool, Story.upload, Story.acknowledge):
        step(story, story.clip())
    return story.clip()


@pytest.mark.parametrize("by", ["disown", "read_again", "another receipt"])
def test_the_journal_keeps_the_proof_that_a_clip_loses(
    ledger: Ledger, story: Story, by: str
) -> None:
    clip = acknowledged(story)
    match by:
        case "disown":
            assert ledger.wipes.disown(clip)
        case "read_again":
            story.read_again(clip)
        case _:
            assert ledger.wipes.confirmed(clip, "another receipt", "another answer")
    *_, entry = ledger.journal.entries()
    former = {name: value for name, value in entry.detail.items() if name.startswith("former_")}
    statements = {"former_receipt": clip.receipt, "former_answer": clip.answer}
    if by != "another receipt":
        statements["former_manifest"] = clip.manifest
    assert former == statements
    ledger.journal.verify()


def test_what_was_said_of_a_clip_before_it_was_taken_up_is_not_kept(
    ledger: Ledger, story: Story
) -> None:
    asked = acknowledged(story)
    story.read_again(asked)
    before = ledger.queries.clips()
    assert not ledger.wipes.confirmed(asked, str(asked.receipt), "a late answer")
    assert not ledger.wipes.disown(asked)
    assert ledger.queries.clips() == before
    # Nor once it was read again, and is another copy.
    story.ingest(story.clip())
    plaintext = Content(sha256=str(asked.plaintext_sha256), size=asked.size)
    facts = SealedFacts(
        str(asked.clip_id),
        FileStat(asked.size, asked.modified_ns, 5, 6, 7),
        plaintext,
        Content(sha256="e" * 64, size=asked.size + 200),
    )
    manifest = make_manifest(KEY, plaintext=plaintext, ciphertext=facts.ciphertext)
    token = sign(manifest.model_copy(update={"journal": ledger.journal.head()}), KEY)
    ledger.ingests.spooled(story.clip(), facts, token)
    story.upload(story.clip())
    ledger.uploads.acknowledge(story.clip(), "new receipt", "new answer")
    before = ledger.queries.clips()
    assert not ledger.wipes.confirmed(asked, str(asked.receipt), "a late answer")
    assert not ledger.wipes.disown(asked)
    assert ledger.queries.clips() == before


def test_the_same_word_of_the_receiver_is_entered_once(ledger: Ledger, story: Story) -> None:
    clip = acknowledged(story)
    for number in range(3):
        assert ledger.wipes.confirmed(clip, str(clip.receipt), f"answer {number}")
    assert [entry.event for entry in ledger.journal.entries()].count("clip.confirmed") == 1
    assert story.clip().answer == "answer 2"
    ledger.wipes.begin([clip], "delete")
    assert ledger.wipes.confirmed(clip, str(clip.receipt), "answer 3")
    assert [entry.event for entry in ledger.journal.entries()].count("clip.confirmed") == 2


def test_a_wipe_does_not_begin_for_a_clip_that_an_order_has_taken_up_meanwhile(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.ACKNOWLEDGED)
    story.read_again(clip)
    with pytest.raises(TransitionError):
        story.begin_wipe(clip)


@pytest.mark.parametrize("state", sorted(ON_ITS_WAY))
def test_an_upload_that_starts_anew_goes_on_from_nowhere(
    ledger: Ledger, story: Story, state: State
) -> None:
    clip = story.bring_to(state)
    ledger.uploads.remember(clip, "https://evidence.example/files/1")
    story.restart(clip)
    assert ledger.queries.clip(clip.id).upload_url is None
    assert [one.id for one in ledger.queries.to_upload(1, exclude=(), receipts=False)] == [clip.id]


def test_a_pause_is_kept_until_it_is_resumed_or_replaced(path: Path) -> None:
    first = Pause("wipes", "a search", "2026-11-21T12:00:00.000Z", None, 1000)
    second = replace(first, since="2026-11-21T13:00:00.000Z", until="2026-11-21T14:00:00.000Z")
    with closing(Ledger(path, FakeClock())) as ledger:
        ledger.orders.pause([first])
    with closing(Ledger(path, FakeClock())) as ledger:
        assert ledger.queries.pauses() == [first]
        ledger.orders.pause([second])
        ledger.orders.forget_pause(first)
        assert ledger.queries.pauses() == [second]
        ledger.orders.forget_pause(second)
        assert ledger.queries.pauses() == []


BACK_TO_4 = [
    "DROP INDEX clips_to_upload",
    "CREATE INDEX clips_to_upload ON clips (event DESC, recorded_at, id)"
    " WHERE state IN ('spooled', 'uploading')",
    "PRAGMA user_version = 4",
]
BACK_TO_2 = [
    *BACK_TO_4,
    "DROP TABLE anchors",
    "ALTER TABLE clips DROP COLUMN answer",
    "DROP INDEX clips_by_ciphertext",
    "PRAGMA user_version = 2",
]
FIRST_FORM = [
    *BACK_TO_2,
    "DROP TABLE pauses",
    *(f"DROP INDEX {name}" for name in ("clips_by_state", "clips_by_camera", "journal_by_clip")),
    "PRAGMA user_version = 1",
]
"""What leads back to the form of the first release."""


def bring_back(path: Path, statements: Sequence[str]) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


class Old(NamedTuple):
    """What an earlier ledger knew of where a clip is in its life."""

    state: str
    present: int
    uploaded: int
    wiping: int

    @property
    def is_on_camera(self) -> bool:
        return bool(self.present) and self.state != "wiped"

    @property
    def now(self) -> State:
        if self.state == "uploading" and self.uploaded:
            return State.UPLOADED
        if self.state == "acknowledged" and self.present and self.wiping:
            return State.WIPING
        return State(self.state)


OLD = [
    Old(state, present, uploaded, wiping)
    for state in (
        *("found", "ingesting", "spooled", "uploading", "acknowledged", "wiped"),
        *("unreadable", "rejected"),
    )
    for present in (0, 1)
    for uploaded in (0, 1)
    for wiping in (0, 1, 2**62 - 1)
    if not uploaded or state in {"uploading", "rejected", "acknowledged", "wiped"}
    if not wiping or state in {"acknowledged", "wiped"}
]


def matching(old: Sequence[Old], condition: Callable[[Old], bool]) -> list[int]:
    return [number for number, one in enumerate(old, 1) if condition(one)]


@pytest.mark.parametrize("form", [BACK_TO_4, BACK_TO_2, FIRST_FORM])
def test_what_an_earlier_ledger_kept_beside_the_state_is_part_of_it(
    path: Path, form: Sequence[str]
) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        story = Story(ledger)
        for number in range(len(OLD)):
            story.bring_to(State.SPOOLED, b"%d.mp4" % number)
        head = ledger.journal.head()
    bring_back(path, form)
    with closing(sqlite3.connect(path)) as database:
        database.executemany(
            "UPDATE clips SET state = ?, present = ?, uploaded = ?, wiping = ?, receipt = 'r'"
            " WHERE id = ?",
            [(*old, number) for number, old in enumerate(OLD, 1)],
        )
        database.commit()
        before = database.execute("SELECT id, since, found, upload_url FROM clips").fetchall()
    with closing(Ledger(path, FakeClock(), read_only=True)) as ledger:
        unchanged = ledger.queries.clips()
        assert ledger.database.faults() == []
    with closing(Ledger(path, FakeClock())) as ledger:
        assert ledger.queries.clips() == unchanged
        assert [(clip.state, clip.present) for clip in unchanged] == [
            (old.now, old.is_on_camera) for old in OLD
        ]
        assert ledger.journal.head() == head == ledger.journal.verify()
        with closing(sqlite3.connect(path)) as database:
            query = "SELECT id, since, found, upload_url FROM clips"
            assert database.execute(query).fetchall() == before

        def asked(clips: Sequence[Clip]) -> list[int]:
            return sorted(clip.id for clip in clips)

        def on_camera(*states: str) -> list[int]:
            return matching(OLD, lambda old: old.is_on_camera and old.state in states)

        sent = {"spooled", "uploading"}
        assert asked(ledger.queries.to_wipe(CAMERA)) == on_camera("acknowledged")
        assert ledger.queries.unwiped(CAMERA) == len(on_camera("acknowledged"))
        assert asked(ledger.queries.wiping(CAMERA)) == matching(
            OLD, lambda old: old.is_on_camera and old.state == "acknowledged" and old.wiping != 0
        )
        assert ledger.queries.pending(CAMERA) == len(on_camera("found", "ingesting", *sent))
        assert ledger.queries.stuck(CAMERA) == len(on_camera("unreadable", "rejected"))
        assert asked(ledger.queries.to_ingest(CAMERA)) == on_camera("found")
        assert asked(ledger.queries.read_before(CAMERA)) == on_camera(
            *sent, "rejected", "acknowledged"
        )
        in_spool = matching(OLD, lambda old: old.state in sent | {"rejected"})
        assert asked(ledger.queries.in_spool()) == in_spool
        on_its_way = matching(OLD, lambda old: old.state in sent)
        assert asked(ledger.queries.to_upload(1000, exclude=(), receipts=True)) == on_its_way
        assert asked(ledger.queries.to_upload(1000, exclude=(), receipts=False)) == matching(
            OLD, lambda old: old.state in sent and not old.uploaded
        )
        assert asked(ledger.queries.to_resync()) == sorted(
            {*in_spool, *matching(OLD, lambda old: bool(old.present) and old.state in RESYNCED)}
        )
        for number, old in enumerate(OLD, 1):
            sha256 = str(ledger.queries.clip(number).ciphertext_sha256)
            assert ledger.queries.is_delivered(sha256) == (old.state in {"acknowledged", "wiped"})


RESYNCED = {"unreadable", "rejected", "acknowledged", "spooled", "uploading"}


def test_a_wipe_that_an_earlier_dockd_has_begun_is_carried_on(path: Path) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        story = Story(ledger)
        gone = story.bring_to(State.WIPING, b"gone.mp4")
        left = story.bring_to(State.WIPING, b"left.mp4")
    bring_back(path, [*BACK_TO_4, "UPDATE clips SET state = 'acknowledged', wiping = 77"])
    with closing(Ledger(path, FakeClock())) as ledger:
        assert [clip.wipe_number for clip in ledger.queries.wiping(CAMERA)] == [77, 77]
        (begun,) = ledger.wipes.begin([ledger.queries.clip(left.id)], "delete")
        assert begun.wipe_number == 77
        ledger.dockings.observe(CAMERA, story.docking, [found(b"left.mp4")])
        assert ledger.queries.clip(gone.id).state is State.WIPED
        assert ledger.queries.clip(left.id).state is State.ACKNOWLEDGED
        assert [clip.id for clip in ledger.queries.to_wipe(CAMERA)] == [left.id]


def test_a_ledger_of_the_first_form_is_brought_to_todays_with_all_that_is_in_it(
    path: Path,
) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        clip = Story(ledger).bring_to(State.UPLOADING)
        head = ledger.journal.head()
    bring_back(path, FIRST_FORM)
    with closing(Ledger(path, FakeClock(), read_only=True)) as ledger:
        assert ledger.queries.clip(clip.id) == clip
    with closing(Ledger(path, FakeClock())) as ledger:
        assert ledger.queries.clip(clip.id) == clip
        assert ledger.journal.head() == head
        assert ledger.queries.pauses() == []
        ledger.journal.verify()
        signed = read_unverified_manifest(str(clip.manifest))
        assert ledger.journal.last_anchor(signed.station.kid) == signed.journal


@pytest.mark.parametrize("has_signed", [True, False])
def test_the_last_anchor_of_a_key_is_looked_for_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, has_signed: bool
) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        clip = Story(ledger).bring_to(State.SPOOLED)
        signed = read_unverified_manifest(str(clip.manifest))
        ledger.database.execute("DELETE FROM anchors")
        kid = signed.station.kid if has_signed else "another"
        expected = signed.journal if has_signed else GENESIS
        assert ledger.journal.last_anchor(kid) == expected
    monkeypatch.delattr(Journal, "_found_anchor")
    with closing(Ledger(path, FakeClock())) as ledger:
        assert ledger.journal.last_anchor(kid) == expected
        assert ledger.journal.next_anchor(kid).previous == expected


def test_what_a_look_asks_the_ledger_leaves_the_signed_statements_where_they_are(
    ledger: Ledger, story: Story
) -> None:
    clip = acknowledged(story)
    (known,) = ledger.queries.read_before(CAMERA)
    assert known == replace(clip, manifest=None, receipt=None, answer=None)
    assert (ledger.queries.wiping(CAMERA), ledger.queries.unwiped(CAMERA)) == ([], 1)
    (begun,) = ledger.wipes.begin([clip], "delete")
    assert ledger.queries.wiping(CAMERA) == [
        replace(known, state=State.WIPING, wipe_number=begun.wipe_number)
    ]


def test_whether_a_ciphertext_was_delivered_is_not_looked_for_in_every_clip(
    ledger: Ledger, story: Story
) -> None:
    clip = acknowledged(story)
    assert ledger.queries.is_delivered(str(clip.ciphertext_sha256))
    assert not ledger.queries.is_delivered("0" * 64)
    (plan,) = ledger.database.execute(
        "EXPLAIN QUERY PLAN SELECT count(*) FROM clips WHERE ciphertext_sha256 = ?"
        " AND receipt IS NOT NULL AND state IN ('acknowledged', 'wiped', 'wiping')",
        ("0" * 64,),
    )
    assert "clips_by_ciphertext" in plan["detail"]


def test_each_manifest_names_the_anchor_of_the_one_that_was_signed_before(
    ledger: Ledger, story: Story
) -> None:
    """Whether that has been entered yet or not, and whatever comes between them."""
    first = ledger.journal.next_anchor("key")
    assert (first.head, first.previous) == (ledger.journal.head(), GENESIS)
    assert ledger.journal.next_anchor("key") == first
    story.look(found())
    second = ledger.journal.next_anchor("key")
    assert (second.head, second.previous) == (ledger.journal.head(), first.head)
    assert ledger.journal.next_anchor("another").previous == GENESIS


def test_an_anchor_that_was_entered_outlasts_a_restart(path: Path) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        clip = Story(ledger).bring_to(State.SPOOLED)
        signed = read_unverified_manifest(str(clip.manifest))
    with closing(Ledger(path, FakeClock())) as ledger:
        assert ledger.journal.next_anchor(signed.station.kid).previous == signed.journal


def test_a_journal_holds_its_entries_and_no_others(ledger: Ledger, story: Story) -> None:
    story.look(found())
    head = ledger.journal.head()
    assert ledger.journal.holds(GENESIS)
    assert ledger.journal.holds(head)
    assert not ledger.journal.holds(JournalHead(seq=head.seq, hash="0" * 64))
    assert not ledger.journal.holds(JournalHead(seq=head.seq + 1, hash=head.hash))


# The journal in it


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET event = 'other' WHERE seq = 1",
        "DELETE FROM journal WHERE seq = 1",
        "DELETE FROM journal",
        "INSERT OR REPLACE INTO journal SELECT seq, at, 'x', camera, clip, detail, prev, hash"
        " FROM journal WHERE seq = 1",
    ],
)
def test_the_journal_is_append_only(ledger: Ledger, story: Story, statement: str) -> None:
    story.look(found())
    before = list(ledger.journal.entries())
    with pytest.raises(sqlite3.IntegrityError):
        ledger.database.execute(statement)
    assert list(ledger.journal.entries()) == before


def tamper(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER journal_no_update")
        database.execute("DROP TRIGGER journal_no_delete")
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET at = '2026-11-21T12:00:00.001Z' WHERE seq = 3",
        "UPDATE journal SET camera = NULL WHERE seq = 3",
        "UPDATE journal SET clip = 77 WHERE seq = 3",
        "UPDATE journal SET detail = '{}' WHERE seq = 2",
        "UPDATE journal SET detail = 'not JSON' WHERE seq = 2",
        "UPDATE journal SET detail = ' ' || detail WHERE seq = 2",
        "UPDATE journal SET detail = '5' WHERE seq = 2",
        "UPDATE journal SET hash = prev WHERE seq = 3",
        "UPDATE journal SET seq = 1000 WHERE seq = 3",
        "DELETE FROM journal WHERE seq = 1",
        "DELETE FROM journal WHERE seq = 3",
        "DELETE FROM journal WHERE seq > 1",
        "DELETE FROM journal",
        "UPDATE clips SET manifest = 'no manifest'",
    ],
)
def test_tampering_with_the_file_is_found_out(path: Path, statement: str) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        Story(ledger).bring_to(State.UPLOADING)
    tamper(path, statement)
    with closing(Ledger(path, FakeClock())) as ledger, pytest.raises(JournalBrokenError):
        ledger.journal.verify()


def test_cutting_the_end_off_is_found_out_once_a_manifest_names_it(path: Path) -> None:
    with closing(Ledger(path, FakeClock())) as ledger:
        story = Story(ledger)
        first = story.bring_to(State.ACKNOWLEDGED)
        story.begin_wipe(first)
        story.wipe(first)
        wiped_at = ledger.journal.head().seq
        story.bring_to(State.SPOOLED, b"DCIM/0002.mp4")
    tamper(path, f"DELETE FROM journal WHERE seq >= {wiped_at}")
    with closing(Ledger(path, FakeClock())) as ledger:
        with pytest.raises(JournalBrokenError, match="but a manifest names entry"):
            ledger.journal.verify()
        # What happens later does not make up for it.
        for _ in range(10):
            ledger.journal.record("test.noted")
        with pytest.raises(JournalBrokenError, match="is not the one that a manifest names"):
            ledger.journal.verify()


def test_an_export_is_proved_without_the_ledger(ledger: Ledger, story: Story) -> None:
    story.bring_to(State.ACKNOWLEDGED)
    lines = [entry.as_json() for entry in ledger.journal.entries()]
    assert (
        journal.verify(map(journal.parse, lines), ledger.journal.anchors()) == ledger.journal.head()
    )


def test_a_clip_that_comes_again_while_it_is_in_the_spool_is_one_clip(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.SPOOLED)
    story.leave(clip)
    story.come_again(ledger.queries.clip(clip.id))
    (only,) = ledger.queries.clips()
    assert only.id == clip.id
    assert only.present
    assert only.stat is not None
    assert only.stat.inode == 8
    assert only.ciphertext_sha256 == clip.ciphertext_sha256
    # Whoever was cut short while this happened finds that it is over.
    ledger.ingests.interrupt(replace(clip, id=clip.id + 1), "interrupted", "cut short")
    ledger.journal.verify()


@pytest.mark.parametrize("state", [State.ACKNOWLEDGED, State.REJECTED])
def test_a_clip_that_is_on_its_way_no_longer_is_not_rejoined(
    ledger: Ledger, story: Story, state: State
) -> None:
    clip = story.bring_to(state)
    story.leave(clip)
    with pytest.raises(AssertionError):
        story.come_again(ledger.queries.clip(clip.id))
    assert len(ledger.queries.clips()) == 2


def test_a_clip_in_the_spool_that_others_can_open_is_not_rejoined(
    ledger: Ledger, story: Story
) -> None:
    clip = story.bring_to(State.SPOOLED)
    story.leave(clip)
    story.look(found(clip.path))
    again = story.clip(clip.path)
    story.ingest(again)
    plaintext = Content(sha256=str(clip.plaintext_sha256), size=clip.size)
    facts = SealedFacts(str(clip.clip_id), FileStat(1, 2, 3, 4, 5), plaintext, plaintext)
    assert ledger.ingests.rejoin(again, facts, [ALICE]) is None
    assert ledger.queries.clip(again.id).state is State.INGESTING


def test_every_kind_of_entry_is_documented_with_its_detail(ledger: Ledger, story: Story) -> None:
    for number, steps in enumerate(
        [
            [Story.interrupt],
            [Story.give_up],
            [Story.spool, Story.lose],
            [Story.spool, Story.upload, Story.reject],
            [Story.spool, Story.upload, Story.acknowledge, Story.begin_wipe, Story.wipe],
            [Story.spool, Story.upload, Story.acknowledge, Story.replace],
            [Story.spool, Story.upload, Story.acknowledge, Story.begin_wipe],
            [Story.spool, Story.upload, Story.acknowledge, Story.confirm, Story.disown],
            [Story.give_up, Story.read_again],
            [Story.spool, Story.upload, Story.finish],
            [Story.spool, Story.leave, Story.come_again],
        ]
    ):
        path = f"{number}.mp4".encode()
        story.bring_to(State.INGESTING, path)
        for step in steps:
            step(story, story.clip(path))
    ledger.clips.note_problem(story.clip(b"0.mp4"), "receipt.refused", "it is for another clip")
    ledger.clips.note_problem(story.clip(b"0.mp4"), "wipe.refused", "the file has other content")
    ledger.wipes.damaged(CAMERA, ["GPS/track.gps"])
    ledger.journal.record("order.resync", uid=1000, named=None, failed=True, reupload=False)
    ledger.orders.pause([Pause("wipes", "a search", "2026-11-21T12:00:00.000Z", None, 1000)])
    ledger.orders.resume(["wipes"], 1000)
    story.look()
    ledger.dockings.end(CAMERA, story.docking)
    told = set()
    for entry in ledger.journal.entries():
        told.add(entry.event)
        detail = journal_entries.KINDS[entry.event].detail
        required = {name for name, kind in detail.items() if not kind.endswith("?")}
        assert required <= set(entry.detail) <= set(detail), entry.event
    assert told == set(journal_entries.KINDS)
