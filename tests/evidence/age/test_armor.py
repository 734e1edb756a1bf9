import base64
from collections.abc import Callable

import pytest

from dockd.base.errors import AgeError
from dockd.evidence.age import CHUNK, X25519Identity
from tests.evidence.age.support import open_all, plaintext_of, seal

IDENTITY = X25519Identity.generate()
BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
END = b"-----END AGE ENCRYPTED FILE-----"


def armor(sealed: bytes) -> list[bytes]:
    encoded = base64.b64encode(sealed)
    return [BEGIN, *(encoded[at : at + 64] for at in range(0, len(encoded), 64)), END]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [*range(48), CHUNK, 2 * CHUNK + 1])
def test_an_armored_file_opens(size: int, line_end: bytes) -> None:
    sealed = seal(plaintext_of(size), [IDENTITY.recipient])

    assert open_all(line_end.join(armor(sealed)), [IDENTITY]) == plaintext_of(size)


def test_white_space_around_the_armor_is_allowed() -> None:
    armored = b"\n".join(armor(seal(b"a clip", [IDENTITY.recipient])))

    assert open_all(b"\n \t\r\n" + armored + b"\n\n  " + b" " * 999, [IDENTITY]) == b"a clip"


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, b"more"],
        lambda lines: [b"-----BEGIN AGE FILE-----", *lines[1:]],
        lambda lines: [*lines[:-1], b"-----END AGE FILE-----"],
        lambda lines: [*lines[:2], b"", *lines[2:]],
        lambda lines: [lines[0], b"Comment: none", *lines[1:]],
        lambda lines: [lines[0], lines[1] + lines[2][:4], lines[2][4:], *lines[3:]],
        lambda lines: [lines[0], b"".join(lines[1:-1]), lines[-1]],
        lambda lines: [lines[0], lines[1][:60], lines[1][60:], *lines[2:]],
        lambda lines: [lines[0], lines[1] + b" ", *lines[2:]],
        lambda lines: [*lines[:-2], lines[-2].rstrip(b"="), lines[-1]],
        lambda lines: [*lines[:-2], b"YmJ=", lines[-1]],
    ],
)
def test_armor_that_is_not_strict_is_refused(
    damage: Callable[[list[bytes]], list[bytes]],
) -> None:
    sealed = seal(b"", [IDENTITY.recipient])
    lines = armor(seal(bytes(48 - (len(sealed) + 1) % 48), [IDENTITY.recipient]))
    assert lines[-2].endswith(b"=")

    # The type itself: armor is at fault, not what is in it.
    with pytest.raises(AgeError) as caught:
        open_all(b"\n".join(damage(lines)), [IDENTITY])
    assert type(caught.value) is AgeError
