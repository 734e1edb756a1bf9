"""Commands against a control server on a real Unix socket."""
