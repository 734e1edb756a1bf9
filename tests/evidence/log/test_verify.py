"""A whole log is verified from its checkpoint and tiles alone, and whatever is wrong is named."""

import shutil
from pathlib import Path

import pytest

from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.log.note import NoteSigner
from dockd.evidence.log.tiles import Tile, pack_entries, split_entries
from dockd.evidence.log.verify import verify_log
from dockd.evidence.statements import Answer, Signer, sign
from dockd.evidence.verify import Verification
from tests.evidence.log.folder import ORIGIN, FolderLog
from tests.support import make_manifest, make_receipt

KEY, STATION = SigningKey.generate(), SigningKey.generate()
_MANIFEST = make_manifest(STATION)
_TOKEN = sign(_MANIFEST, STATION)


def receipt(number: int, key: SigningKey = KEY) -> bytes:
    changes = {"stored_at": f"2026-11-21T12:{number // 60 % 60:02d}:{number % 60:02d}.000Z"}
    return sign(make_receipt(key, _MANIFEST, _TOKEN, **changes), key).encode()


RECEIPTS = [receipt(number) for number in range(600)]


def begin(folder: Path) -> FolderLog:
    log = FolderLog(folder)
    log.signer = NoteSigner(ORIGIN, KEY.private)
    return log


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, bytes]]:
    """A log of 600 receipts, and its checkpoints by size."""
    folder = tmp_path_factory.mktemp("log")
    log, checkpoints = begin(folder), {}
    size = 0
    for end in (1, 100, 256, 300, 512, 600):
        log.append(*RECEIPTS[size:end])
        checkpoints[end] = (folder / "checkpoint").read_bytes()
        size = end
    return folder, checkpoints


def verify(
    folder: Path, *keys: VerifyKey, checkpoint: bytes | None = None, since: bytes | None = None
) -> list[Verification]:
    def fetch(tile: Tile) -> bytes:
        return (folder / tile.path).read_bytes()

    signed = checkpoint or (folder / "checkpoint").read_bytes()
    return list(verify_log(signed, fetch, keys or [KEY.verify_key], since))


def failure(findings: list[Verification]) -> tuple[str, str]:
    (failed,) = [finding for finding in findings if not finding.holds]
    return failed.what, failed.detail


def test_a_sound_log_verifies_at_each_size_that_it_had(
    made: tuple[Path, dict[int, bytes]],
) -> None:
    folder, checkpoints = made
    for size, checkpoint in checkpoints.items():
        findings = verify(folder, checkpoint=checkpoint)
        assert all(finding.holds for finding in findings)
        assert [finding.what for finding in findings] == ["checkpoint", "tiles", "root", "entries"]
        assert findings[-1].detail == f"{size} receipts"


def test_an_empty_log_verifies(tmp_path: Path) -> None:
    log = begin(tmp_path)
    log.append()
    assert all(finding.holds for finding in verify(tmp_path))


def test_a_log_continues_each_earlier_checkpoint_of_its_own_only(
    made: tuple[Path, dict[int, bytes]], tmp_path: Path
) -> None:
    folder, checkpoints = made
    for since in checkpoints.values():
        findings = verify(folder, since=since)
        assert all(finding.holds for finding in findings)
        assert "earlier checkpoint" in [finding.what for finding in findings]
    findings = verify(folder, checkpoint=checkpoints[300], since=checkpoints[512])
    assert "rolled back" in failure(findings)[1]
    other = begin(tmp_path)
    other.append(*RECEIPTS[1:200])
    what, detail = failure(verify(folder, since=(tmp_path / "checkpoint").read_bytes()))
    assert what == "earlier checkpoint"
    assert "another root" in detail


@pytest.mark.parametrize(
    "path", ["0/000", "0/001", "0/002.p/88", "1/000.p/2", "entries/000", "entries/002.p/88"]
)
def test_any_altered_or_missing_tile_is_named(
    made: tuple[Path, dict[int, bytes]], tmp_path: Path, path: str
) -> None:
    folder = tmp_path / "log"
    shutil.copytree(made[0], folder)
    tile = folder / "tile" / path
    data = bytearray(tile.read_bytes())
    data[10] ^= 1
    tile.write_bytes(data)
    assert failure(verify(folder))[0] == "tiles"
    tile.write_bytes(data[:-1])
    assert failure(verify(folder))[0] == "tiles"
    tile.unlink()
    assert path in failure(verify(folder))[1]


def test_a_removed_entry_is_noticed_though_all_tiles_were_made_anew(
    made: tuple[Path, dict[int, bytes]], tmp_path: Path
) -> None:
    forged = FolderLog(tmp_path)
    forged.append(*RECEIPTS[:17], receipt(17, SigningKey.generate()), *RECEIPTS[18:])
    checkpoint = made[1][600]
    what, detail = failure(verify(tmp_path, checkpoint=checkpoint))
    assert (what, "another root" in detail) == ("root", True)


def test_a_checkpoint_of_another_key_is_refused(made: tuple[Path, dict[int, bytes]]) -> None:
    other = SigningKey.generate().verify_key
    assert failure(verify(made[0], other))[0] == "checkpoint"
    assert all(finding.holds for finding in verify(made[0], other, KEY.verify_key))


def test_entries_that_nobody_signed_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    log = begin(tmp_path)
    answer = Answer(
        nonce="n" * 22,
        clip_id="c" * 64,
        manifest_sha256="a" * 64,
        receipt_sha256="b" * 64,
        receiver=Signer(id="evidence-1", kid=KEY.kid),
        read_at="2026-11-21T12:00:00.000Z",
        answered_at="2026-11-21T12:00:00.000Z",
    )
    others = sign(answer, KEY).encode(), b"\xff", receipt(2, SigningKey.generate())
    log.append(RECEIPTS[0], *others)
    what, detail = failure(verify(tmp_path))
    assert what == "entries"
    assert detail.startswith(
        "1 receipts, 1 signed statements of unknown kinds, 2 invalid; the first is entry 2:"
    )


def test_a_bundle_with_other_entries_than_its_width_is_refused(
    made: tuple[Path, dict[int, bytes]], tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    shutil.copytree(made[0], folder)
    bundle = Tile(None, 0, 256)
    entries = split_entries(bundle, (folder / bundle.path).read_bytes())
    (folder / bundle.path).write_bytes(pack_entries(entries[:-1]))
    assert failure(verify(folder))[0] == "tiles"
