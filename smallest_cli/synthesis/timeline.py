"""Stamped events -> when things happened. It passes them on, keeps no audio, and reads no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smallest_cli.models import AudioChunk, Completed, Event, Opened, Phases, Sent

MILLISECOND = 1_000_000


class Timeline:
    """The stamps of one run. Times are nanoseconds of the transport's clock, None until they are."""

    def __init__(self) -> None:
        self.phases: Phases | None = None
        self.sent_ns: int | None = None
        self.first_audio_ns: int | None = None
        self.longest_gap_ns = 0
        self.longest_tail_ns = 0
        self.busy_ns = 0
        self.begins_cached = False
        self._last_audio_ns: int | None = None
        self._asked_ns = 0

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events; what they tell is kept as they pass."""
        for event in events:
            match event:
                case Opened(phases=phases) if self.phases is None:
                    self.phases = phases
                case Sent(at_ns=at_ns):
                    self._last_audio_ns = None
                    self._asked_ns = at_ns
                    if self.sent_ns is None:
                        self.sent_ns = at_ns
                case AudioChunk(cached=True):
                    self.begins_cached |= self.first_audio_ns is None
                    self._last_audio_ns = None
                case AudioChunk(at_ns=at_ns):
                    self._note_audio(at_ns)
                case Completed(at_ns=at_ns) if self._last_audio_ns is not None:
                    self.longest_tail_ns = max(self.longest_tail_ns, at_ns - self._last_audio_ns)
            yield event

    def _note_audio(self, at_ns: int) -> None:
        since = self._asked_ns if self._last_audio_ns is None else self._last_audio_ns
        self.busy_ns += at_ns - since
        if self.first_audio_ns is None:
            self.first_audio_ns = at_ns
        if self._last_audio_ns is not None:
            self.longest_gap_ns = max(self.longest_gap_ns, at_ns - self._last_audio_ns)
        self._last_audio_ns = at_ns

    def real_time_factor(self, seconds: float) -> float:
        """Time from each request to its last audio, by the seconds of audio that came."""
        return self.busy_ns / 1e9 / seconds if seconds else 0.0

    @property
    def ttfb_ms(self) -> float | None:
        """Request sent to first byte of audio: headers do not count, nor does connecting.

        None where the first audio came out of the cache: that is nobody's latency.
        """
        if self.begins_cached or self.sent_ns is None or self.first_audio_ns is None:
            return None
        return (self.first_audio_ns - self.sent_ns) / MILLISECOND
