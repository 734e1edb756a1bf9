"""Merkle logs of signed statements: tiles, checkpoints, proofs, written from C2SP and RFC 6962."""
