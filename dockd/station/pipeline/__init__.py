"""One clip's way: looked for, read, sealed, uploaded, confirmed, wiped."""
