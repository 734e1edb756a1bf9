"""Where the receiver listens: the socket, and its TLS."""

import errno
import ipaddress
import socket
import ssl

from dockd.base.errors import ConfigError, KeyFileError, ListenError
from dockd.base.web import BACKLOG
from dockd.evidence.keys import pem_path
from dockd.receiver.config import ListenConfig

_PASSING = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, socket.EAI_AGAIN}
"""Transient errors: the address is taken, not assigned yet, or can't be resolved."""


def is_exposed(listen: ListenConfig) -> bool:
    """Say whether other machines may reach the receiver, by the configured address."""
    try:
        return not ipaddress.ip_address(listen.host).is_loopback
    except ValueError:
        return listen.host != "localhost"


def open_listener(listen: ListenConfig) -> socket.socket:
    """Open the socket to listen on.

    Raises:
        ListenError: the address is unavailable now.
        ConfigError: the address is invalid.
    """
    try:
        found = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except UnicodeError as error:
        raise ConfigError(
            f"listen: {listen.host} is not a valid name", hint="correct listen.host"
        ) from error
    except OSError as error:
        detail = f"{listen.host} port {listen.port}: {error.strerror}"
        if error.errno in _PASSING:
            hint = "another process may use the port, or the address is not assigned yet"
            raise ListenError(detail, hint=hint) from error
        hint = "check listen.host, and whether the receiver may use the port"
        raise ConfigError(f"listen: {detail}", hint=hint) from error


def tls_context(listen: ListenConfig) -> ssl.SSLContext | None:
    """Return the TLS settings; with a client CA, clients must present a certificate.

    Raises:
        KeyFileError: certificate, key or CA is unusable.
    """
    if listen.certificate is None or listen.certificate_key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with (
            pem_path(listen.certificate) as certificate,
            pem_path(listen.certificate_key_file, secret=True) as key,
        ):
            context.load_cert_chain(certificate, key)
        if listen.client_ca_file is not None:
            with pem_path(listen.client_ca_file) as authorities:
                context.load_verify_locations(authorities)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise KeyFileError(
            f"TLS: {error}", hint="check certificate, certificate_key_file and client_ca_file"
        ) from error
    return context
