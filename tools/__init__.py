"""What is made from the command line itself: completions, man pages, docs/cli.md, pictures."""
