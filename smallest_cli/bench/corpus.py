"""Built-in texts, in English: every voice in the catalogue supports it."""

from __future__ import annotations

SHORT = (
    "Thanks for calling. How can I help you today?",
    "Your table for two is booked for eight o'clock.",
    "One moment, please. I am looking that up.",
    "The train leaves from platform nine in ten minutes.",
    "I am sorry, I did not catch that.",
    "Your order has been sent and arrives on Friday.",
    "It will be sunny, with a light wind from the west.",
    "Would you like to hear that again?",
)
LONG = (
    "Before we begin, a few words on how this works. I will ask you three questions, one after the other, "
    "and you can answer each of them in your own time. If you want to go back, just say so.",
    "The museum opens at nine in the morning and closes at six in the evening. On Thursdays it stays open "
    "until ten, and on the first Sunday of every month the entrance is free for everyone.",
    "Your account was charged twice for the same order. I have cancelled the second payment, and the money "
    "will be back on your card within five working days. You do not need to do anything else.",
    "To reset the device, hold the round button for ten seconds, until the light begins to blink. Let go, "
    "wait for the sound, and then press the same button once more to confirm what you have done.",
)
MIXED = tuple(text for pair in zip(SHORT[:4], LONG, strict=True) for text in pair)
CORPORA = {"short": SHORT, "mixed": MIXED, "long": LONG}
