"""Text-to-speech on the command line, by the Waves service."""

__version__ = "0.1.0"
