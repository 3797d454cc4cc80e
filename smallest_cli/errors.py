"""Errors and their exit codes.

    SmallestError                       1   a bug
      UsageError                        2   invalid usage
      SettingsError                     3   invalid setting, missing extra, out of resources
        MissingKeyError                 3   no API key
      RemoteError                           service or network; Incomplete after audio began
        AuthError                       4   key rejected, no credit
        RequestError                    5   request refused
        RateLimited                     6   rate or concurrency limit (may be retried)
        NetworkError                    7   the network failed (may be retried)
          ConnectError                  7   DNS, TCP or TLS failed
            ConnectTimeout              7   connecting took too long
            TLSError                    7   the server does not speak TLS (not retried)
          DeadlineExceeded              7   timeout
          ConnectionClosed              7   connection closed
          IncompleteResponse            7   incomplete response
        ServerError                     8   server error (may be retried)
          ProtocolError                 8   invalid response
            UnusableAudio               8   a complete response without audio, or with half a sample
        SecurityError                  12   refused: redirect, key over plain text
          CertificateError             12   certificate not trusted
      Incomplete                        9   failed after audio began
      OutputError                      10   cannot write
      DeviceError                      11   no output device, or device error
      BatchFailed                      13   some items of a batch failed
      BrokenPipe                      141   the reader closed our pipe; no message, as with SIGPIPE
    Interrupted               129 130 143   a signal; a BaseException

`bench` ends with 20 to 23 for what it measured: a missed threshold, a regression, an invalid run, an
inconclusive threshold or comparison (bench/results.py and bench/compare.py). The codes are part of the
interface and do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


class SmallestError(Exception):
    """A message of one line; `hint` suggests a remedy, `partial` is the path of the partial file kept.

    `summary` is the result of a batch so far, for --json.
    """

    exit_code = 1
    retryable = False
    partial: Path | None = None
    audio_seconds = 0.0
    """Seconds of audio received."""
    summary: Mapping[str, object] = MappingProxyType({})

    def __init__(self, message: str, *, hint: str = "", request_id: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.request_id = request_id


class UsageError(SmallestError):
    exit_code = 2


class SettingsError(SmallestError):
    exit_code = 3


class MissingKeyError(SettingsError):
    pass


class RemoteError(SmallestError):
    """An error of the service or the network.

    `status` is the HTTP status, `close_code` the WebSocket close code, `retry_after` the minimum wait in
    seconds that the service requested, if there was one.
    """

    status: int | None = None
    close_code: int | None = None
    retry_after: float | None = None


class AuthError(RemoteError):
    exit_code = 4


class RequestError(RemoteError):
    exit_code = 5


class RateLimited(RemoteError):
    exit_code = 6
    retryable = True


class NetworkError(RemoteError):
    exit_code = 7
    retryable = True


class ConnectError(NetworkError):
    """`step` is the step of connecting that failed: dns, connect or tls."""

    def __init__(self, message: str, *, step: str = "connect") -> None:
        super().__init__(message)
        self.step = step


class ConnectTimeout(ConnectError):
    """A step of connecting did not end in time."""


class TLSError(ConnectError):
    """Not retried: another attempt would reach the same server."""

    retryable = False


class DeadlineExceeded(NetworkError):
    pass


class ConnectionClosed(NetworkError):
    pass


class IncompleteResponse(NetworkError):
    pass


class ServerError(RemoteError):
    exit_code = 8
    retryable = True


class ProtocolError(ServerError):
    """The service sent something that the protocol does not allow."""


class UnusableAudio(ProtocolError):
    pass


class SecurityError(RemoteError):
    exit_code = 12


class CertificateError(SecurityError):
    pass


class Incomplete(SmallestError):
    exit_code = 9


class OutputError(SmallestError):
    exit_code = 10


class DeviceError(SmallestError):
    exit_code = 11


class BatchFailed(SmallestError):
    exit_code = 13


class BrokenPipe(SmallestError):
    exit_code = 141


class Interrupted(BaseException):
    """A signal was received. `partial`, `audio_seconds`, `summary` and `hint` are as in SmallestError."""

    hint = ""
    request_id: str | None = None
    partial: Path | None = None
    audio_seconds = 0.0
    summary: Mapping[str, object] = MappingProxyType({})

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def plural(count: int, noun: str) -> str:
    """Return a count and its noun for a message: "1 row", "2 rows"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
