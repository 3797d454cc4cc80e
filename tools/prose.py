"""Documentation texts that are not in the command line: exit codes, variables, files, examples.

Exit codes are read from the tables of README, which a test compares with the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from smallest_cli.settings import Settings

SETTINGS = sorted(set(Settings._fields) - {"plain_http", "sources", "warnings"})
README = Path(__file__).parent.parent / "README.md"

ENVIRONMENT = {
    "SMALLEST_API_KEY": "API key. See also smallest login.",
    "SMALLEST_API_KEY_FILE": "File that contains the API key.",
    "SMALLEST_BASE_URL": "Service URL; may include a path prefix.",
    "SMALLEST_VOICE": "Voice id or name.",
    "SMALLEST_MODEL": "Model.",
    "SMALLEST_LOCAL": "1 = use the offline server.",
    "SMALLEST_CA_FILE": "Certificate authorities to trust.",
    "SMALLEST_SERVE_TOKEN": "The only key that smallest serve accepts.",
    "SMALLEST_CONFIG_DIR": "Folder of settings and keys.",
    "SMALLEST_CACHE_DIR": "Folder of the saved lists and of the audio cache.",
    "SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_DIR": "Certificate authorities without "
    "SMALLEST_CA_FILE: the first that is set. SSL_CERT_DIR counts beside SSL_CERT_FILE, too.",
    "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY": "Proxy; hosts and networks that are reached without it.",
    "NO_COLOR": "Disables colours.",
    "PAGER": "Pager for a long table of voices; empty = none. [default: less -FRX]",
}
FILES = {
    "~/.config/smallest/config.toml": f"Settings: {', '.join(SETTINGS)}. Refused if others can read it.",
    "~/.config/smallest/credentials.json": "Keys saved by smallest login.",
    "~/.smallestai/credentials.json": "The vendor's credentials, read only.",
    "~/.cache/smallest/voices.json": "The service's list of voices, saved for a day.",
    "~/.cache/smallest/speech": "The audio cache, private to you; smallest cache clear empties it.",
    "~/.cache/smallest/voices.tsv, models.tsv, languages.tsv, devices.tsv": "Lists for shell completion.",
    "FILE.part": "A file that is being written or is incomplete; renamed to FILE when complete.",
}
EXAMPLES = {
    'smallest speak "Welcome to the show." -o welcome.wav': "Save to a file, in the format of its extension.",
    'smallest speak "Dinner is ready." --play -o dinner.flac': "Play, and save to a file.",
    'smallest speak --local "No network needed."': "Offline, without a key.",
    'smallest speak "Hello." -o - | aplay -q -t raw -f S16_LE -r 24000': "Write to a pipe.",
    'llm "tell me a story" | smallest stream --play': "Speak text as it arrives.",
}
RETRY = "6, 7 and 8 may be retried; 9 left partial audio; everything else needs manual action."


def exit_codes() -> list[tuple[str, str]]:
    """Return exit codes with their meaning from the tables of README, in ascending order."""
    rows = re.findall(r"^\| ([\d ]+) \| ([^|]+?) \|", README.read_text("utf-8"), re.MULTILINE)
    return sorted(rows, key=lambda row: int(row[0].split()[0]))
