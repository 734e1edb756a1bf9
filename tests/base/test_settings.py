import codecs
import tomllib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, field_validator

from dockd.base import settings
from dockd.base.errors import ConfigError
from dockd.base.settings import Section, Size, format_size, misplaced, parse_size, secret_path


class Colour(Section):
    """A colour."""

    name: Literal["red", "green"] = Field(default="red", description="Which it is.")
    bright: bool = Field(default=False, description="Whether it glows.")


class Shelf(Section):
    """A shelf."""

    height: int = Field(ge=1, description="Centimetres from the floor.", examples=[50])
    colours: tuple[Colour, ...] = Field(
        default=(), strict=False, description="Its colours; repeat the table for more."
    )


class Room(Section):
    """The whole file."""

    title: str = Field(description="What it is called.", examples=['the "blue" room'])
    note: str | None = Field(default=None, description="Anything.", examples=["draughty"])
    volume: Size = Field(default=3 * 2**20, gt=0, description="How much fits.")
    wall: Colour = Field(default=Colour(), description="The wall's colour.")
    shelves: tuple[Shelf, ...] = Field(
        strict=False, min_length=1, description="A shelf; repeat the table for more."
    )

    @field_validator("shelves")
    @classmethod
    def _shelves_differ(cls, value: tuple[Shelf, ...]) -> tuple[Shelf, ...]:
        heights = [shelf.height for shelf in value]
        twice = [index for index in range(len(heights)) if heights[index] in heights[:index]]
        if twice:
            raise misplaced([((index, "height"), "another has it") for index in twice])
        return value


GOOD = """\
title = "study"

[wall]
name = "green"

[[shelves]]
height = 30

[[shelves]]
height = 60
colours = [
    { name = "red" },
    { name = "green", bright = true },
]
"""


def load(folder: Path, text: str) -> Room:
    path = folder / "room.toml"
    path.write_text(text)
    return settings.load(path, Room, example="room.example.toml")


