"""Measurements against other people's tools: ``make bench``."""
