"""The formats, for both sides and for a stranger: sealing, statements, the journal, proofs."""
