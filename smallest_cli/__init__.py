"""Text-to-speech on the command line, with Smallest AI's Waves service."""

__version__ = "0.1.0"
