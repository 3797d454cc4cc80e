"""TLS set-up: trusted certificates, the handshake and its errors."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from smallest_cli.errors import CertificateError, ConnectError, ConnectTimeout, SettingsError, TLSError
from smallest_cli.network.connection import Deadline
from smallest_cli.network.origin import Origin
from smallest_cli.security import os_error_text, printable

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""A certificate in OpenSSL's directory, as `openssl rehash` names it."""
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
"""OpenSSL's reasons for a reply that is not TLS."""


def create_context(ca_file: str | None, environ: Mapping[str, str], source: str = "") -> ssl.SSLContext:
    """Return a context for TLS 1.2 and later that verifies certificates.

    Trusts the certificates of `ca_file`, else of the first of SSL_CERT_FILE, REQUESTS_CA_BUNDLE and
    CURL_CA_BUNDLE that is set, else of SSL_CERT_DIR, else the system's. As in OpenSSL, SSL_CERT_DIR counts
    beside SSL_CERT_FILE, too. `source` is where `ca_file` was set, for messages. Raises SettingsError.
    """
    # Not `ssl.create_default_context`: that writes session keys to the file that SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    named = {source: ca_file} if ca_file else {}
    if not ca_file:
        named = {name: environ[name] for name in [*filter(environ.get, CA_VARIABLES)][:1]}
        folders = environ.get("SSL_CERT_DIR", "")
        if folders and (not named or ("SSL_CERT_FILE" in named and _hashed_folders(folders))):
            named["SSL_CERT_DIR"] = folders
    for source, path in named.items():
        _trust(context, path, source)
    if not named:
        paths = ssl.get_default_verify_paths()
        load_system_certificates(context, paths.openssl_cafile, paths.openssl_capath)
    return context


def _trust(context: ssl.SSLContext, path: str, source: str = "") -> None:
    """Trust the certificates of a file, or of one or more folders. Raises SettingsError."""
    prefix = f"{printable(source)}: " if source else ""
    is_folder = os.path.isdir(os.path.expanduser(path))
    try:
        if folders := _hashed_folders(path):
            context.load_verify_locations(capath=os.pathsep.join(folders))
        elif is_folder:
            raise ssl.SSLError
        else:
            context.load_verify_locations(cafile=os.path.expanduser(path))
    except ssl.SSLError:
        hint = "use a PEM file: its first certificate begins with -----BEGIN CERTIFICATE-----"
        if is_folder:
            hint = f"OpenSSL finds certificates by their hash: openssl rehash {printable(path)}"
        raise SettingsError(f"{prefix}no certificate in {printable(path)}", hint=hint) from None
    except OSError as error:
        problem = f"{prefix}cannot read the certificates in {printable(path)}: {os_error_text(error)}"
        raise SettingsError(problem) from None


def _hashed_folders(folders: str) -> dict[str, int]:
    """Return which of `folders`, separated as in PATH, hold how many certificates that OpenSSL finds."""
    found = {}
    for folder in map(os.path.expanduser, folders.split(os.pathsep)):
        with suppress(OSError):
            found[folder] = sum(bool(HASHED_NAME.fullmatch(name)) for name in os.listdir(folder))
    return {folder: count for folder, count in found.items() if count}


def load_system_certificates(context: ssl.SSLContext, bundle: str, folder: str) -> None:
    """Trust the system's certificates, from OpenSSL's default `folder` or `bundle`, else those of certifi.

    Reading a bundle of 140 takes 20 ms. A folder with as many hashed names is preferred: OpenSSL reads only
    the certificate that it needs from it, during the handshake. Raises SettingsError without certificates.
    """
    bundled, hashed = 0, sum(_hashed_folders(folder).values())
    with suppress(OSError), open(bundle, "rb") as file:
        bundled = file.read().count(b"-----BEGIN CERTIFICATE-----")
    if hashed:
        context.load_verify_locations(capath=folder)
    if bundled > hashed:
        _trust(context, bundle)
    if hashed or bundled:
        return
    try:
        import certifi  # slow, and only minimal systems need it; requests depends on it

        _trust(context, certifi.where())
    except (ImportError, SettingsError):
        hint = "install the package ca-certificates, or name a file: --ca-file FILE"
        raise SettingsError("this machine has no certificate authorities", hint=hint) from None


def handshake(
    sock: socket.socket,
    context: ssl.SSLContext,
    origin: Origin,
    deadline: Deadline,
    on_socket: Callable[[socket.socket], None],
) -> ssl.SSLSocket:
    """Run the TLS handshake with `origin`; `on_socket` gets the socket before it.

    Raises CertificateError, ConnectError.
    """
    try:
        # For a str the ssl module imports the IDNA codec, which takes milliseconds; gevent's takes str only.
        as_bytes = type(context).__module__ == "ssl" and origin.host.isascii()
        name = origin.host.encode("ascii") if as_bytes else origin.host
        secured = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        try:
            on_socket(secured)
            _shake_hands(secured, deadline)
        except BaseException:
            secured.close()
            raise
        return secured
    except ssl.SSLCertVerificationError as error:
        raise _certificate_error(origin, error) from None
    except TimeoutError:
        raise ConnectTimeout(f"no TLS handshake within {deadline.timeout_s:g} s", step="tls") from None
    except OSError as error:
        raise _handshake_error(origin, error) from None


def _shake_hands(secured: ssl.SSLSocket, deadline: Deadline) -> None:
    while True:
        secured.settimeout(deadline.remaining())
        try:
            return secured.do_handshake()
        except TimeoutError:
            if deadline.is_over():
                raise


def _handshake_error(origin: Origin, error: OSError) -> ConnectError:
    reason, host = getattr(error, "reason", None), printable(origin.netloc)
    if reason in NOT_TLS:
        not_tls = TLSError(f"{host} does not speak TLS", step="tls")
        not_tls.hint = "is the base URL an http one?"
        return not_tls
    # OpenSSL's own message holds error codes and lines of its source; its reason is an identifier.
    text = reason.lower().replace("_", " ") if isinstance(reason, str) else os_error_text(error)
    return ConnectError(f"the TLS handshake with {host} failed: {printable(text)}", step="tls")


def _certificate_error(origin: Origin, error: ssl.SSLCertVerificationError) -> CertificateError:
    reason = printable(error.verify_message)
    match error.verify_code:  # X509_V_ERR_... in OpenSSL's x509_vfy.h
        case 9 | 10:  # not yet valid, expired
            hint = f"check the clock of this machine: it shows {time.strftime('%Y-%m-%d %H:%M')}"
        case 62 | 64:  # host name mismatch, IP address mismatch
            reason, hint = f"it is another host's ({reason})", "check the base URL"
        case _:
            hint = "trust the authority that signed it: --ca-file FILE"
    problem = f"the certificate of {printable(origin.netloc)} is not trusted: {reason}"
    return CertificateError(problem, hint=hint)
