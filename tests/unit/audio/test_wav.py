"""Writing and reading the WAV header: against literal bytes, Python's wave module, and every split."""

from __future__ import annotations

import io
import json
import struct
import wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.audio import wav
from smallest_cli.errors import ProtocolError
from smallest_cli.models import AudioFormat
from tests.support import GOLDEN

RATE_24K, RATE_44K = AudioFormat(24_000), AudioFormat(44_100)
PCM = struct.pack("<8h", 0, 1200, 2400, 1200, 0, -1200, -2400, -1200)
SAMPLES = json.loads((GOLDEN / "sync.json").read_text(encoding="utf-8"))["live_samples"]

# 24 kHz, mono, 16 bit, 122880 bytes of data: the length of the live example.
LIVE_HEADER = bytes.fromhex(
    "52494646 24e00100 57415645"  # RIFF, 122916, WAVE
    "666d7420 10000000 0100 0100 c05d0000 80bb0000 0200 1000"  # fmt , 16, PCM, mono, 24000, 48000, 2, 16
    "64617461 00e00100"  # data, 122880
)


def chunk(name: bytes, body: bytes) -> bytes:
    """A RIFF chunk, padded to an even length as RIFF requires."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def fmt(coding: int = 1, channels: int = 1, rate: int = 24_000, bits: int = 16, extra: bytes = b"") -> bytes:
    frame = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", coding, channels, rate, rate * frame, frame, bits) + extra)


def sized(bits: int, frame: int) -> bytes:
    """A plain format of `bits` a sample and `frame` bytes a frame."""
    return chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 24_000, 24_000 * frame, frame, bits))


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def extension(coding: int = 1, valid_bits: int = 16, guid: str = "000000001000800000aa00389b71") -> bytes:
    """After the 16 bytes of a plain format: 22 more, the valid bits, a speaker mask, a GUID of the coding."""
    return struct.pack("<HHIH", 22, valid_bits, 4, coding) + bytes.fromhex(guid)


EXTENSION = extension()
EXTENSIBLE = fmt(0xFFFE, extra=EXTENSION)
DATA = chunk(b"data", PCM)
LIST = chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf60.16.100\0")
FILES = {
    "plain": riff(fmt(), DATA),
    "LIST before data": riff(fmt(), LIST, DATA),
    "LIST before fmt": riff(LIST, fmt(), DATA),
    "odd chunk": riff(fmt(), chunk(b"odd ", b"abc"), DATA),
    "odd chunk of one byte": riff(chunk(b"odd ", b"a"), fmt(), chunk(b"odd ", b"b"), DATA),
    "empty chunk": riff(fmt(), chunk(b"junk", b""), DATA),
    "a chunk whose body contains 'data'": riff(fmt(), chunk(b"note", b"data\x04\0\0\0abcd"), DATA),
    "extended fmt": riff(fmt(extra=b"\0\0"), DATA),
    "extensible": riff(EXTENSIBLE, DATA),
    "extensible, 12 valid bits": riff(fmt(0xFFFE, extra=extension(valid_bits=12)), DATA),
    "extensible, no valid bits": riff(fmt(0xFFFE, extra=extension(valid_bits=0)), DATA),
    "extensible with fact": riff(EXTENSIBLE, chunk(b"fact", b"\x08\0\0\0"), DATA),
    "LIST after data": riff(fmt(), DATA, LIST),
    "several chunks after data": riff(fmt(), DATA, LIST, chunk(b"id3 ", b"x"), chunk(b"junk", b""), LIST),
}


def read(*pieces: bytes, expected: AudioFormat = RATE_24K) -> tuple[bytes, wav.WavReader]:
    reader = wav.WavReader(expected)
    return b"".join([reader.feed(piece) for piece in pieces]), reader


# Writing


def test_header_bytes() -> None:
    assert len(LIVE_HEADER) == 44
    assert wav.header(RATE_24K, 122_880) == LIVE_HEADER


def test_stereo_frame_has_four_bytes() -> None:
    made = wav.header(AudioFormat(8_000, 2), 16)
    assert made[20:36].hex(" ", -4) == "01000200 401f0000 007d0000 04001000"


def test_header_matches_the_live_files() -> None:
    """44 + data, and a RIFF size of all that follows it (waves/api.md, 3a)."""
    live = [sample for sample in SAMPLES if sample["body"].get("output_format") == "wav"]
    assert [sample["bytes"] for sample in live] == [122_924, 239_948]
    for sample in live:
        made = wav.header(AudioFormat(sample["body"]["sample_rate"]), sample["bytes"] - 44)
        assert made[:8].hex() == sample["first8"]
        assert struct.unpack("<I", made[4:8])[0] == sample["bytes"] - 8


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_wave_module_reads_the_header(rate: int, channels: int) -> None:
    body = PCM * channels
    with wave.open(io.BytesIO(wav.header(AudioFormat(rate, channels), len(body)) + body)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, channels, 2)
        assert file.getnframes() == 8
        assert file.readframes(100) == body


def test_wave_module_writes_the_same_bytes() -> None:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, 44_100, 0, "NONE", ""))
        file.writeframes(PCM)
    assert wav.header(RATE_44K, len(PCM)) + PCM == written.getvalue()


def test_largest_data_size_fits_the_header() -> None:
    made = wav.header(RATE_24K, wav.LARGEST_DATA_SIZE)
    assert struct.unpack("<I", made[4:8])[0] == 0xFFFF_FFFF
    with pytest.raises(struct.error):
        wav.header(RATE_24K, wav.LARGEST_DATA_SIZE + 1)


def test_header_of_unknown_length_states_no_length() -> None:
    made = wav.header(RATE_24K)
    assert struct.unpack("<I", made[40:44])[0] == 0x7FFF_F000
    assert struct.unpack("<I", made[4:8])[0] == 0x7FFF_F000 + 36
    pcm, reader = read(made + PCM)
    assert (pcm, reader.states_length, reader.complete) == (PCM, False, False)


# Reading


def test_live_example_is_read() -> None:
    body = bytes(range(256)) * 480
    assert len(LIVE_HEADER + body) == 122_924
    pcm, reader = read(LIVE_HEADER, body)
    assert pcm == body
    assert reader.states_length
    assert reader.complete


@pytest.mark.parametrize("name", FILES)
def test_file_split_at_every_position(name: str) -> None:
    raw = FILES[name]
    for cut in range(len(raw) + 1):
        pcm, reader = read(raw[:cut], raw[cut:])
        assert (pcm, reader.complete, reader.states_length) == (PCM, True, True), cut
    pcm, reader = read(*(raw[at : at + 1] for at in range(len(raw))))
    assert (pcm, reader.complete) == (PCM, True)


@settings(deadline=None)
@given(st.sampled_from(sorted(FILES)), st.lists(st.integers(0, 150), max_size=10))
def test_file_split_at_arbitrary_positions(name: str, cuts: list[int]) -> None:
    raw, cuts = FILES[name], sorted(cuts)
    pieces = [raw[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    pcm, reader = read(*pieces)
    assert (pcm, reader.complete) == (PCM, True)


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_incomplete(name: str) -> None:
    raw = FILES[name]
    end = raw.index(PCM) + len(PCM)
    for cut in range(end):
        pcm, reader = read(raw[:cut])
        assert PCM.startswith(pcm)
        assert not reader.complete, cut
    assert read(raw[:end])[1].complete


def test_empty_input_is_incomplete() -> None:
    pcm, reader = read(b"")
    assert (pcm, reader.states_length, reader.complete) == (b"", False, False)


def test_bytes_beyond_the_stated_size_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="more audio than its WAV header states"):
        read(FILES["plain"], b"more", LIST, b"", b"x" * 1_000)


@pytest.mark.parametrize("size", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_placeholder_size_states_no_length(size: int) -> None:
    raw = riff(fmt())[:36] + b"data" + struct.pack("<I", size)
    pcm, reader = read(raw, PCM, PCM[:3], PCM[3:])
    assert pcm == PCM + PCM
    assert not reader.states_length
    assert not reader.complete


# Rejected input


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (riff(fmt(rate=44_100), DATA), "44100"),
        (riff(fmt(rate=8_000), DATA), "8000"),
        (riff(fmt(0xFFFE, rate=44_100, extra=EXTENSION), DATA), "44100"),
        (riff(fmt(channels=2), DATA), "2"),
        (riff(fmt(bits=8), DATA), None),
        (riff(fmt(bits=24), DATA), None),
        (riff(fmt(coding=3, bits=32), DATA), None),  # float
        (riff(fmt(coding=7, bits=8), DATA), None),  # mu-law
        (riff(fmt(coding=0x55), DATA), None),  # mp3 in RIFF
        (riff(fmt(0xFFFE, extra=extension(coding=3)), DATA), "coding 3"),
        (riff(fmt(0xFFFE, bits=32, extra=extension(coding=3, valid_bits=32)), DATA), "coding 3"),
        (riff(fmt(0xFFFE, bits=24, extra=extension(valid_bits=20)), DATA), "24 bit"),
        (riff(fmt(0xFFFE, bits=32, extra=extension()), DATA), "32 bit"),
        (riff(fmt(0xFFFE, extra=extension(valid_bits=20)), DATA), "20 bit"),
        (riff(fmt(0xFFFE, extra=extension(coding=2)), DATA), "coding 2"),
        (riff(fmt(0xFFFE, extra=extension(coding=7)), DATA), "coding 7"),
        (riff(fmt(0xFFFE, extra=extension(guid="00" * 14)), DATA), "coding 65534"),
        (riff(fmt(0xFFFE, extra=EXTENSION[:-1]), DATA), "coding 65534"),
        (riff(fmt(0xFFFE, extra=b"\0\0"), DATA), "coding 65534"),
        (riff(fmt(0xFFFE), DATA), "coding 65534"),
        (riff(sized(bits=20, frame=3), DATA), "20 bit"),
        (riff(sized(bits=20, frame=2), DATA), "20 bit"),
        (riff(sized(bits=12, frame=2), DATA), "12 bit"),
        (riff(sized(bits=16, frame=3), DATA), "frames of 3 bytes"),
        (riff(sized(bits=16, frame=4), DATA), "frames of 4 bytes"),
        (riff(sized(bits=16, frame=0), DATA), "frames of 0 bytes"),
        (riff(DATA, fmt()), None),
        (riff(chunk(b"fmt ", b"\x01\0\x01\0"), DATA), None),
        (riff(chunk(b"fmt ", b""), DATA), None),
    ],
)
def test_unexpected_format_is_refused(raw: bytes, message: str | None) -> None:
    with pytest.raises(ProtocolError, match=message):
        read(raw)
    with pytest.raises(ProtocolError, match=message):
        read(*(raw[at : at + 1] for at in range(len(raw))))


@pytest.mark.parametrize(
    "raw",
    [
        b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
        b'{"error":"Unauthorized"}',
        b"\xff\xf3\xc4\xc4\0\0\0\0",
        b"ID3\x04",
        b"OggS",
        b"fLaC",
        b"RIFX\0\0\0\0WAVE",
        b"RF64\xff\xff\xff\xffWAVE",
        b"RIFF\x24\0\0\0AVI ",
        bytes.fromhex("dfffd2ffd3fff0ff"),  # the first live bytes of plain PCM
    ],
)
def test_input_that_is_not_wav_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(raw)
    with pytest.raises(ProtocolError):
        read(*(raw[at : at + 1] for at in range(len(raw))))


@pytest.mark.parametrize(
    "endless",
    [
        b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\xff\xff\xff\xff" + b"x" * 1_000,
        b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\xf0\xff\xff\x7f" + b"x" * 1_000,
        riff(fmt()) + b"junk" + struct.pack("<I", 10**9),
    ],
)
def test_oversized_chunk_before_the_data_is_refused(endless: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(endless, *[b"x" * 1_000] * 1_000)


def test_too_many_chunks_before_the_data_are_refused() -> None:
    with pytest.raises(ProtocolError):
        read(riff(fmt()), *[chunk(b"junk", b"x" * 992)] * 1_000)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([b"", b"RIFF", b"RIFF\0\0\0\0WAVE", riff(fmt()), riff(EXTENSIBLE), riff(LIST)]),
    st.lists(st.binary(max_size=60) | st.sampled_from([b"data", b"fmt \x10\0\0\0", LIST, fmt(), DATA])),
)
def test_arbitrary_bytes_give_pcm_or_a_protocol_error(start: bytes, pieces: list[bytes]) -> None:
    try:
        pcm, _ = read(start, *pieces)
    except ProtocolError as error:
        shown = str(error)
    else:
        shown = ""
        assert len(pcm) <= len(start) + sum(map(len, pieces))
    assert shown.isprintable()


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.lists(st.integers(0, 160), max_size=6))
def test_arbitrary_bytes_do_not_depend_on_chunking(tail: bytes, cuts: list[int]) -> None:
    def outcome(*pieces: bytes) -> tuple[bytes, bool, bool] | str:
        try:
            pcm, reader = read(*pieces)
        except ProtocolError:
            return "refused"
        return pcm, reader.complete, reader.states_length

    raw, cuts = riff(fmt(), LIST) + tail, sorted(cuts)
    pieces = [raw[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert outcome(*pieces) == outcome(raw)


@pytest.mark.parametrize("size", [7, 1_000])
def test_more_audio_than_the_header_states_is_an_error(size: int) -> None:
    """Concatenated files, and a header whose size is too small."""
    one = wav.header(RATE_24K, 6_000) + bytes(6_000)
    for body in (one * 4, wav.header(RATE_24K, 6_000) + bytes(24_000), one + b"Abcd" * 1_000):
        reader = wav.WavReader(RATE_24K)
        with pytest.raises(ProtocolError, match="more audio than its WAV header states"):
            for at in range(0, len(body), size):
                reader.feed(body[at : at + size])


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_chunks_after_the_data_are_skipped(size: int) -> None:
    trailer = chunk(b"LIST", b"abcde") + chunk(b"id3 ", b"xy")
    body = bytearray(wav.header(RATE_24K, len(PCM)) + PCM + trailer)
    body[4:8] = struct.pack("<I", len(body) - 8)
    reader = wav.WavReader(RATE_24K)
    pcm = b"".join(reader.feed(bytes(body[at : at + size])) for at in range(0, len(body), size))
    assert (pcm, reader.complete) == (PCM, True)


def joined(count: int, size: int = 6_000, stated: int | None = None) -> bytes:
    """`count` files of `size` bytes, each of which states its own size or `stated`."""
    return (wav.header(RATE_24K, size if stated is None else stated) + b"\x21\x43" * (size // 2)) * count


MORE_THAN_STATED = {
    "four files": joined(4),
    "two files": joined(2),
    "two files of one sample": joined(2, size=2),
    "four files of unknown length": joined(4, stated=wav.LARGEST_DATA_SIZE),
    "four files of size 0": joined(4, stated=0),
    "four files of a placeholder": joined(4, stated=2_000_000_000),
    "too small a size of data": b"RIFF" + struct.pack("<I", 24_036) + joined(1, 24_000, stated=6_000)[8:],
    "silence after the data": b"RIFF" + struct.pack("<I", 24_036) + wav.header(RATE_24K, 6_000)[8:]
    + bytes(24_000),
    "text after the data": b"RIFF" + struct.pack("<I", 24_036) + wav.header(RATE_24K, 6_000)[8:]
    + b"Abcd" * 6_000,
    "two chunks of data": riff(fmt(), DATA, DATA),
    "data after a LIST": riff(fmt(), DATA, LIST, DATA),
    "a file as a chunk": riff(fmt(), DATA, riff(fmt(), DATA)),
    "a RIFF size without end": b"RIFF" + b"\xff" * 4 + joined(1, 24_000, stated=6_000)[8:],
    "a chunk beyond the file": riff(fmt(), DATA, b"LIST" + struct.pack("<I", 4_000) + b"abc"),
    "two bytes": riff(fmt(), DATA) + b"\x21\x43",
}  # fmt: skip


@pytest.mark.parametrize("name", MORE_THAN_STATED)
@pytest.mark.parametrize("size", [1, 7, 1_000, 10**6])
def test_audio_beyond_the_stated_size_is_never_cut(name: str, size: int) -> None:
    body = MORE_THAN_STATED[name]
    with pytest.raises(ProtocolError, match="more audio than|several WAV files"):
        read(*(body[at : at + size] for at in range(0, len(body), size)))


def test_implausibly_large_size_is_a_placeholder() -> None:
    reader = wav.WavReader(RATE_24K)
    assert reader.feed(wav.header(RATE_24K, 2_000_000_000) + b"ab") == b"ab"
    assert not reader.states_length
