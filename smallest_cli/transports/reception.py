"""What was received of one request: bounds its audio, and decides whether it is complete."""

from __future__ import annotations

from typing import Literal

from smallest_cli.errors import DeadlineExceeded, ProtocolError, UnusableAudio
from smallest_cli.models import SpeechRequest
from smallest_cli.network.connection import Connection

Witness = Literal[
    "end marker", "later end marker", "later audio", "stated length", "framed body", "quiet end"
]
"""What shows that a reply is whole; `Reception.accept` has the table."""
FREE_AUDIO_S, AUDIO_S_PER_CHARACTER = 30.0, 1.0
"""The most audio that is taken for a text. Speech has 0.06 s a character, at half speed 0.12 s."""
STALL_WINDOW_S, MIN_REAL_TIME = 60.0, 0.1
"""Audio at less than this share of real time, over so many seconds of waiting for it, has stalled."""


class Reception:
    """The audio of one request. `waiting` is the connection that it comes over."""

    def __init__(self, request: SpeechRequest, waiting: Connection) -> None:
        self._format = request.format
        self._waiting = waiting
        self._limit_s = FREE_AUDIO_S
        self._received = self._segment_start = 0
        self._window_start: tuple[int, float] | None = None
        """Bytes received and seconds waited at the start of the window."""
        self.expect(request.text)

    def expect(self, text: str) -> None:
        """Allow audio for (more) text. The time until its first audio is not measured here."""
        self._limit_s += AUDIO_S_PER_CHARACTER * len(text)
        self._window_start = None

    def add(self, pcm: bytes) -> bool:
        """Count audio; return whether it is at least a frame, and so may extend a deadline.

        Smaller pieces could come indefinitely. Raises ProtocolError if it is more than the text can be,
        DeadlineExceeded if it comes too slowly.
        """
        self._received += len(pcm)
        if self._format.duration(self._received) > self._limit_s:
            error = ProtocolError(f"the service sent more than {self._limit_s:g} s of audio for this text")
            error.retryable = False
            raise error
        now = (self._received, self._waiting.waited_s)
        start = self._window_start = self._window_start or now
        window_s = now[1] - start[1]
        if window_s >= STALL_WINDOW_S:
            audio_s = self._format.duration(now[0] - start[0])
            if audio_s < MIN_REAL_TIME * window_s:
                raise DeadlineExceeded(f"only {audio_s:.1f} s of audio came within {window_s:.0f} s")
            self._window_start = now
        return len(pcm) >= self._format.frame_size

    def begin_segment(self) -> None:
        """Begin the next segment of a conversation."""
        self._segment_start = self._received

    def accept(self, witness: Witness | None, *, request_id: str | None = None) -> bool:
        """Return whether the segment is complete. All decisions of all transports are made here.

        | witness | transport | seen |
        |---|---|---|
        | `end marker` | ws, sse | `complete` of the request; the last event, with its empty line |
        | `later end marker` | ws | `complete` of a later request that has audio, which comes in order |
        | `later audio` | ws | audio of a later request: this one has ended; kept only once marked |
        | `stated length` | http | the length in the WAV header, and no byte more than the header states |
        | `framed body` | http | no length in the WAV header; the body's own length or last chunk |
        | `quiet end` | ws, `--buffering server` | quiet or a normal close, after `complete` and all text |

        One is enough. None is no witness: the end of a connection, a timeout, a close code, an error. Raises
        UnusableAudio if no audio came or it ends within a frame.
        """
        if witness is None:
            return False
        if witness == "quiet end":
            return True  # each of its segments was accepted by its own end marker
        byte_count = self._received - self._segment_start
        if byte_count % self._format.frame_size:
            raise UnusableAudio("the audio ended in half a sample", request_id=request_id)
        if not byte_count:
            raise UnusableAudio("the service sent no audio", request_id=request_id)
        return True
