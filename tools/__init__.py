"""Files generated from the command line: completions, man pages, docs/cli.md, help texts, pictures."""
