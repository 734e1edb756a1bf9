import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockd import __version__
from dockd.base.clock import Clock
from dockd.cli.main import main
from dockd.evidence import journal
from dockd.evidence.age import Sealer, X25519Identity, parse_identities
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.statements import Content, sign, statement_sha256
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Camera
from tests.support import make_manifest, make_receipt, write_config

PLAINTEXT = os.urandom(200_000)


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process."""

    def __init__(self, captured: pytest.CaptureFixture[bytes]) -> None:
        self._captured = captured

    def binary(self, *arguments: object) -> tuple[int, bytes, bytes]:
        code = main([str(argument) for argument in arguments])
        captured = self._captured.readouterr()
        return code, captured.out, captured.err

    def __call__(self, *arguments: object) -> Said:
        code, out, err = self.binary(*arguments)
        return Said(code, out.decode(), err.decode())


@pytest.fixture
def dockd(capsysbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(capsysbinary)


def run(
    *arguments: object, stdin: bytes | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dockd", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=cwd,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def seal(data: bytes, identity: X25519Identity) -> bytes:
    sealer = Sealer([identity.recipient])
    out = bytearray(len(data) + 16 * (len(data) // 65536 + 1))
    return sealer.prologue + out[: sealer.seal_into(bytearray(data), out, final=True)]


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["keygen"],
        ["keygen", "spaceship", "-o", "x"],
        ["keygen", "station"],
        ["keygen", "station", "-o", "x", "--post-quantum"],
        ["decrypt", "x"],
        ["verify"],
        ["verify", "--manifest", "m", "--station-key", "k", "--receipt", "r"],
        ["verify", "--manifest", "m", "--station-key", "k", "--receiver-key", "k"],
        ["verify", "--manifest", "m", "--station-key", "k", "--identity", "i"],
        ["verify", "--manifest", "m", "--station-key", "k", "--anchor", "a"],
        ["journal", "extra"],
    ],
)
def test_a_command_that_is_called_wrongly_says_so(
    dockd: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = dockd(*arguments)
    assert said.code == 64
    assert said.out == ""
    assert said.err.startswith("dockd: ")
    assert list(tmp_path.iterdir()) == []


def test_the_version_and_the_help_are_results(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in [
        (["--version"], f"dockd {__version__}"),
        (["--help"], "run the station's daemon"),
        (["keygen", "--help"], "private file with mode 0600"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        captured = capsys.readouterr()
        assert told in captured.out
        assert captured.err == ""


@pytest.mark.parametrize("command", ["run", "receiver", "journal"])
def test_a_missing_configuration_ends_with_78(dockd: Shell, tmp_path: Path, command: str) -> None:
    said = dockd(command, "--config", tmp_path / "nowhere.toml")
    assert said.code == 78
    assert f"{tmp_path}/nowhere.toml: No such file or directory" in said.err
    assert "dockd: hint: " in said.err
    assert "Traceback" not in said.err


def test_the_command_is_a_process_with_the_same_answers(tmp_path: Path) -> None:
    wrong = run("fly")
    assert (wrong.returncode, wrong.stdout) == (64, b"")
    made = run("keygen", "station", "-o", "station.key", cwd=tmp_path)
    assert made.returncode == 0
    assert made.stderr == b""
    kid = SigningKey.load(tmp_path / "station.key").kid
    assert made.stdout.decode() == f"{kid}\n"


# keygen


@pytest.mark.parametrize("kind", ["station", "receiver"])
def test_a_signing_key_is_made_with_its_public_half(
    dockd: Shell, tmp_path: Path, kind: str
) -> None:
    private, public = tmp_path / "a.key", tmp_path / "a.key.pub"
    said = dockd("keygen", kind, "-o", private)
    key = SigningKey.load(private)
    assert said == Said(0, f"{key.kid}\n", "")
    assert mode(private) == 0o600
    assert VerifyKey.load(public) == key.verify_key


@pytest.mark.parametrize(
    ("options", "prefix", "secret"),
    [
        ([], "age1", "AGE-SECRET-KEY-1"),
        (["--post-quantum"], "age1pq1", "AGE-SECRET-KEY-PQ-1"),
    ],
)
def test_an_identity_is_made_as_age_keygen_writes_it(
    dockd: Shell, tmp_path: Path, options: list[str], prefix: str, secret: str
) -> None:
    path = tmp_path / "identity"
    said = dockd("keygen", "identity", "-o", path, *options)
    (identity,) = parse_identities(path.read_text())
    assert said == Said(0, f"{identity.recipient}\n", "")
    assert mode(path) == 0o600
    assert path.read_text().splitlines()[0] == f"# public key: {identity.recipient}"
    assert str(identity).startswith(secret)
    assert (tmp_path / "identity.pub").read_text() == f"{identity.recipient}\n"
    assert str(identity.recipient).startswith(prefix)


def test_every_key_is_another_one(dockd: Shell, tmp_path: Path) -> None:
    for kind in ("station", "identity"):
        printed = {dockd("keygen", kind, "-o", tmp_path / f"{kind}{n}").out for n in range(3)}
        assert len(printed) == 3


@pytest.mark.parametrize("there", ["a.key", "a.key.pub"])
def test_no_key_is_ever_replaced(dockd: Shell, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("in use")
    said = dockd("keygen", "station", "-o", tmp_path / "a.key")
    assert said.code == 78
    assert f"{there} exists already" in said.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "in use")]


def test_a_key_in_a_missing_folder_is_not_made(dockd: Shell, tmp_path: Path) -> None:
    said = dockd("keygen", "identity", "-o", tmp_path / "nowhere" / "key")
    assert said.code == 78
    assert "No such file or directory" in said.err


# decrypt


@pytest.fixture
def identity(dockd: Shell, tmp_path: Path) -> X25519Identity:
    dockd("keygen", "identity", "-o", tmp_path / "identity")
    (made,) = parse_identities((tmp_path / "identity").read_text())
    assert isinstance(made, X25519Identity)
    return made


@pytest.fixture
def clip(tmp_path: Path, identity: X25519Identity) -> Path:
    path = tmp_path / "clip.age"
    path.write_bytes(seal(PLAINTEXT, identity))
    return path


def test_a_clip_is_opened_into_a_new_file_for_its_owner_alone(
    dockd: Shell, tmp_path: Path, clip: Path
) -> None:
    out = tmp_path / "clip.mp4"
    said = dockd("decrypt", "--identity", tmp_path / "identity", "-o", out, clip)
    assert said == Said(0, "", "")
    assert out.read_bytes() == PLAINTEXT
    assert mode(out) == 0o600


def test_one_of_several_identities_is_enough(dockd: Shell, tmp_path: Path, clip: Path) -> None:
    dockd("keygen", "identity", "-o", tmp_path / "other", "--post-quantum")
    out = tmp_path / "clip.mp4"
    said = dockd("decrypt", "-i", tmp_path / "other", "-i", tmp_path / "identity", "-o", out, clip)
    assert said.code == 0
    assert out.read_bytes() == PLAINTEXT


def test_a_clip_is_opened_to_standard_output(dockd: Shell, tmp_path: Path, clip: Path) -> None:
    assert dockd.binary("decrypt", "-i", tmp_path / "identity", clip) == (0, PLAINTEXT, b"")


def test_a_clip_is_opened_from_standard_input(tmp_path: Path, clip: Path) -> None:
    opened = run("decrypt", "-i", "identity", "-", stdin=clip.read_bytes(), cwd=tmp_path)
    assert (opened.returncode, opened.stderr) == (0, b"")
    assert opened.stdout == PLAINTEXT


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [flipped, lambda data: data[:-1], lambda data: data[:100_000]])
@pytest.mark.parametrize("output", [["-o", "clip.mp4"], []])
def test_a_damaged_clip_releases_nothing_and_leaves_nothing(
    dockd: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clip: Path,
    damage: Callable[[bytes], bytes],
    output: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    clip.write_bytes(damage(clip.read_bytes()))
    before = set(tmp_path.iterdir())
    said = dockd("decrypt", "-i", "identity", *output, clip)
    assert said.code == 65
    assert said.out == ""
    assert "damaged" in said.err
    assert set(tmp_path.iterdir()) == before


def test_a_clip_for_somebody_else_is_not_opened(dockd: Shell, tmp_path: Path, clip: Path) -> None:
    dockd("keygen", "identity", "-o", tmp_path / "other")
    said = dockd("decrypt", "-i", tmp_path / "other", "-o", tmp_path / "clip.mp4", clip)
    assert said.code == 77
    assert not (tmp_path / "clip.mp4").exists()


def test_an_existing_file_is_not_replaced_by_a_clip(
    dockd: Shell, tmp_path: Path, clip: Path
) -> None:
    out = tmp_path / "clip.mp4"
    out.write_text("mine")
    assert dockd("decrypt", "-i", tmp_path / "identity", "-o", out, clip).code == 64
    assert out.read_text() == "mine"


def test_a_clip_that_is_not_there_is_an_input_error(
    dockd: Shell, tmp_path: Path, identity: X25519Identity
) -> None:
    said = dockd("decrypt", "-i", tmp_path / "identity", tmp_path / "nowhere.age")
    assert said.code == 74
    assert said.err == f"dockd: {tmp_path}/nowhere.age: No such file or directory\n"


def test_what_is_no_identity_is_not_shown(dockd: Shell, tmp_path: Path, clip: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    said = dockd("decrypt", "-i", tmp_path / "secret", clip)
    assert said.code == 65
    assert "hunter2" not in said.err


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, clip: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    opened = subprocess.run(
        [sys.executable, "-m", "dockd", "decrypt", "-i", "identity", "clip.age"],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        check=False,
    )
    os.close(writer)
    assert (opened.returncode, opened.stderr) == (74, b"")


# verify


@pytest.fixture
def case(tmp_path: Path, dockd: Shell, clip: Path) -> list[str]:
    """A clip with its statements; gives the arguments that prove it."""
    for kind in ("station", "receiver"):
        dockd("keygen", kind, "-o", tmp_path / f"{kind}.key")
    station = SigningKey.load(tmp_path / "station.key")
    receiver = SigningKey.load(tmp_path / "receiver.key")
    sealed = clip.read_bytes()
    manifest = make_manifest(
        station,
        plaintext=Content(sha256=hashlib.sha256(PLAINTEXT).hexdigest(), size=len(PLAINTEXT)),
        ciphertext=Content(sha256=hashlib.sha256(sealed).hexdigest(), size=len(sealed)),
    )
    token = sign(manifest, station)
    (tmp_path / "manifest.jws").write_text(token + "\n")
    receipt = make_receipt(receiver, manifest, token)
    (tmp_path / "receipt.jws").write_text(sign(receipt, receiver))
    options = {
        "--manifest": "manifest.jws",
        "--station-key": "station.key.pub",
        "--receipt": "receipt.jws",
        "--receiver-key": "receiver.key.pub",
        "--clip": "clip.age",
        "--identity": "identity",
    }
    return [
        "verify",
        *(part for option, name in options.items() for part in (option, str(tmp_path / name))),
    ]


def test_what_belongs_together_is_verified(dockd: Shell, case: list[str]) -> None:
    said = dockd(*case)
    assert (said.code, said.err) == (0, "")
    assert [line.split(":")[0] for line in said.out.splitlines()] == [
        "ok     manifest",
        "ok     receipt",
        "ok     ciphertext",
        "ok     plaintext",
    ]


def test_it_is_said_that_nobody_has_opened_the_clip(dockd: Shell, case: list[str]) -> None:
    said = dockd(*case[: case.index("--identity")])
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "-      plaintext: not checked: no identity given"


def test_what_does_not_belong_together_ends_with_65(
    dockd: Shell, case: list[str], clip: Path
) -> None:
    clip.write_bytes(flipped(clip.read_bytes()))
    said = dockd(*case)
    assert said.code == 65
    assert "FAILED ciphertext: " in said.out
    assert "FAILED plaintext: " in said.out


def test_findings_are_given_as_json(dockd: Shell, case: list[str], clip: Path) -> None:
    proof = json.loads(dockd(*case, "--json").out)
    assert proof["holds"] is True
    assert [finding["what"] for finding in proof["findings"]] == [
        "manifest",
        "receipt",
        "ciphertext",
        "plaintext",
    ]
    clip.write_bytes(b"")
    said = dockd(*case, "--json")
    assert said.code == 65
    assert json.loads(said.out)["holds"] is False


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff\xff", b"a.b.c"])
def test_a_manifest_that_is_none_ends_with_65(
    dockd: Shell, case: list[str], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "manifest.jws").write_bytes(content)
    said = dockd(*case)
    assert said.code == 65
    assert said.out.startswith("FAILED manifest: ")


@pytest.mark.parametrize("statement", ["manifest", "receipt"])
def test_a_statement_that_is_not_there_is_a_finding(
    dockd: Shell, case: list[str], tmp_path: Path, statement: str
) -> None:
    path = tmp_path / f"{statement}.jws"
    path.unlink()
    said = dockd(*case)
    assert (said.code, said.err) == (65, "")
    assert f"FAILED {statement}: {path}: No such file or directory\n" in said.out


def test_a_journal_is_proved_with_the_anchors_that_are_given(
    dockd: Shell, case: list[str], tmp_path: Path
) -> None:
    station = SigningKey.load(tmp_path / "station.key")
    token = sign(make_manifest(station, journal=journal.GENESIS), station)
    entry = journal.link(
        journal.GENESIS,
        at="2026-11-21T12:00:00.000Z",
        event="clip.spooled",
        camera="generic:CAM-0001",
        clip=1,
        detail={"manifest_sha256": statement_sha256(token)},
    )
    later = sign(make_manifest(station, journal=entry.head), station)
    for name, content in [
        ("manifest.jws", token),
        ("journal.jsonl", entry.as_json() + "\n"),
        ("later.jws", later),
    ]:
        (tmp_path / name).write_text(content)
    command = ["verify", "--manifest", tmp_path / "manifest.jws"]
    command += ["--station-key", tmp_path / "station.key.pub"]
    command += ["--journal", tmp_path / "journal.jsonl"]
    assert "about this clip is 1, beyond that" in dockd(*command).out
    said = dockd(*command, "--anchor", tmp_path / "later.jws", "--anchor", tmp_path / "none.jws")
    assert said.code == 65
    assert "ok     anchor: camden-07 signed entry 1 at 2026-11-21T12:00:00.000Z\n" in said.out
    assert f"FAILED anchor: {tmp_path}/none.jws: No such file or directory\n" in said.out
    assert "about this clip is 1, within that" in said.out


def test_a_key_that_is_not_there_ends_with_78(
    dockd: Shell, case: list[str], tmp_path: Path
) -> None:
    (tmp_path / "station.key.pub").unlink()
    said = dockd(*case)
    assert said.code == 78
    assert "station.key.pub: No such file" in said.err


# journal


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    with closing(Ledger(tmp_path / "state" / "ledger.db", Clock())) as ledger:
        docking = ledger.dockings.begin(Camera("generic", "CAM-0001"), "bay 1")
        ledger.dockings.end(Camera("generic", "CAM-0001"), docking)
    return write_config(tmp_path)


def test_the_journal_is_printed_so_that_it_can_be_proved(dockd: Shell, config: Path) -> None:
    said = dockd("journal", "--config", config)
    assert (said.code, said.err) == (0, "")
    entries = [journal.parse(line) for line in said.out.splitlines()]
    assert [entry.event for entry in entries] == ["camera.docked", "camera.undocked"]
    assert journal.verify(entries).seq == 2


def test_the_journal_is_printed_while_the_daemon_writes_to_it(dockd: Shell, config: Path) -> None:
    with closing(Ledger(config.parent / "state" / "ledger.db", Clock())) as daemons:
        daemons.journal.record("camera.docked")
        assert len(dockd("journal", "--config", config).out.splitlines()) == 3


def test_an_export_leaves_the_ledger_as_a_power_cut_left_it(dockd: Shell, tmp_path: Path) -> None:
    """With a write-ahead log that was not taken over, modes of its own, and an older form."""
    with closing(Ledger(tmp_path / "ledger.db", Clock())) as ledger:
        ledger.journal.record("order.resume", what="wipes", uid=1)
        ledger.database.execute("PRAGMA user_version = 1")
        state = tmp_path / "state"
        state.mkdir()
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(tmp_path / name, state)
            (state / name).chmod(0o440)
    before = {path: (path.read_bytes(), mode(path)) for path in state.iterdir()}
    assert len(before) == 2
    said = dockd("journal", "--config", write_config(tmp_path))
    assert (said.code, said.err) == (0, "")
    assert len(said.out.splitlines()) == 1
    assert {path: (path.read_bytes(), mode(path)) for path in before} == before


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_the_journal_is_exported_in_utf_8_whatever_the_terminal_speaks(
    config: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    with closing(Ledger(config.parent / "state" / "ledger.db", Clock())) as ledger:
        ledger.journal.record(
            "order.pause", what="wipes", reason="Prüfung, Žižkov", uid=1, until=None
        )
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    exported = run("journal", "--config", config)
    assert (exported.returncode, exported.stderr) == (0, b"")
    entries = [journal.parse(line) for line in exported.stdout.decode("utf-8").splitlines()]
    assert journal.verify(entries).seq == 3
    assert entries[-1].detail["reason"] == "Prüfung, Žižkov"


def test_a_broken_journal_is_printed_and_ends_with_65(dockd: Shell, config: Path) -> None:
    with closing(Ledger(config.parent / "state" / "ledger.db", Clock())) as ledger:
        ledger.database.execute("DROP TRIGGER journal_no_update")
        ledger.database.execute("UPDATE journal SET camera = 'other' WHERE seq = 1")
    said = dockd("journal", "--config", config)
    assert said.code == 65
    assert len(said.out.splitlines()) == 2
    assert "does not follow" in said.err
