#!/bin/sh
exec /opt/dockd/bin/python -I -m dockd "$@"
