"""dockd's receiver: a tus 1.0.0 server that acknowledges what it durably holds.

``server`` runs it and ``app`` wires it. ``tus`` and ``receipts`` are its HTTP resources,
``stations`` says who may use them. ``uploads`` knows what is under way, ``room`` what that
needs of the disk, ``writing`` takes bytes in, ``verifier`` turns a complete upload into a
receipt. ``store`` and ``incoming`` are the disk, ``reading`` what it has really kept.
"""
