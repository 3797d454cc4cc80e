"""Play the PCM of a file on the output device: `python -m tests.support.play_pcm FILE RATE [HOW]`.

A separate program, because PortAudio looks for devices once per process. HOW is one of:

abort   print `playing`, wait for a line on stdin, abort playback and print the frames played before;
        after another line, print the frames played since
stall   play the first half, print `stalled`, wait for a line on stdin, print the frames played so far and
        play the second half
list    print the output devices
NAME    play on the device of this name
"""

from __future__ import annotations

import sys
from pathlib import Path

from smallest_cli.audio.speaker import SpeakerSink, list_devices
from smallest_cli.errors import DeviceError
from smallest_cli.models import AudioFormat

CHUNK = 7680


def say(*words: object) -> None:
    print(*words, flush=True)


def pause(*words: object) -> None:
    say(*words)
    sys.stdin.readline()


def write(sink: SpeakerSink, pcm: bytes) -> None:
    for at in range(0, len(pcm), CHUNK):
        sink.write(pcm[at : at + CHUNK])


def play(pcm: bytes, rate: int, how: str) -> None:
    if how == "list":
        for device in list_devices():
            say(f"{device.name}: {device.rate}{', the default' if device.default else ''}")
        return
    sink = SpeakerSink(AudioFormat(rate), None if how in ("", "abort", "stall") else how)
    half = len(pcm) // 4 * 2 if how == "stall" else len(pcm)
    write(sink, pcm[:half])
    if how == "abort":
        pause("playing")
        played = sink.frames_played()
        sink.abort()
        then = sink.frames_played()
        pause(played)
        say(sink.frames_played() - then)
        return
    if how == "stall":
        pause("stalled")
        say(sink.frames_played())
        write(sink, pcm[half:])
    sink.close()
    say(sink.frames_played(), sink.underruns)


def main(path: str, rate: str, how: str = "") -> int:
    try:
        play(Path(path).read_bytes(), int(rate), how)
    except DeviceError as error:
        say(f"{error}; {error.hint}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
