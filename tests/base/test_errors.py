import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockd.base import errors
from dockd.base.errors import (
    ConfigError,
    DockdError,
    StatementError,
    TransientError,
    UnforeseenError,
)


def classes() -> Iterator[type[DockdError]]:
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, DockdError):
            yield member


EVERY = sorted(classes(), key=lambda one: one.__name__)


def shown() -> list[tuple[int, str]]:
    """Depth and name of each class, as the module's tree shows them."""
    lines = (errors.__doc__ or "").splitlines()
    tree = lines[lines.index("DockdError") :]
    found = []
    for line in tree[: tree.index("")]:
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        assert match is not None
        found.append((len(match[1]) // 4, match[2]))
    return found


def drawn(base: type[DockdError], depth: int = 0) -> Iterator[tuple[int, str]]:
    """The same of the classes themselves, in the order in which they are defined."""
    yield depth, base.__name__
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from drawn(child, depth + 1)


def test_the_tree_that_is_shown_is_the_tree_that_is() -> None:
    assert shown() == list(drawn(DockdError))


@pytest.mark.parametrize("one", EVERY)
def test_every_error_says_what_happened_in_a_sentence(one: type[DockdError]) -> None:
    assert "summary" in vars(one)
    assert re.fullmatch(r"[A-Z][^\n]+[^.\n]", one.summary)
    assert one().message == one.summary
    error = one("what is special", hint="what to do")
    assert error.message == str(error) == f"{one().message}: what is special"
    assert error.hint == "what to do"


def test_no_two_errors_say_the_same() -> None:
    messages = [one().message for one in EVERY]
    assert len(set(messages)) == len(messages)


def test_errors_say_the_same_without_docstrings() -> None:
    program = (
        "from dockd.base import errors\n"
        f"for name in {[one.__name__ for one in EVERY]}:\n"
        "    print(getattr(errors, name)('what is special'))\n"
    )
    run = [sys.executable, "-OO", "-c", program]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [str(one("what is special")) for one in EVERY]


def test_a_command_without_docstrings_says_what_is_wrong(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    run = [sys.executable, "-OO", "-m", "dockd", "run", "--config", str(missing)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == ConfigError.exit_code
    assert f": {missing}: No such file or directory" in done.stderr


def test_exit_codes_and_events_are_stable() -> None:
    # Scripts and alerts rely on these: add a line, never change one.
    assert {one.__name__: (one.exit_code, one.event) for one in EVERY} == {
        "AgeError": (65, "age.failed"),
        "AgeHeaderError": (65, "age.header_invalid"),
        "AgeHmacError": (65, "age.hmac_invalid"),
        "AgeKeyError": (65, "age.key_invalid"),
        "AgeNoMatchError": (77, "age.no_match"),
        "AgePayloadError": (65, "age.payload_invalid"),
        "CameraHangsError": (66, "camera.hangs"),
        "CameraLostError": (66, "camera.lost"),
        "CameraRefusedError": (66, "camera.refused"),
        "ClipChangedError": (66, "clip.changed"),
        "ClipTooLargeError": (66, "clip.too_large"),
        "ClipUnreadableError": (66, "clip.unreadable"),
        "ClipUnsettledError": (66, "clip.unsettled"),
        "ConfigError": (78, "config.invalid"),
        "ControlDeniedError": (77, "control.denied"),
        "ControlError": (69, "control.failed"),
        "ControlVersionError": (76, "control.version"),
        "CrowdedError": (75, "connections.refused"),
        "DaemonDownError": (69, "control.down"),
        "DockdError": (70, "error"),
        "FilesLeftError": (66, "camera.files_left"),
        "JournalBrokenError": (65, "journal.broken"),
        "KeyFileError": (78, "key.unusable"),
        "LedgerBusyError": (75, "ledger.busy"),
        "LedgerError": (74, "ledger.failed"),
        "LedgerVersionError": (78, "ledger.too_new"),
        "ListenError": (75, "listen.failed"),
        "ManifestRefusedError": (65, "manifest.refused"),
        "MountError": (66, "camera.unmountable"),
        "NotFoundError": (74, "ledger.failed"),
        "OrderHeldError": (75, "control.held"),
        "OrderRefusedError": (65, "control.refused"),
        "ReceiptRefusedError": (65, "receipt.refused"),
        "RejectedError": (76, "clip.rejected"),
        "SourceError": (66, "camera.failed"),
        "SpoolDamagedError": (74, "spool.damaged"),
        "SpoolError": (74, "spool.failed"),
        "SpoolDiskFullError": (75, "spool.disk_full"),
        "SpoolFullError": (75, "spool.full"),
        "SpoolUnknownError": (74, "spool.unknown"),
        "StatementError": (65, "statement.refused"),
        "StatementLogError": (65, "statement_log.invalid"),
        "StoreBusyError": (75, "store.busy"),
        "StoreError": (74, "store.failed"),
        "StoreFullError": (75, "store.full"),
        "TargetDownError": (75, "target.down"),
        "TargetError": (69, "upload.failed"),
        "TransientError": (75, "clip.retrying"),
        "TransitionError": (74, "ledger.failed"),
        "UnforeseenError": (70, "unforeseen"),
        "UploadDamagedError": (65, "receiver.upload_refused"),
        "UploadUnreadableError": (74, "receiver.upload_unreadable"),
        "UsageError": (64, "usage.invalid"),
        "WipeBusyError": (75, "wipe.busy"),
        "WipeDamageError": (74, "wipe.damaged"),
        "WipeError": (74, "wipe.failed"),
        "WipeFailedError": (74, "wipe.failed"),
        "WipeUnconfirmedError": (75, "wipe.unconfirmed"),
        "RequestRefusedError": (76, "receiver.refused"),
        "HistoryForkedError": (65, "receiver.history_forked"),
        "ClocksDifferError": (75, "receiver.clocks_differ"),
        "JournalForkedError": (65, "journal.forked"),
        "WipeRefusedError": (65, "wipe.refused"),
    }


def test_what_nobody_foresaw_keeps_its_cause() -> None:
    cause = KeyError("it")
    error = UnforeseenError.of(cause)
    assert error.message.endswith("Internal error: KeyError: 'it'")
    assert error.__cause__ is cause


def test_a_refused_statement_keeps_its_reason() -> None:
    assert StatementError("x", reason="unknown-key").reason == "unknown-key"


def test_a_transient_error_keeps_what_the_server_asked_for() -> None:
    assert TransientError("x", retry_after=1.5).retry_after == 1.5
    assert TransientError("x").retry_after is None
