"""Render a result for a terminal, as Markdown, CSV or HTML. Nothing is computed here that a result lacks."""
