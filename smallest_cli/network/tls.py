"""TLS set-up: trusted certificates, the handshake and its errors."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping

from smallest_cli.errors import CertificateError, ConnectError, SettingsError, TLSError
from smallest_cli.network.connection import Deadline
from smallest_cli.network.origin import Origin
from smallest_cli.security import os_error_text, printable

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]")
"""A certificate in OpenSSL's directory, as `openssl rehash` names it."""
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
"""OpenSSL's reasons for a reply that is not TLS."""


def create_context(ca_file: str | None, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and later that verifies certificates.

    Trusts the certificates of `ca_file`, else of the first of SSL_CERT_FILE, REQUESTS_CA_BUNDLE and
    CURL_CA_BUNDLE that is set, else of SSL_CERT_DIR, else the system's. Raises SettingsError.
    """
    # Not `ssl.create_default_context`: that writes session keys to the file that SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    path = ca_file or next((environ[name] for name in CA_VARIABLES if environ.get(name)), None)
    folder = path if path and os.path.isdir(path) else environ.get("SSL_CERT_DIR")
    try:
        if path and path != folder:
            context.load_verify_locations(cafile=path)
        elif folder:
            context.load_verify_locations(capath=folder)
        else:
            paths = ssl.get_default_verify_paths()
            load_system_certificates(context, paths.openssl_cafile, paths.openssl_capath)
    except ssl.SSLError:
        hint = "use a PEM file: its first certificate begins with -----BEGIN CERTIFICATE-----"
        raise SettingsError(f"no certificate in {printable(path)}", hint=hint) from None
    except OSError as error:
        problem = f"cannot read the certificates in {printable(path)}: {os_error_text(error)}"
        raise SettingsError(problem) from None
    return context


def load_system_certificates(context: ssl.SSLContext, bundle: str, folder: str) -> None:
    """Trust the system's certificates, from OpenSSL's default `folder` or `bundle`.

    Reading a bundle of 140 takes 20 ms. A folder with as many hashed names is preferred: OpenSSL reads only
    the certificate that it needs from it, during the handshake.
    """
    try:
        with open(bundle, "rb") as file:
            bundled = file.read().count(b"-----BEGIN CERTIFICATE-----")
        hashed = sum(bool(HASHED_NAME.fullmatch(name)) for name in os.listdir(folder))
    except OSError:
        hashed, bundled = 0, 1
    if hashed >= max(1, bundled):
        context.load_verify_locations(capath=folder)
    else:
        context.load_default_certs()


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
        raise ConnectError(f"no TLS handshake within {deadline.timeout_s:g} s", step="tls") from None
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
