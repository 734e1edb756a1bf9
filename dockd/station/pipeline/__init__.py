"""The pipeline of a clip: scanned, ingested, sealed, uploaded, confirmed, wiped."""
