"""Render a result for a terminal, as Markdown, CSV or HTML. All figures come from the result."""