def mistakes(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.exit_code == 78
    assert caught.value.hint
    return caught.value.detail.removeprefix(f"{folder}/room.toml")


def test_a_correct_file_is_read_as_types(tmp_path: Path) -> None:
    room = load(tmp_path, GOOD)
    assert room.wall == Colour(name="green")
    assert [shelf.height for shelf in room.shelves] == [30, 60]
    assert room.shelves[1].colours[1].bright
    assert room.volume == 3 * 2**20


def test_every_mistake_is_named_at_once_with_its_line_and_a_hint(tmp_path: Path) -> None:
    text = """\
titel = "study"
volume = "3 MB"

[wall]
name = "blue"
bright = 1

[[shelves]]
height = 30

[[shelves]]
height = 0
colours = [
    { name = "red" },
    { nam = "red" },
]

[shelf]
height = 5
"""
    assert (
        mistakes(tmp_path, text)
        == """
  line 1: title: required key is missing
      hint: What it is called.
  line 1: titel: unknown key; allowed here: note, shelves, title, volume, wall
      hint: did you mean title?
  line 2: volume: a size is a number of bytes, or text such as "64 MiB" or "2 GiB"
      hint: How much fits.
  line 5: wall.name: input should be 'red' or 'green'
      hint: Which it is.
  line 6: wall.bright: input should be a valid boolean
      hint: Whether it glows.
  line 12: shelves.1.height: input should be greater than or equal to 1
      hint: Centimetres from the floor.
  line 13: shelves.1.colours.1.nam: unknown key; allowed here: bright, name
      hint: did you mean name?
  line 18: shelf: unknown key; allowed here: note, shelves, title, volume, wall
      hint: did you mean shelves?"""
    )


def test_a_missing_table_is_a_missing_key(tmp_path: Path) -> None:
    assert mistakes(tmp_path, 'title = "x"').splitlines()[1:] == [
        "  line 1: shelves: required key is missing",
        "      hint: A shelf; repeat the table for more.",
    ]


def test_a_missing_key_is_placed_at_its_table(tmp_path: Path) -> None:
    told = mistakes(tmp_path, 'title = "x"\n[[shelves]]\nheight = 1\n\n[[shelves]]\n')
    assert "line 5: shelves.1.height: required key is missing" in told


def test_a_wrong_item_does_not_make_its_list_seem_too_short(tmp_path: Path) -> None:
    told = mistakes(tmp_path, 'title = "x"\n[[shelves]]\nheight = "low"\n')
    assert told.count("line") == 1
    assert "line 3: shelves.0.height: input should be a valid integer" in told


def test_an_empty_list_is_too_short(tmp_path: Path) -> None:
    assert "line 2: shelves: has too few items" in mistakes(tmp_path, 'title = "x"\nshelves = []\n')


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("wall = 5", "wall: must be a table"),
        ('wall = "red"', "wall: must be a table"),
        ("note = 5", "note: input should be a valid string"),
        ("note = ['a']", "note: input should be a valid string"),
        ("volume = 0", "volume: input should be greater than 0"),
        ("volume = true", "volume: a size is"),
        ("volume = 1.5", "volume: a size is"),
        ("volume = nan", "volume: a size is"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_mistake_in_words_of_toml(
    tmp_path: Path, line: str, told: str
) -> None:
    text = f'title = "x"\n{line}\n[[shelves]]\nheight = 1\n'
    assert f"line 2: {told}" in mistakes(tmp_path, text)


def test_a_list_has_to_be_one(tmp_path: Path) -> None:
    told = mistakes(tmp_path, 'title = "x"\nshelves = "two"\n')
    assert "line 2: shelves: must be an array" in told


def test_each_mistake_of_a_long_file_is_found_without_reading_it_again_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    loads = tomllib.loads

    def counted(text: str) -> dict[str, object]:
        parsed.append(len(text))
        return loads(text)

    monkeypatch.setattr(tomllib, "loads", counted)
    text = 'title = "x"\n' + '[[shelves]]\nheight = 1\nname = "x"\n' * 300
    told = mistakes(tmp_path, text)
    assert told.count("unknown key") == 300
    assert "line 901: shelves.299.name: unknown key" in told
    assert sum(parsed) <= 2 * len(text)


def test_a_mistake_is_found_behind_whatever_toml_can_hold(tmp_path: Path) -> None:
    text = """\
title = 'a # [ "'
note = \"\"\"
] \\\""" ' { # ""x\"\"\"\"
[wall]
"name" = "\\"green[" # "
bright = \'\'\'
it's \'\' ]\'\'\'
[[shelves]]
height = 1
colours = [ # }
    { name = "red" }, # ]
    { "na.me" = 1 },
]
[[shelves]]
[[shelves.colours]]
name = "red"
[[shelves.colours]]
name = "blue"
"""
    tomllib.loads(text)
    told = mistakes(tmp_path, text)
    for line in (
        "line 5: wall.name: input should be 'red' or 'green'",
        "line 6: wall.bright: input should be a valid boolean",
        "line 10: shelves.0.colours.1.na.me: unknown key",
        "line 14: shelves.1.height: required key is missing",
        "line 18: shelves.1.colours.1.name: input should be 'red' or 'green'",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('title = "x"\n[shelves]\nheight = 1\n', "write [[shelves]], with double brackets"),
        (
            'title = "x"\n[[shelves]]\nheight = 1\n[shelves.colours]\nname = "red"\n',
            "write [[shelves.colours]], with double brackets",
        ),
        (GOOD.replace("[wall]", "[[wall]]"), "write [wall], with single brackets"),
    ],
)
def test_a_bracket_too_few_or_too_many_is_told(tmp_path: Path, text: str, hint: str) -> None:
    assert f"hint: {hint}" in mistakes(tmp_path, text)


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode("utf-8-sig"),
        GOOD.encode("utf-16"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"),
        GOOD.replace("\n", "\r\n").encode("utf-8-sig"),
        GOOD.replace("\n", "\r\n").encode("utf-16"),
    ],
)
def test_a_file_is_read_as_editors_leave_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "room.toml"
    path.write_bytes(content)
    assert settings.load(path, Room, example="x") == load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD.encode("utf-16-le"), "UTF-16 without a byte order mark; save it as UTF-8"),
        (GOOD.encode() + b"\xfc", "not UTF-8 text, from line 15 on; save it as UTF-8"),
        ("title = “study”".encode(), 'U+201C (“) for ", U+201D (”) for "'),
        ("title\N{NO-BREAK SPACE}= 1".encode(), "U+00A0 (\N{NO-BREAK SPACE}) for a space"),
        (b"title = " + b"[" * 5000, "nested too deeply"),
    ],
)
def test_what_an_editor_has_spoilt_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "room.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        settings.load(path, Room, example="x")
    assert told in f"{caught.value.message} {caught.value.hint}"


