"""Signed notes, checkpoints and proofs, after C2SP signed-note, tlog-checkpoint, tlog-proof."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dockd.base.errors import StatementLogError
from dockd.evidence.log.checkpoint import Checkpoint, LogProof, SignedCheckpoint
from dockd.evidence.log.merkle import inclusion_proof, leaf_hash
from dockd.evidence.log.note import Note, NoteKey, NoteSigner
from tests.evidence.log.folder import ORIGIN, FolderLog

AT = datetime(2026, 11, 30, 12, 0, 5, tzinfo=UTC)
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo"
    " Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72Ineya"
    "QM=\n"
)
"""From the specification."""


def signer(name: str = ORIGIN) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.generate())


def test_the_specifications_example_is_verified_by_its_key() -> None:
    key = NoteKey.parse(EXAMPLE_KEY)
    note = Note.parse(EXAMPLE.encode())
    assert [known for known, _ in note.verified_by([key])] == [key]
    assert note.text == "This is an example message.\n"
    assert (str(key), str(note)) == (EXAMPLE_KEY, EXAMPLE)


def test_a_note_that_was_changed_is_refused() -> None:
    note = Note.parse(EXAMPLE.replace("example message", "altered message").encode())
    with pytest.raises(StatementLogError, match=r"signature of example\.com/foo"):
        note.verified_by([NoteKey.parse(EXAMPLE_KEY)])


def test_signatures_by_unknown_keys_count_for_nothing() -> None:
    known, stranger, namesake = signer("a.example"), signer("b.example"), signer("a.example")
    text = "words\n"
    note = Note(text, (stranger.sign(text), namesake.sign(text)))
    assert note.verified_by([known.verifier]) == []
    signed = note.signed_also(known.sign(text))
    assert [key for key, _ in signed.verified_by([known.verifier])] == [known.verifier]
    assert len(signed.signatures) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"words\n",
        b"words\n\n",
        b"words\n\nno signature\n",
        "words\n\n— name\n".encode(),
        "words\n\n— name AAAA\n".encode(),
        "words\n\n— na+me AAAAAAAA\n".encode(),
        "words\n\n— name AAAAAAAA".encode(),
        "words\n\n— name !!!!AAAA\n".encode(),
        "wo\trds\n\n— name AAAAAAAA\n".encode(),
        b"wo\xffrds\n\n\xe2\x80\x94 name AAAAAAAA\n",
        bytes(2 << 20),
    ],
)
def test_what_is_no_signed_note_is_refused(data: bytes) -> None:
    with pytest.raises(StatementLogError):
        Note.parse(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a+",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+/ukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example com+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+!ekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(StatementLogError):
        NoteKey.parse(text)


def test_a_cosignature_says_when_and_is_of_no_other_time_or_text() -> None:
    witness, checkpoint = signer("witness.example/w1"), Checkpoint(ORIGIN, 5, bytes(32))
    note = Note(checkpoint.text, (witness.cosign(checkpoint.text, AT),))
    ((key, signature),) = note.verified_by([witness.cosigner])
    assert key == witness.cosigner
    assert NoteKey.parse(str(key)) == key
    assert signature.cosigned_at == AT
    # Nor does it pass for a plain signature by the same key.
    assert note.verified_by([witness.verifier]) == []
    other = Note(Checkpoint(ORIGIN, 6, bytes(32)).text, note.signatures)
    with pytest.raises(StatementLogError):
        other.verified_by([witness.cosigner])


@pytest.mark.parametrize("extensions", [(), ("one",), ("one", "two")])
def test_a_checkpoint_is_read_as_it_was_written(extensions: tuple[str, ...]) -> None:
    checkpoint = Checkpoint(ORIGIN, 20852163, bytes(range(32)), extensions)
    assert Checkpoint.parse(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "origin\n",
        "origin\n5\n",
        "\n5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "origin\n05\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "origin\n-5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "origin\n5\nAAAA\n",
        "origin\n5\nnot base64\n",
        "origin\n5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nmore\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(StatementLogError):
        Checkpoint.parse(text)


def test_a_checkpoint_counts_only_if_its_own_log_has_signed_it() -> None:
    log, other = signer(), signer("other.example/log")
    checkpoint = Checkpoint(ORIGIN, 5, bytes(32))
    by_other = Note(checkpoint.text, (other.sign(checkpoint.text),))
    keys = [log.verifier, other.verifier]
    with pytest.raises(StatementLogError, match="not signed by the log"):
        SignedCheckpoint.verify(str(by_other).encode(), keys)
    signed = str(by_other.signed_also(log.sign(checkpoint.text))).encode()
    assert SignedCheckpoint.verify(signed, keys).checkpoint == checkpoint


def test_a_proof_stands_alone_and_names_the_witnesses(tmp_path: Path) -> None:
    log, witness = FolderLog(tmp_path), signer("witness.example/w1")
    entries = [f"{number}".encode() for number in range(700)]
    log.append(*entries)
    text = log.checkpoint.text
    note = Note(text, (log.signer.sign(text), witness.cosign(text, AT)))
    hashes = tuple(inclusion_proof(345, 700, log.hashes))
    written = str(LogProof(345, hashes, str(note).encode()))
    assert written.startswith("c2sp.org/tlog-proof@v1\nindex 345\n")
    proof = LogProof.parse(written)
    signed = proof.verify(leaf_hash(entries[345]), [log.signer.verifier], [witness.cosigner])
    assert signed.checkpoint == log.checkpoint
    assert signed.cosigners == ("witness.example/w1",)
    with pytest.raises(StatementLogError):
        proof.verify(leaf_hash(entries[346]), [log.signer.verifier])
    with pytest.raises(StatementLogError):
        proof.verify(leaf_hash(entries[345]), [signer().verifier])
    assert LogProof.parse(written.replace("index", "extra AAAA\nindex", 1)) == proof


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1\n",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 00\n\nnote",
        "c2sp.org/tlog-proof@v1\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\n" + "A" * 43 + "=\n" * 64 + "\nnote",
    ],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(StatementLogError):
        LogProof.parse(text)
