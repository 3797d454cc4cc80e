"""What the command line cannot tell of itself: exit codes, variables, files, examples.

The exit codes are those of README's tables, which a test holds to the code.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from smallest_cli.settings import Settings

SETTINGS = sorted({each.name for each in fields(Settings)} - {"plain_http", "sources", "warnings"})
README = Path(__file__).parent.parent / "README.md"

ENVIRONMENT = {
    "SMALLEST_API_KEY": "The key. See also smallest login.",
    "SMALLEST_API_KEY_FILE": "A file that holds the key.",
    "SMALLEST_BASE_URL": "Where the service is; may hold a path prefix.",
    "SMALLEST_VOICE": "A voice's id or name.",
    "SMALLEST_MODEL": "The model.",
    "SMALLEST_LOCAL": "1 to speak through the offline server.",
    "SMALLEST_CA_FILE": "Certificates of the authorities to trust.",
    "SMALLEST_SERVE_TOKEN": "The only key that smallest serve accepts.",
    "SMALLEST_CONFIG_DIR": "Where settings and keys are kept, instead of the usual place.",
    "SMALLEST_CACHE_DIR": "Where lists and what --cache keeps are, instead of the usual place.",
    "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY": "The proxy, and who is reached without.",
    "NO_COLOR": "No colours.",
    "PAGER": "What shows a long table of voices; less -FRX without it, nothing where it is empty.",
}
FILES = {
    "~/.config/smallest/config.toml": f"Settings: {', '.join(SETTINGS)}. Refused where others can read it.",
    "~/.config/smallest/credentials.json": "The keys that smallest login kept.",
    "~/.smallestai/credentials.json": "The vendor's own, which is only read.",
    "~/.cache/smallest/voices.json": "What the service listed, kept for a day.",
    "~/.cache/smallest/speech": "What --cache keeps, readable by you alone; smallest cache clear empties it.",
    "~/.cache/smallest/voices.tsv, models.tsv, languages.tsv, devices.tsv": "What a shell completes.",
    "FILE.part": "A file that is being written, or was not finished; whole, it takes the name FILE.",
}
EXAMPLES = {
    'smallest speak "Welcome to the show." -o welcome.wav': "Into a file, its format that of its name.",
    'smallest speak "Dinner is ready." --play -o dinner.flac': "To the loudspeaker, and into a file.",
    'smallest speak --local "Nobody is asked."': "Offline, without a key.",
    'smallest speak "Hello." -o - | aplay -q -t raw -f S16_LE -r 24000': "Into a pipe.",
    'llm "tell me a story" | smallest stream --play': "A text while it is still being written.",
}
RETRY = "6, 7 and 8 may be tried again by a script; 9 left partial audio; the rest needs a person."


def exit_codes() -> list[tuple[str, str]]:
    """The codes that mean one thing, and what: the tables of README, in order."""
    rows = re.findall(r"^\| ([\d ]+) \| ([^|]+?) \|", README.read_text("utf-8"), re.MULTILINE)
    return sorted(rows, key=lambda row: int(row[0].split()[0]))
