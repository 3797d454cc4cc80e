"""The offline server: the other side of the same wire, with a real voice. A program of its own."""
