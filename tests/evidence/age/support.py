"""Sealing and opening of small plaintexts, and an age file's parts to tamper with."""

import io
from collections.abc import Sequence

from dockd.evidence.age import CHUNK, TAG, Identity, Recipient, Sealer, open_stream

EDGE_SIZES = (
    0,
    1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK - 1,
    2 * CHUNK,
    2 * CHUNK + 1,
    4 * CHUNK - 1,
    4 * CHUNK,
    4 * CHUNK + 1,
)
BLOCK = 4 * CHUNK


def plaintext_of(size: int) -> bytes:
    """Bytes that differ from chunk to chunk, so that no two of them can be swapped."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


def seal(plaintext: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Seal in blocks of four chunks, as ingest does."""
    sealer = Sealer(recipients)
    sealed = bytearray(sealer.prologue)
    out = memoryview(bytearray(BLOCK + 4 * TAG))
    for start in range(0, max(len(plaintext), 1), BLOCK):
        block = memoryview(plaintext)[start : start + BLOCK]
        written = sealer.seal_into(block, out, final=start + BLOCK >= len(plaintext))
        sealed += out[:written]
    return bytes(sealed)


def open_all(sealed: bytes, identities: Sequence[Identity]) -> bytes:
    return b"".join(open_stream(io.BytesIO(sealed), identities))


def header_size(sealed: bytes) -> int:
    """Bytes of the header with its MAC line."""
    mac_line = sealed.index(b"\n--- ") + 1
    return sealed.index(b"\n", mac_line) + 1
