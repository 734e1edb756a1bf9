import io
import itertools
from typing import BinaryIO, cast

import pytest

from dockd.base.errors import AgeError, AgeHeaderError, AgeNoMatchError, AgePayloadError
from dockd.evidence.age import (
    CHUNK,
    TAG,
    HybridIdentity,
    Identity,
    Sealer,
    X25519Identity,
    ciphertext_size,
    open_stream,
)
from dockd.evidence.age.stream import _FINAL, _MORE, _NONCE_SIZE, _chunk_nonce
from tests.evidence.age.support import EDGE_SIZES, header_size, open_all, plaintext_of, seal

IDENTITY = X25519Identity.generate()
SEALED_CHUNK = CHUNK + TAG


def release(sealed: bytes) -> tuple[bytes, AgeError | None]:
    """Open a file and return what it let out, and how it failed."""
    output = io.BytesIO()
    try:
        output.writelines(open_stream(io.BytesIO(sealed), [IDENTITY]))
    except AgeError as error:
        return output.getvalue(), error
    return output.getvalue(), None


@pytest.mark.parametrize("identity_type", [X25519Identity, HybridIdentity])
@pytest.mark.parametrize("size", EDGE_SIZES)
def test_what_was_sealed_opens_and_has_the_predicted_size(
    size: int, identity_type: type[Identity]
) -> None:
    identity = identity_type.generate()
    sealed = seal(plaintext_of(size), [identity.recipient])

    assert len(sealed) == ciphertext_size(size, header_size(sealed))
    assert open_all(sealed, [identity]) == plaintext_of(size)


def test_the_same_plaintext_is_never_sealed_alike() -> None:
    first, second = (seal(b"a clip", [IDENTITY.recipient]) for _ in range(2))

    assert first[-22:] != second[-22:]
    assert first[: header_size(first)] != second[: header_size(second)]


@pytest.mark.parametrize("blocks", [(1, 1, 1), (2, 1), (3,), (0, 1, 0, 2)])
def test_it_does_not_matter_how_chunks_are_grouped_into_blocks(blocks: tuple[int, ...]) -> None:
    plaintext = plaintext_of(3 * CHUNK + 5)
    sealer = Sealer([IDENTITY.recipient])
    sealed, out, start = bytearray(sealer.prologue), bytearray(4 * SEALED_CHUNK), 0
    for chunks in blocks:
        end = start + chunks * CHUNK
        written = sealer.seal_into(memoryview(plaintext)[start:end], out, final=False)
        sealed += out[:written]
        start = end
    written = sealer.seal_into(memoryview(plaintext)[start:], out, final=True)
    sealed += out[:written]

    assert open_all(bytes(sealed), [IDENTITY]) == plaintext


def test_a_refused_call_seals_nothing_and_the_sealer_goes_on() -> None:
    sealer = Sealer([IDENTITY.recipient])
    sealed, out = bytearray(sealer.prologue), bytearray(2 * SEALED_CHUNK)
    sealed += out[: sealer.seal_into(bytearray(CHUNK), out, final=False)]
    out[:] = bytes(len(out))

    with pytest.raises(ValueError, match="multiple"):
        sealer.seal_into(bytearray(5), out, final=False)
    with pytest.raises(ValueError, match="empty"):
        sealer.seal_into(bytearray(), out, final=True)
    with pytest.raises(ValueError, match="room"):
        sealer.seal_into(bytearray(3 * CHUNK), out, final=True)
    assert not any(out)

    sealed += out[: sealer.seal_into(bytearray(b"end"), out, final=True)]
    assert open_all(bytes(sealed), [IDENTITY]) == bytes(CHUNK) + b"end"


@pytest.mark.parametrize("final", [True, False])
def test_a_sealer_is_used_once(final: bool) -> None:
    sealer, out = Sealer([IDENTITY.recipient]), bytearray(SEALED_CHUNK)
    sealer.seal_into(bytearray(b"a clip"), out, final=True)

    with pytest.raises(RuntimeError, match="used once"):
        sealer.seal_into(bytearray(), out, final=final)


def test_a_header_error_is_raised_before_any_chunk_is_asked_for() -> None:
    with pytest.raises(AgeHeaderError):
        open_stream(io.BytesIO(b"an MP4, perhaps"), [IDENTITY])
    with pytest.raises(AgeNoMatchError):
        open_stream(io.BytesIO(seal(b"", [IDENTITY.recipient])), [X25519Identity.generate()])


