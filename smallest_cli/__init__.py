"""Text to sound in a terminal, through the Waves speech service."""

__version__ = "0.1.0"
