import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockd.base.errors import AgeError
from dockd.evidence.age import (
    CHUNK,
    HybridIdentity,
    Identity,
    X25519Identity,
    ciphertext_size,
    open_stream,
)
from tests.evidence.age.support import EDGE_SIZES, header_size, open_all, plaintext_of, seal

X25519 = X25519Identity.generate()
HYBRID = HybridIdentity.generate()
PLAINTEXT = plaintext_of(2 * CHUNK + 100)
SEALED: dict[Identity, bytes] = {
    identity: seal(PLAINTEXT, [identity.recipient]) for identity in (X25519, HYBRID)
}

sizes = st.one_of(st.integers(0, 100), st.sampled_from(EDGE_SIZES), st.integers(0, 5 * CHUNK))
identities = st.sampled_from(list(SEALED))


@given(sizes, identities)
@settings(deadline=None)
def test_any_size_survives_a_round_trip(size: int, identity: Identity) -> None:
    sealed = seal(plaintext_of(size), [identity.recipient])

    assert len(sealed) == ciphertext_size(size, header_size(sealed))
    assert open_all(sealed, [identity]) == plaintext_of(size)


@given(identities, st.data())
@settings(deadline=None, max_examples=300)
def test_a_flipped_bit_never_gives_wrong_plaintext(identity: Identity, data: st.DataObject) -> None:
    flipped = bytearray(SEALED[identity])
    header = st.integers(0, header_size(SEALED[identity]) * 8 + 200)
    bit = data.draw(st.one_of(header, st.integers(0, len(flipped) * 8 - 1)))
    flipped[bit // 8] ^= 1 << bit % 8

    assert_only_authentic_bytes_come_out(bytes(flipped), identity)


@given(identities, st.data())
@settings(deadline=None, max_examples=200)
def test_a_file_cut_anywhere_never_passes_for_whole(
    identity: Identity, data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, len(SEALED[identity]) - 1))

    assert_only_authentic_bytes_come_out(SEALED[identity][:size], identity)


@given(st.binary(max_size=300), identities)
def test_no_bytes_make_the_parser_fail_in_another_way(data: bytes, identity: Identity) -> None:
    for start in (b"", b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"):
        assert_only_authentic_bytes_come_out(start + data, identity)


def assert_only_authentic_bytes_come_out(sealed: bytes, identity: Identity) -> None:
    output = io.BytesIO()
    with pytest.raises(AgeError):
        output.writelines(open_stream(io.BytesIO(sealed), [identity]))
    assert PLAINTEXT.startswith(output.getvalue())
