"""A result as people read it: on a terminal, in Markdown, in CSV, as a page. It reckons nothing anew.

`words` puts figures into words, `table` is for a terminal, `documents` for files, `drawing` and `page` for a
browser. Each takes the object of `--json` and gives text.
"""
