"""Everything that can go wrong, and the exit code that tells a script which it was.

    SmallestError                      1   a bug
      UsageError                       2   what was asked cannot be done
      SettingsError                    3   a broken setting, an extra that is missing
        MissingKeyError                          3   no key anywhere
      RemoteError                          the other side's doing; after first audio, Incomplete
        AuthError                   4   key rejected, no credit
        RequestError                5   the service will not do this
        RateLimited                    6   too many at once          (may be retried)
        NetworkError                   7   the network failed        (may be retried)
          ConnectError                   7   no name, no connection, no TLS
            TLSError                      7   what answers there knows no TLS   (not retried)
          DeadlineExceeded                      7   a wait came to its end
          ConnectionClosed                 7   the other side went away
          IncompleteResponse                       7   what it sent is not whole
        ServerError                  8   the service broke down    (may be retried)
          ProtocolError                8   it answered what nobody can read
        SecurityError                   12   refused: redirect, key over plain text
          CertificateError                   12   the certificate
      Incomplete                       9   failed after audio began
      OutputError                    10   cannot write
      DeviceError                     11   no loudspeaker, or lost
      BatchFailed                     13   some items of a batch failed
      BrokenPipe                     141   nobody reads our pipe any more; quiet, as SIGPIPE is
    Interrupted              129 130 143   a signal; no error, but it unwinds like one

The codes are an interface: their meanings never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


class SmallestError(Exception):
    """What happened, in one line; `hint` is the next thing to try, `partial` keeps what had come.

    `summary` is what a batch had come to, for --json.
    """

    exit_code = 1
    retryable = False
    partial: Path | None = None
    audio_seconds = 0.0
    """How much sound had come."""
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
    """The service's or the network's doing.

    `status` is the HTTP status where there was one, `close_code` that of a WebSocket's close.
    """

    status: int | None = None
    close_code: int | None = None


class AuthError(RemoteError):
    exit_code = 4


class RequestError(RemoteError):
    exit_code = 5


class RateLimited(RemoteError):
    """`retry_after` is the least wait in seconds that the service asked for, None where it did not."""

    exit_code = 6
    retryable = True
    retry_after: float | None = None


class NetworkError(RemoteError):
    exit_code = 7
    retryable = True


class ConnectError(NetworkError):
    """`step` is what failed of connecting: dns, connect or tls."""

    def __init__(self, message: str, *, step: str = "connect") -> None:
        super().__init__(message)
        self.step = step


class TLSError(ConnectError):
    """Another attempt would meet the same server."""

    retryable = False


class DeadlineExceeded(NetworkError):
    pass


class ConnectionClosed(NetworkError):
    pass


class IncompleteResponse(NetworkError):
    pass


class ServerError(RemoteError):
    """`retry_after` as in RateLimited."""

    exit_code = 8
    retryable = True
    retry_after: float | None = None


class ProtocolError(ServerError):
    """The other side said something that is not in the protocol."""


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
    """A signal asked us to stop. `partial`, `audio_seconds`, `summary` and `hint` as in SmallestError."""

    hint = ""
    request_id: str | None = None
    partial: Path | None = None
    audio_seconds = 0.0
    summary: Mapping[str, object] = MappingProxyType({})

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
