"""The machine: durable files, systemd, D-Bus."""
