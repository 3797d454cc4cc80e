"""What is made from the command line itself: completions, man pages and docs/cli.md."""
