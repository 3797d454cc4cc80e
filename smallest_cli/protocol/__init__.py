"""The wire format, both directions. No I/O, no clock.

Every fact is from waves/api.md; the section stands at the function. The client encodes requests and
decodes messages, the offline server does the reverse; they meet nowhere else.
"""
