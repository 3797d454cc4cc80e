"""The queue to the thread of a sink: bounded by bytes, and no trap where nothing is taken any more."""

from __future__ import annotations

import threading

from smallest_cli.audio.audio_queue import MAX_QUEUED, AudioQueue

PIECE = bytes(1024 * 1024)
COUNT = 3 * MAX_QUEUED // len(PIECE)


def test_order_is_kept_and_bytes_are_bounded() -> None:
    queue: AudioQueue[bytes | int | None] = AudioQueue(lambda: False)

    def produce() -> None:
        for number in range(COUNT):
            queue.put(PIECE)
            queue.put(number)

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    for number in range(COUNT):
        assert queue.qsize() // 2 * len(PIECE) <= MAX_QUEUED + 2 * len(PIECE)
        assert queue.get(timeout=20) == PIECE
        assert queue.get(timeout=20) == number
    producer.join(20)


def test_full_queue_does_not_wait_for_a_sink_that_has_ended() -> None:
    ended = threading.Event()
    queue: AudioQueue[bytes | int | None] = AudioQueue(ended.is_set)
    for _ in range(MAX_QUEUED // len(PIECE) + 1):
        queue.put(PIECE)
    waiting = threading.Thread(target=queue.put, args=(PIECE,), daemon=True)
    waiting.start()
    ended.set()
    waiting.join(20)
    assert not waiting.is_alive()


def test_end_is_queued_even_if_the_queue_is_full() -> None:
    queue: AudioQueue[bytes | int | None] = AudioQueue(lambda: False)
    for _ in range(MAX_QUEUED // len(PIECE) + 1):
        queue.put(PIECE)
    queue.put(None)
