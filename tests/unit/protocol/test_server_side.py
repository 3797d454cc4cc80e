"""Encoding on the server's side, and round trips of the codec."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.errors import (
    ProtocolError,
    RemoteError,
    SmallestError,
)
from smallest_cli.models import (
    AudioChunk,
    AudioFormat,
    Buffering,
    Completed,
    SpeechRequest,
    Voice,
    WordTiming,
)
from smallest_cli.protocol.json import decode_object
from smallest_cli.protocol.messages import decode_events, decode_message, encode_error_message, encode_message
from smallest_cli.protocol.requests import decode_buffering, decode_request, encode_request, is_keep_alive
from smallest_cli.protocol.resources import encode_voices
from smallest_cli.protocol.sse import encode_sse
from tests.support.published import OLD_TASK, OLDER, PCM, SSE, SSE_RAW, TASK, VOICES, WS, fuzz, stream

OWN_IDS = SpeechRequest("Hi.", "meher", session_id="my-session-123", request_id="my-request-456")
NO_IDS = SpeechRequest("Hi.", "meher")


@pytest.mark.parametrize(
    ("name", "event", "request_"),
    [
        ("chunk", AudioChunk(PCM, TASK), NO_IDS),
        ("chunk_with_ids", AudioChunk(PCM, TASK), OWN_IDS),
        ("word_timestamp", WordTiming("$100", 1.12, 1.92, 5, TASK), NO_IDS),
        ("word_timestamp_with_ids", WordTiming("$100", 1.12, 1.92, 2, TASK), OWN_IDS),
        ("complete", Completed(TASK), NO_IDS),
        ("complete_with_ids", Completed(TASK), OWN_IDS),
    ],
)
def test_event_encodes_as_published(
    name: str, event: AudioChunk | WordTiming | Completed, request_: SpeechRequest
) -> None:
    """In the observed key order (3c)."""
    message = encode_message(event, "ws_550e8400-e29b", request_)
    assert json.dumps(json.loads(message)) == json.dumps(WS[name]["frame"])


def test_older_message_forms() -> None:
    v2 = OLDER["lightning_v2_ws"]
    assert json.loads(encode_message(AudioChunk(PCM, "req_abc123"), None, NO_IDS)) == v2["chunk"]
    assert json.loads(encode_message(Completed("req_abc123"), None, NO_IDS)) == v2["complete"]
    older = encode_message(Completed(OLD_TASK), "ws_1", OWN_IDS, older=True)
    assert json.loads(older) == v2["complete_old"] == WS["complete_old"]["frame"]


def test_error_message_forms_encode_as_published() -> None:
    idle = WS["error_idle"]["frame"]
    assert json.loads(encode_error_message(idle["message"])) == idle
    assert json.loads(encode_error_message("failure", form="nested")) == WS["error_nested"]["frame"]
    mixed = WS["continuation_mixed_error"]["receive"]
    assert json.loads(encode_error_message(mixed["message"], session_id=mixed["session_id"])) == mixed
    for form in ("message", "list"):
        guess = WS["error_validation_guess"]["frame"]
        made = encode_error_message(
            guess["message"],
            session_id=guess["session_id"],
            issues=guess["errors"],
            form=form,
        )
        assert json.loads(made) == guess


def test_live_sse_stream_encodes_byte_for_byte() -> None:
    events: list[AudioChunk | Completed] = [AudioChunk(PCM), AudioChunk(PCM), Completed()]
    assert b"".join(map(encode_sse, events)) == SSE_RAW


def sse_parts(raw: bytes) -> tuple[str | None, dict[str, Any]]:
    assert raw.endswith(b"\n\n")
    lines = dict(line.split(": ", 1) for line in raw.decode().strip().split("\n"))
    assert set(lines) <= {"event", "data"}
    return lines.get("event"), json.loads(lines["data"])


def test_older_and_seed_sse_shapes() -> None:
    chunk, end = AudioChunk(PCM), Completed()
    older = SSE["older_chunk_data"]
    assert sse_parts(encode_sse(chunk, "older")) == (older["event"], older["data"])
    assert sse_parts(encode_sse(end, "older")) == (None, SSE["pre_august_end_data"]["data"])
    assert sse_parts(encode_sse(chunk, "seed")) == (None, SSE["seed_wrong_chunk"]["data"])
    assert sse_parts(encode_sse(end, "seed")) == (None, SSE["seed_wrong_end"]["data"])


def test_voices_encode_as_published() -> None:
    voices = [
        Voice(
            id=name.lower(),
            name=name,
            model="lightning_v3.1",
            gender=gender,
            accent=accent,
            languages=languages,
            age="young",
            use_cases=("conversational",),
        )
        for name, gender, accent, languages in [
            ("Avery", "female", "american", ("english",)),
            ("Liam", "male", "british", ("english",)),
            ("Devansh", "male", "indian", ("hindi", "english")),
        ]
    ]
    assert json.loads(encode_voices(voices)) == VOICES["get_voices_ok"]["body"]


def test_unknown_voice_properties_are_omitted() -> None:
    (listed,) = json.loads(encode_voices([Voice("kartik", "Kartik", "lightning_v3.1")]))["voices"]
    assert not {"gender", "accent", "age"} & set(listed["tags"])


# Round trips

ids = st.none() | st.from_regex(r"[a-zA-Z0-9_\-.]{1,128}", fullmatch=True)
amounts = st.none() | st.floats(0, 1)
requests = st.builds(
    SpeechRequest,
    text=st.text(),
    voice=st.text(),
    model=st.none() | st.text(),
    language=st.none() | st.text(),
    speed=st.floats(0.5, 2.0),
    format=st.sampled_from([AudioFormat(rate) for rate in (8_000, 16_000, 24_000, 44_100)]),
    encoding=st.sampled_from(["pcm", "mp3", "wav", "ulaw", "alaw"]),
    number_language=st.none() | st.text(),
    math_notation=st.booleans(),
    speaker=st.none(),
    dictionaries=st.lists(st.text(), max_size=3).map(tuple),
    word_timings=st.booleans(),
    completion_wait_ms=st.none() | st.integers(0, 10_000),
    consistency=amounts,
    similarity=amounts,
    enhancement=st.none() | st.integers(0, 2),
    session_id=ids,
    request_id=ids,
)
contexts = st.from_regex(r"[a-zA-Z0-9_\-.]{1,128}", fullmatch=True)


def buffering(**fields: Any) -> Buffering:
    """Absent fields have their defaults; `builds` on the class would generate them too."""
    return Buffering(**fields)


# Without `more` or `flush`, and without a context, a message is a plain request.
bufferings = st.one_of(
    st.none(),
    st.builds(
        buffering, more=st.booleans(), flush=st.booleans(), max_flush_ms=st.none() | st.integers(0, 1_000)
    ).filter(lambda b: b.more or b.flush),
    st.builds(
        buffering, context=contexts, more=st.booleans(), max_delay_ms=st.none() | st.integers(0, 5_000)
    ),
    st.builds(buffering, context=contexts, close=st.just(True)),
    st.builds(buffering, context=contexts, cancel=st.just(True)),
)
words_in = st.text(st.characters())
events_ = st.one_of(
    st.builds(lambda pcm, id: AudioChunk(pcm, id), st.binary(), ids),
    st.builds(
        WordTiming,
        word=words_in,
        start=st.floats(0, 1e6),
        end=st.floats(0, 1e6),
        number=st.integers(0, 10**6),
        request_id=ids,
    ),
    st.builds(Completed, request_id=ids),
)


@fuzz
@given(requests)
def test_request_round_trip(request_: SpeechRequest) -> None:
    fields = decode_object(encode_request(request_))
    assert decode_request(fields) == request_
    assert decode_buffering(fields) is None
    assert not is_keep_alive(fields)


@fuzz
@given(requests, bufferings)
def test_buffering_round_trip(request_: SpeechRequest, buffering: Buffering | None) -> None:
    assert decode_buffering(decode_object(encode_request(request_, buffering))) == buffering


@fuzz
@given(events_, ids, ids, ids, st.booleans())
def test_event_round_trip(
    event: AudioChunk | WordTiming | Completed,
    session: str | None,
    own_session: str | None,
    own: str | None,
    older: bool,
) -> None:
    request = SpeechRequest("Hi.", "meher", session_id=own_session, request_id=own)
    message = encode_message(event, session, request, older=older)
    decoded = decode_message(message)
    assert decoded.events == (event,)
    assert decoded.own_id == (None if older and isinstance(event, Completed) else own or None)


@fuzz
@given(
    st.lists(st.binary().map(AudioChunk) | st.just(Completed())),
    st.sampled_from(["live", "older", "seed"]),
)
def test_sse_round_trip(events: list[AudioChunk | Completed], shape: Any) -> None:
    assert stream(b"".join(encode_sse(event, shape) for event in events)) == events


@fuzz
@given(st.text(min_size=1).filter(str.strip), st.sampled_from(["message", "nested", "list"]))
def test_error_message_round_trip(text: str, form: Any) -> None:
    with pytest.raises(RemoteError) as caught:
        decode_events(encode_error_message(text, form=form))
    assert not isinstance(caught.value, ProtocolError)


SURROGATES: list[tuple[str, Callable[[str], bytes | str]]] = [
    ("a request", lambda text: encode_request(SpeechRequest(text, "meher"))),
    ("a word", lambda text: encode_message(WordTiming(text, 0, 1), "ws_1", NO_IDS)),
    ("an error", encode_error_message),
]


@pytest.mark.parametrize("encode", [made for _, made in SURROGATES], ids=[name for name, _ in SURROGATES])
@pytest.mark.parametrize("text", ["\ud800", "caf\udce9", "\U0001f600\udfff"])
def test_lone_surrogate_is_encoded_or_rejected(encode: Callable[[str], bytes | str], text: str) -> None:
    """From an argument that is not UTF-8, or a client's `\\ud800`."""
    try:
        message = encode(text)
    except SmallestError:
        return
    decode_object(message if isinstance(message, bytes) else message.encode())


@fuzz
@given(st.lists(events_, max_size=6))
def test_messages_are_encoded_independently(events: list[AudioChunk | WordTiming | Completed]) -> None:
    made = [encode_message(event, "ws_1", NO_IDS) for event in events]
    assert [event for message in made for event in decode_events(message)] == events
