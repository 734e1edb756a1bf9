"""dockd's receiver: a tus 1.0.0 server that acknowledges what it durably holds.

``server`` runs it and ``app`` wires it. ``http/`` is its protocol, ``core/`` what it does,
``store/`` where clips are kept, ``index/`` what is known of them. Imports run in this order.
"""
