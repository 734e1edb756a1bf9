import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd.evidence.age import bech32

# "Test vectors" of BIP 173.
VALID = [
    "A12UEL5L",
    "a12uel5l",
    "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
    "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    "?1ezyfcl",
]
INVALID = [
    " 1nwldj5",
    "\x7f1axkwrx",
    "\x801eym55h",
    "pzry9x0s0muk",
    "1pzry9x0s0muk",
    "x1b4n0q5v",
    "li1dgmt3",
    "de1lg7wt\xff",
    "A1G7SGD8",
    "10a06t8",
    "1qzzfhee",
    "",
]


@pytest.mark.parametrize("text", VALID)
def test_the_valid_strings_of_bip_173_are_read_and_written_alike(text: str) -> None:
    hrp, data = bech32.decode(text)

    assert bech32.encode(hrp, data) in (text, text.upper())


@pytest.mark.parametrize("text", INVALID)
def test_the_invalid_strings_of_bip_173_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it"):
        bech32.decode(text)


@given(st.binary(max_size=2000), st.sampled_from(["age", "age1pq", "AGE-SECRET-KEY-"]))
def test_bytes_of_any_length_survive_a_round_trip(data: bytes, hrp: str) -> None:
    assert bech32.decode(bech32.encode(hrp, data)) == (hrp, data)


@given(st.binary(min_size=1, max_size=64), st.data())
def test_a_changed_character_is_noticed(data: bytes, draw: st.DataObject) -> None:
    text = bech32.encode("age", data)
    place = draw.draw(st.integers(0, len(text) - 1))
    character = draw.draw(st.sampled_from(string.ascii_lowercase + string.digits))
    changed = text[:place] + character + text[place + 1 :]

    if changed != text:
        with pytest.raises(ValueError, match="it"):
            bech32.decode(changed)


def test_mixed_case_is_refused() -> None:
    text = bech32.encode("age", bytes(32))

    with pytest.raises(ValueError, match="mixes upper and lower case"):
        bech32.decode(text[:-1] + text[-1].upper())


@pytest.mark.parametrize(
    "symbols",
    [
        [0, 1],  # one byte, and two bits of padding that say 01
        [0],  # no byte, and more padding than any length of bytes leaves
    ],
)
def test_padding_that_is_not_zero_or_too_long_is_refused(symbols: list[int]) -> None:
    checksum = bech32._polymod([*bech32._expand("age"), *symbols, *[0] * 6]) ^ 1
    encoded = [*symbols, *bech32._split(checksum, 6)]

    with pytest.raises(ValueError, match="padding"):
        bech32.decode("age1" + "".join(bech32._CHARSET[symbol] for symbol in encoded))
