"""Text files that people write, as their editors leave them.

Windows' editors put a mark before a text, end lines with a carriage return, and may save
UTF-16. None of that changes what a text says, so it is read; what can't be is named.
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
"""What word processors put in the place of plain characters."""


def decode(data: bytes) -> str:
    """Return what a text file says, its lines ended by line feeds.

    Raises:
        ValueError: it is no text; its message says what it is instead.
    """
    try:
        if data.startswith(_UTF16) and len(data) > 2:
            text = data.decode("utf-16")
        elif b"\0" in data:
            raise ValueError("is no text, or UTF-16 without a mark; save it as UTF-8")
        else:
            text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 text, from line {line} on; save it as UTF-8") from error
    return text.replace("\r\n", "\n")


def stray_characters(line: str) -> str:
    """Return what a line holds that a word processor put there; "" if nothing."""
    found = [
        f"U+{ord(character):04X} ({character}) for {plain}"
        for character, plain in _HABITS.items()
        if character in line
    ]
    return ", ".join(found)
