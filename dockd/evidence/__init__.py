"""The formats of both sides: encryption, signed statements, the journal, verification."""
