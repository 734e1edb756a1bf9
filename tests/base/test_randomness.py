"""Randomness has one source, which a test replaces to repeat a run."""

from itertools import count

from dockd.base.randomness import Randomness


class Counted(Randomness):
    """Bytes that can be foretold."""

    def __init__(self) -> None:
        self._numbers = count()

    def bytes(self, count: int) -> bytes:
        return bytes(next(self._numbers) % 256 for _ in range(count))


def test_everything_is_drawn_from_the_bytes() -> None:
    def draw(randomness: Randomness) -> list[object]:
        return [
            randomness.hex(4),
            randomness.token(24),
            randomness.below(1 << 62),
            randomness.uniform(1.0, 2.0),
        ]

    assert draw(Counted()) == draw(Counted())
    assert draw(Counted())[0] == "00010203"
    assert draw(Randomness()) != draw(Randomness())


def test_numbers_stay_within_their_limits() -> None:
    randomness = Randomness()
    assert {randomness.below(3) for _ in range(200)} == {0, 1, 2}
    assert all(2.0 <= randomness.uniform(2.0, 3.0) <= 3.0 for _ in range(200))


def test_a_token_is_base64url_without_padding() -> None:
    token = Randomness().token(24)
    assert len(token) == 32
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
