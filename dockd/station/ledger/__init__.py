"""What becomes of each clip: SQLite, and the journal in it."""
