"""The wire format of the Waves API, encoded and decoded in both directions: no I/O, no clock.

Facts carry their section of waves/api.md. The client encodes requests and decodes messages, the offline
server does the reverse; they share nothing else.
"""
