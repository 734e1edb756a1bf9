"""The daemon as its user runs it."""
