"""Numbers of bytes, for people."""

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def shown_size(count: float) -> str:
    """Return a number of bytes in three digits or four: ``1.23 GiB``."""
    names = list(UNITS)
    unit = 0
    while count >= 1023.5 and unit < len(names) - 1:
        count /= 1024
        unit += 1
    digits = 0 if unit == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{digits}f} {names[unit]}"
