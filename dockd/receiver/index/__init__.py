"""What the receiver knows of its store, for questions; rebuildable from the store.

SQL is spoken here alone.
"""
