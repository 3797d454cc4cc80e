"""Timestamps of events -> figures of a run: time to first audio, gaps, waits for the end marker.

It reads no clock: the timestamps are those of the transport, in nanoseconds.
"""

from __future__ import annotations

from smallest_cli.models import AudioChunk, Completed, Event, Opened, Phases, Sent

MILLISECOND = 1_000_000


class Timeline:
    """Figures of one run. Times are nanoseconds, None until they are known."""

    def __init__(self) -> None:
        self.phases: Phases | None = None
        self.sent_ns: int | None = None
        self.first_audio_ns: int | None = None
        self.longest_gap_ns = 0
        """Between two chunks of one segment."""
        self.longest_tail_ns = 0
        """From the last audio of a segment to its end marker."""
        self.busy_ns = 0
        """From each request to its last audio; overlapping requests count once."""
        self.starts_cached = False
        self._requests: dict[int, int] = {}
        self._last_audio: dict[int, int] = {}
        self._latest_ns = 0

    def on_event(self, event: Event) -> None:
        """Record one event."""
        match event:
            case Opened(phases=phases) if self.phases is None:
                self.phases = phases
            case Sent(at_ns=at_ns, segment=segment):
                self._requests[segment] = at_ns
                self._last_audio.pop(segment, None)
                if self.sent_ns is None:
                    self.sent_ns = at_ns
            case AudioChunk(cached=True):
                self.starts_cached |= self.first_audio_ns is None
            case AudioChunk(at_ns=at_ns, segment=segment):
                self._note_audio(at_ns, segment)
            case Completed(at_ns=at_ns, segment=segment) if segment in self._last_audio:
                self.longest_tail_ns = max(self.longest_tail_ns, at_ns - self._last_audio.pop(segment))

    def _note_audio(self, at_ns: int, segment: int) -> None:
        if self.first_audio_ns is None:
            self.first_audio_ns = at_ns
        previous_ns = self._last_audio.get(segment)
        if previous_ns is not None:
            self.longest_gap_ns = max(self.longest_gap_ns, at_ns - previous_ns)
        since_ns = self._requests.pop(segment, at_ns) if previous_ns is None else previous_ns
        self.busy_ns += max(0, at_ns - max(since_ns, self._latest_ns))
        self._last_audio[segment] = self._latest_ns = at_ns

    def real_time_factor(self, seconds: float) -> float:
        """Return the busy time divided by the `seconds` of audio."""
        return self.busy_ns / 1e9 / seconds if seconds else 0.0

    @property
    def ttfb_ms(self) -> float | None:
        """From the request's last byte to the first byte of audio: neither connecting nor headers count.

        None where the first audio came from the cache.
        """
        if self.starts_cached or self.sent_ns is None or self.first_audio_ns is None:
            return None
        return (self.first_audio_ns - self.sent_ns) / MILLISECOND
