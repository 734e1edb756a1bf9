"""The TLS context of a target, and its certificates."""

import contextlib
import os
import ssl
from pathlib import Path

from dockd.base.errors import ConfigError, KeyFileError
from dockd.evidence.keys import pem_path
from dockd.station.config import TargetConfig


def open_tls(config: TargetConfig) -> ssl.SSLContext:
    """Read a target's certificates.

    Raises:
        KeyFileError: a certificate or its key can't be used.
        ConfigError: the environment names certificates that don't exist.
    """
    _check_environment(config)
    try:
        with contextlib.ExitStack() as stack:
            ca = stack.enter_context(pem_path(config.ca_file)) if config.ca_file else None
            tls = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise KeyFileError(
            f"{config.ca_file or error.filename} is not a readable PEM certificate:"
            f" {error.strerror or error}",
            hint="target.ca_file holds the CA that signs the server's certificate",
        ) from error
    if config.client_certificate is None or config.client_key_file is None:
        return tls
    try:
        # An empty password keeps OpenSSL from asking for one on a terminal.
        with (
            pem_path(config.client_certificate) as certificate,
            pem_path(config.client_key_file, secret=True) as key,
        ):
            tls.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise KeyFileError(
            f"{config.client_certificate} and {config.client_key_file} are not a PEM "
            f"certificate and its unencrypted key: {error.strerror or error}",
            hint="check target.client_certificate and target.client_key_file",
        ) from error
    return tls


def _check_environment(config: TargetConfig) -> None:
    """Check the certificates that the environment names: OpenSSL ignores missing ones.

    Raises:
        ConfigError: they don't exist.
    """
    if config.ca_file is not None:
        return  # only that CA is trusted
    hint = "name the system's certificates, or set target.ca_file instead"
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            detail = f"SSL_CERT_FILE: {file}: {error.strerror or error}"
            raise ConfigError(detail, hint=hint) from error
    folders = os.environ.get("SSL_CERT_DIR")
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise ConfigError(f"SSL_CERT_DIR: {folders}: there is no such folder", hint=hint)