def test_a_validator_can_place_its_mistakes(tmp_path: Path) -> None:
    text = 'title = "x"\n' + "[[shelves]]\nheight = 1\n" * 3
    told = mistakes(tmp_path, text)
    assert "line 5: shelves.1.height: another has it" in told
    assert "line 7: shelves.2.height: another has it" in told


def test_mistakes_far_down_a_long_file_are_found(tmp_path: Path) -> None:
    shelves = "".join(f"[[shelves]]\nheight = {n}\n" for n in range(1, 200))
    told = mistakes(tmp_path, 'title = "x"\n' + shelves + "[[shelves]]\nheight = -1\n")
    assert "line 401: shelves.199.height" in told


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"title = ", "is not TOML"),
        (b'title = "a"\ntitle = "b"', "is not TOML"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_what_is_not_toml_is_said(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "room.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        settings.load(path, Room, example="room.example.toml")


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"No such file|Is a directory") as caught:
        settings.load(tmp_path / name, Room, example="room.example.toml")
    assert caught.value.hint


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0 B", 0),
        ("1 KiB", 1024),
        ("64MiB", 64 * 2**20),
        ("2 GiB", 2**31),
        ("1 TiB", 2**40),
        (7, 7),
    ],
)
def test_sizes_have_binary_units(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "1 MB", "1 mib", "-1 B", "1.5 GiB", "1 GiB ", True, 1.0, None]
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a size is a number of bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1 KiB"), (1025, "1025 B"), (2**40, "1 TiB")],
)
def test_a_size_is_shown_in_the_largest_unit_that_divides_it(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 2**60))
def test_a_shown_size_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


# Secrets


def test_a_secret_lies_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert secret_path("token", tmp_path) == tmp_path / "token"
    assert secret_path("/run/token", tmp_path) == Path("/run/token")


def test_a_systemd_credential_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "token").write_text("")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert secret_path("token", tmp_path) == credentials / "token"
    assert secret_path("other", tmp_path) == tmp_path / "other"


# The example


def test_the_example_shows_every_key_with_its_default_and_reason() -> None:
    assert (
        settings.write_example(Room, "A room.\n\nThe end.")
        == """\
# A room.
#
# The end.

# What it is called.
title = "the \\"blue\\" room"

# Anything.
# note = "draughty"

# How much fits.
volume = "3 MiB"

# The wall's colour.
[wall]

# Which it is.
name = "red"

# Whether it glows.
bright = false

# A shelf; repeat the table for more.
[[shelves]]

# Centimetres from the floor.
height = 50

# Its colours; repeat the table for more.
# [[shelves.colours]]

# Which it is.
# name = "red"

# Whether it glows.
# bright = false
"""
    )


def test_the_example_is_correct_as_it_stands_and_with_everything_switched_on() -> None:
    example = settings.write_example(Room, "A room.")
    assert Room.model_validate(tomllib.loads(example)).shelves == (Shelf(height=50),)
    lines = [
        line.removeprefix("# ") if " = " in line or "[[" in line else line
        for line in example.splitlines()
    ]
    room = Room.model_validate(tomllib.loads("\n".join(lines)))
    assert room.note == "draughty"
    assert room.shelves[0].colours == (Colour(),)


def test_sections_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Colour().bright = True  # type: ignore[misc]  # the mistake under test
