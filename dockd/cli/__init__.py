"""The commands, a module each or a few that belong together.

Each has ``add_to(commands)``, which adds its parsers; dockd.cli.main puts them together.
"""
