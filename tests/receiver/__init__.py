"""The receiver, over its HTTP interface and on its disk."""