def test_a_passphrase_beside_another_recipient_is_refused() -> None:
    sealed = seal(b"a clip", [IDENTITY.recipient])
    mixed = sealed.replace(b"-> X25519", b"-> scrypt bm9uY2U 18\nYmI\n-> X25519", 1)

    with pytest.raises(AgeHeaderError, match="passphrase"):
        open_stream(io.BytesIO(mixed), [IDENTITY])


class Trickle(io.RawIOBase):
    """A source that gives a few bytes at a time, as a pipe or socket may."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self._sizes = itertools.cycle([1, 7, 4096, 65537])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what callers pass
        return self._data.readinto(memoryview(buffer)[: next(self._sizes)])


def test_a_source_that_gives_a_few_bytes_at_a_time_is_read_whole() -> None:
    plaintext = plaintext_of(2 * CHUNK + 5)
    source = cast("BinaryIO", Trickle(seal(plaintext, [IDENTITY.recipient])))

    assert b"".join(open_stream(source, [IDENTITY])) == plaintext


def test_a_bit_flipped_anywhere_in_a_small_file_is_noticed() -> None:
    sealed = seal(b"a clip", [IDENTITY.recipient])
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8

        released, error = release(bytes(flipped))

        assert not released, f"bit {bit}"
        assert error is not None, f"bit {bit}"


def test_a_small_file_cut_short_anywhere_is_noticed() -> None:
    sealed = seal(b"a clip", [IDENTITY.recipient])
    nonce_end = header_size(sealed) + _NONCE_SIZE
    for size in range(len(sealed)):
        released, error = release(sealed[:size])

        assert not released
        assert type(error) is (AgeHeaderError if size < nonce_end else AgePayloadError)


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("shift", [-1, 0, 1, TAG - 1, TAG, TAG + 1])
def test_a_truncated_payload_releases_nothing_past_the_last_authentic_chunk(
    chunk: int, shift: int
) -> None:
    plaintext = plaintext_of(2 * CHUNK + 100)
    sealed = seal(plaintext, [IDENTITY.recipient])
    start = header_size(sealed) + _NONCE_SIZE
    whole = chunk if shift >= 0 else chunk - 1

    released, error = release(sealed[: start + chunk * SEALED_CHUNK + shift])

    assert type(error) is (AgeHeaderError if whole < 0 else AgePayloadError)
    assert released == plaintext[: max(whole, 0) * CHUNK]


@pytest.mark.parametrize("size", [0, 5, CHUNK, CHUNK + 5, 2 * CHUNK])
@pytest.mark.parametrize("extra", [1, TAG, SEALED_CHUNK])
def test_an_extended_payload_is_never_taken_for_whole(size: int, extra: int) -> None:
    plaintext = plaintext_of(size)

    released, error = release(seal(plaintext, [IDENTITY.recipient]) + bytes(extra))

    assert type(error) is AgePayloadError
    assert plaintext.startswith(released)


@pytest.mark.parametrize(
    ("order", "authentic"),
    [([1, 0, 2], 0), ([0, 2], 1), ([0, 0, 1, 2], 1), ([0, 1], 2), ([0, 1, 2, 2], 3)],
)
def test_chunks_moved_dropped_or_repeated_are_noticed(order: list[int], authentic: int) -> None:
    plaintext = plaintext_of(3 * CHUNK)
    sealed = seal(plaintext, [IDENTITY.recipient])
    start = header_size(sealed) + _NONCE_SIZE
    chunks = [sealed[at : at + SEALED_CHUNK] for at in range(start, len(sealed), SEALED_CHUNK)]

    released, error = release(sealed[:start] + b"".join(chunks[index] for index in order))

    assert type(error) is AgePayloadError
    assert released == plaintext[: authentic * CHUNK]


@pytest.mark.parametrize(
    ("size", "flag"), [(0, _FINAL), (0, _MORE), (5, _MORE)], ids=["empty", "no end", "short"]
)
def test_an_authentic_chunk_in_a_place_that_is_not_its_is_refused(size: int, flag: bytes) -> None:
    sealer, out = Sealer([IDENTITY.recipient]), bytearray(SEALED_CHUNK)
    sealer.seal_into(bytearray(CHUNK), out, final=False)
    misplaced = sealer._aead.encrypt(_chunk_nonce(1, flag), bytes(size), None)

    released, error = release(sealer.prologue + out + misplaced)

    assert released == bytes(CHUNK)
    assert type(error) is AgePayloadError


def test_a_payload_under_another_files_header_is_refused() -> None:
    first, second = (seal(b"a clip", [IDENTITY.recipient]) for _ in range(2))
    spliced = first[: header_size(first)] + second[header_size(second) :]

    released, error = release(spliced)

    assert not released
    assert type(error) is AgePayloadError
