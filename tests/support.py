"""Keys, signed statements and configurations that several tests start from."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dockd.evidence.age import X25519Identity
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import (
    Answer,
    CameraIdentity,
    Content,
    FileFacts,
    JournalHead,
    Manifest,
    Receipt,
    Signer,
    derive_clip_id,
    read_unverified_receipt,
    sign,
    statement_sha256,
)
from dockd.station.reports import Report, Reports
from dockd.station.spool import Part, Spool

ALICE, BOB, CAROL = "a" * 64, "b" * 64, "c" * 64
"""Digests of three recipients."""
PLAINTEXT = Content(sha256="1" * 64, size=1000)
CIPHERTEXT = Content(sha256="2" * 64, size=1200)


def make_manifest(
    key: SigningKey,
    *,
    station: str = "camden-07",
    camera: tuple[str, str] = ("generic", "CAM-0001"),
    plaintext: Content = PLAINTEXT,
    ciphertext: Content = CIPHERTEXT,
    recipients: Sequence[str] = (ALICE, BOB),
    journal: JournalHead | None = None,
    **changes: Any,
) -> Manifest:
    """What a station says of a clip; ``changes`` replace members, consistent or not."""
    identity = CameraIdentity(profile=camera[0], serial=camera[1])
    manifest = Manifest(
        clip_id=derive_clip_id(identity.id, plaintext.sha256),
        station=Signer(id=station, kid=key.kid),
        camera=identity,
        docking="1",
        file=FileFacts(path="DCIM/0001.mp4", kind="video", modified_at="2026-11-21T11:00:00.000Z"),
        plaintext=plaintext,
        ciphertext=ciphertext,
        recipients=list(recipients),
        sealed_at="2026-11-21T12:00:00.000Z",
        journal=journal or JournalHead(seq=7, hash="d" * 64),
    )
    return manifest.model_copy(update=changes)


def make_receipt(key: SigningKey, manifest: Manifest, token: str, **changes: Any) -> Receipt:
    """What a receiver says of the clip of a manifest; ``changes`` replace members."""
    receipt = Receipt(
        clip_id=manifest.clip_id,
        plaintext=manifest.plaintext,
        ciphertext=manifest.ciphertext,
        recipients=manifest.recipients,
        manifest_sha256=statement_sha256(token),
        station=manifest.station,
        receiver=Signer(id="evidence-1", kid=key.kid),
        stored_at="2026-11-21T12:01:00.000Z",
    )
    return receipt.model_copy(update=changes)


def make_answer(key: SigningKey, receipt_token: str, nonce: str, **changes: Any) -> str:
    """What a receiver answers to one question about a receipt; ``changes`` replace members."""
    receipt = read_unverified_receipt(receipt_token)
    answer = Answer(
        nonce=nonce,
        clip_id=receipt.clip_id,
        manifest_sha256=receipt.manifest_sha256,
        receipt_sha256=statement_sha256(receipt_token),
        receiver=Signer(id="evidence-1", kid=key.kid),
        read_at="2026-11-21T12:01:00.000Z",
        answered_at="2026-11-21T12:01:01.000Z",
    )
    return sign(answer.model_copy(update=changes), key)


def write_config(folder: Path, *, extra: str = "", **replaced: str) -> Path:
    """Write a small correct configuration; ``replaced`` gives tables of their own by name."""
    recipient = X25519Identity.generate().recipient
    tables = {
        "station": f'[station]\nid = "camden-07"\nstate = "{folder}/state"\n',
        "encryption": f'[encryption]\nrecipients = ["{recipient}"]\n',
        "target": '[target]\nurl = "https://evidence.example/files/"\n',
        "profiles": '[[profiles]]\nname = "generic"\n'
        'rules = [{ pattern = "**/*.mp4", kind = "video" }]\n',
    } | replaced
    path = folder / "config.toml"
    path.write_text("\n".join(tables.values()) + extra)
    return path


@contextmanager
def small_disk(point: Path, *, size: str) -> Iterator[Path]:
    """Mount a small file system in memory; the test is skipped where that isn't allowed."""
    point.mkdir()
    options = f"size={size},mode=0700"
    with _mounted(point, "-t", "tmpfs", "-o", options, "tmpfs"):
        yield point


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Make a file answer every reading with EIO; skips as above."""
    # The first page of no process's memory can be read.
    with _mounted(path, "--bind", f"/proc/{os.getpid()}/mem"):
        yield


@contextmanager
def _mounted(point: Path, *arguments: str) -> Iterator[None]:
    command = ["mount", *arguments, str(point)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


@contextmanager
def writing(spool: Spool) -> Iterator[Part]:
    """Write to a part of a spool; unless it is published, it is gone afterwards."""
    part = spool.begin()
    try:
        yield part
    finally:
        spool.discard(part)


def fill(disk: Path) -> Path:
    """Write a file that takes all room that is left on a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        block = bytes(4096)
        try:
            while True:
                file.write(block)
        except OSError:
            pass
    return filler


def open_descriptors() -> list[str]:
    """What the process has open, to find what was left behind."""
    links = Path("/proc/self/fd").iterdir()
    return sorted(str(link.readlink()) for link in links if link.is_symlink())


def log_lines(text: str) -> list[dict[str, Any]]:
    """Read JSON lines of a log."""
    return [json.loads(line) for line in text.splitlines()]


class Handled(Reports):
    """Reports that are acted on at once, by a function of the test."""

    def __init__(self, handle: Callable[[Report], object]) -> None:
        super().__init__()
        self._handle = handle

    def put(self, report: Report) -> None:
        self._handle(report)
