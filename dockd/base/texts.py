"""Text files as editors save them.

Windows editors put a byte order mark before a text, end lines with a carriage return, and may
save UTF-16. All of that is accepted; anything else is reported.
"""

import codecs

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HABITS = {
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{DOUBLE LOW-9 QUOTATION MARK}": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{NO-BREAK SPACE}": "a space",
    "\N{ZERO WIDTH SPACE}": "nothing",
    "\N{ZERO WIDTH NO-BREAK SPACE}": "nothing",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
}
"""What word processors substitute for plain characters."""


def decode(data: bytes) -> str:
    """Return the content of a text file, with line feeds as line ends.

    Raises:
        ValueError: it is not text; the message says what it is.
    """
    try:
        if data.startswith(_UTF16) and len(data) > 2:
            text = data.decode("utf-16")
        elif b"\0" in data:
            raise ValueError(
                "is not text, or is UTF-16 without a byte order mark; save it as UTF-8"
            )
        else:
            text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 text, from line {line} on; save it as UTF-8") from error
    return text.replace("\r\n", "\n")


def stray_characters(line: str) -> str:
    """Return the characters of a line that a word processor inserted; "" if none."""
    found = [
        f"U+{ord(character):04X} ({character}) for {plain}"
        for character, plain in _HABITS.items()
        if character in line
    ]
    return ", ".join(found)
