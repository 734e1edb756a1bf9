"""dockd: takes evidence off body-worn cameras, sealed, acknowledged and provable."""

__version__ = "0.1.0"
