"""The payload of an age file: 64 KiB chunks of ChaCha20-Poly1305.

Follows "Payload" of https://c2sp.org/age, a variant of STREAM.
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from dockd.base.errors import AgeHeaderError, AgeNoMatchError, AgePayloadError
from dockd.evidence.age.armor import dearmor, is_armor
from dockd.evidence.age.header import Header, read_header, serialize_header
from dockd.evidence.age.kdf import derive_key
from dockd.evidence.age.keys import FILE_KEY_SIZE, Identity, Recipient
from dockd.evidence.age.recipients import check_together

CHUNK = 65536
"""Bytes of plaintext in every chunk but the last."""
TAG = 16
"""Bytes that encryption adds to a chunk."""

_NONCE_SIZE = 16
_MAX_FIRST_LINE = 128
_MORE = b"\x00"
_FINAL = b"\x01"
_DAMAGED_HINT = "fetch the file again from where it is stored"


def ciphertext_size(plaintext_size: int, header_size: int) -> int:
    """Return the bytes of a whole age file.

    Args:
        plaintext_size: bytes of plaintext.
        header_size: bytes of the header with its MAC line, without the payload's nonce.
    """
    return header_size + _NONCE_SIZE + plaintext_size + TAG * _chunk_count(plaintext_size)


class Sealer:
    """Encrypts one plaintext, once, with a new file key.

    Raises:
        AgeKeyError: there is no recipient, or they can't be combined.
    """

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        check_together(recipients)
        file_key = secrets.token_bytes(FILE_KEY_SIZE)
        nonce = secrets.token_bytes(_NONCE_SIZE)
        stanzas = [recipient.wrap(file_key) for recipient in recipients]
        self.prologue = serialize_header(stanzas, file_key) + nonce
        """The header and the payload's nonce, which precede the chunks."""
        self._aead = _payload_cipher(file_key, nonce)
        self._counter = 0
        self._finished = False

    def seal_into(
        self, plaintext: memoryview | bytearray, out: memoryview | bytearray, *, final: bool
    ) -> int:
        """Encrypt the next chunks into ``out`` and return the number of bytes written.

        Args:
            plaintext: a multiple of ``CHUNK`` bytes; with ``final`` the rest of any
                length, which is empty only if the whole plaintext is.
            out: space for the plaintext and ``TAG`` bytes per chunk; must not overlap it.
            final: this is the end of the plaintext.

        Raises:
            ValueError: a length is invalid; nothing was encrypted.
            RuntimeError: the final chunk was encrypted already.
        """
        source, target = memoryview(plaintext), memoryview(out)
        size = len(source)
        if self._finished:
            raise RuntimeError("a sealer is used once, and its final chunk is sealed already")
        if final and not size and self._counter:
            raise ValueError("the final chunk is empty, though chunks came before it")
        if not final and size % CHUNK:
            raise ValueError(f"{size} bytes are no multiple of {CHUNK} and not final")
        count = _chunk_count(size) if final else size // CHUNK
        if len(target) < size + count * TAG:
            raise ValueError(f"{len(target)} bytes of room are too few for {count} chunks")
        self._finished = final
        written = 0
        for index in range(count):
            chunk = source[index * CHUNK : (index + 1) * CHUNK]
            end = written + len(chunk) + TAG
            flag = _FINAL if final and index == count - 1 else _MORE
            nonce = _chunk_nonce(self._counter, flag)
            self._counter += 1
            self._aead.encrypt_into(nonce, chunk, None, target[written:end])
            written = end
        return written


def open_stream(source: IO[bytes], identities: Sequence[Identity]) -> Iterator[bytes]:
    """Decrypt an age file, binary or armored, and return its chunks of plaintext.

    The header is read and verified immediately. Every chunk is authentic, but the plaintext is
    complete only when the iteration ends.

    Raises:
        AgeHeaderError: the header is malformed.
        AgeNoMatchError: no identity matches.
        AgeHmacError: the header was modified.
        AgePayloadError: while iterating: the payload is damaged, truncated or extended.
        AgeError: the armor is malformed, perhaps while iterating.
    """
    first_line = source.readline(_MAX_FIRST_LINE)
    if is_armor(first_line):
        source = dearmor(first_line, source)
        first_line = source.readline(_MAX_FIRST_LINE)
    header = read_header(first_line, source)
    file_key = _unwrap(header, identities)
    header.verify(file_key)
    nonce = _read_full(source, _NONCE_SIZE)
    if len(nonce) != _NONCE_SIZE:
        raise AgeHeaderError("it is truncated in the payload's nonce")
    return _open_chunks(source, _payload_cipher(file_key, nonce))


def _unwrap(header: Header, identities: Sequence[Identity]) -> bytes:
    types = [stanza.args[0] for stanza in header.stanzas]
    if "scrypt" in types and len(types) > 1:
        raise AgeHeaderError("it has a passphrase in addition to another recipient")
    for identity in identities:
        file_key = identity.unwrap(header.stanzas)
        if file_key is not None:
            return file_key
    raise AgeNoMatchError(
        f"none of its {len(types)} stanzas is for one of the {len(identities)} identities",
        hint="use the identity of a recipient that the clip's manifest names",
    )


def _open_chunks(source: IO[bytes], aead: ChaCha20Poly1305) -> Iterator[bytes]:
    counter = 0
    final = False
    while not final:
        chunk = _read_full(source, CHUNK + TAG)
        if counter and len(chunk) == TAG:
            raise AgePayloadError(
                f"chunk {counter} is empty, though chunks came before it", hint=_DAMAGED_HINT
            )
        final, plaintext = _open_chunk(aead, counter, chunk)
        yield plaintext
        counter += 1
    if source.read(1):
        raise AgePayloadError("unexpected data after the final chunk", hint=_DAMAGED_HINT)


def _open_chunk(aead: ChaCha20Poly1305, counter: int, chunk: bytes) -> tuple[bool, bytes]:
    """Return whether a chunk is the final one, according to its tag, and its plaintext."""
    flags = (_MORE, _FINAL) if len(chunk) == CHUNK + TAG else (_FINAL,)
    for flag in flags:
        try:
            return flag == _FINAL, aead.decrypt(_chunk_nonce(counter, flag), chunk, None)
        except InvalidTag:
            continue
    raise AgePayloadError(
        f"chunk {counter} is damaged, or the file is truncated there", hint=_DAMAGED_HINT
    )


def _payload_cipher(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(derive_key(file_key, b"payload", salt=nonce))


def _chunk_nonce(counter: int, flag: bytes) -> bytes:
    return counter.to_bytes(11, "big") + flag


def _chunk_count(plaintext_size: int) -> int:
    return max(1, -(-plaintext_size // CHUNK))


def _read_full(source: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end; one read of a pipe may return fewer."""
    data = source.read(size)
    while len(data) < size and (more := source.read(size - len(data))):
        data += more
    return data
