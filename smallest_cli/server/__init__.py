"""The offline server: a Waves-compatible service with an eSpeak NG voice, run as a separate process."""
