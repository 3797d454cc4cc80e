"""Forms in which a service may echo a key, and what of it can be read in an output."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from urllib.parse import quote

KEY = "sk_Wq7/Zx3+Tn5=Lp9_Vb2Hd8Kf4Jm6"
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "parts": lambda key: f"{key[:11]} and {key[11:20]}, {key[20:]}",
    "quoted": lambda key: quote(key, safe=""),
    "all quoted": lambda key: "".join(f"%{ord(each):02X}" for each in key),
    "escaped": lambda key: "".join(f"\\u{ord(each):04x}" for each in key),
    "HTML": lambda key: "".join(f"&#{ord(each)};" for each in key),
    "zero width": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "controls": lambda key: "\x01\u202e".join(key[at : at + 2] for at in range(0, len(key), 2)),
    "hex": lambda key: key.encode().hex(),
    "full width": lambda key: "".join(chr(ord(each) + 0xFEE0) for each in key),
    **{
        f"base64 after {before!r}": lambda key, before=before: base64.b64encode(
            f"{before}{key}".encode()
        ).decode()
        for before in ("", ":", "me")
    },
}


def leaked(shown: str) -> str:
    """Return what is readable of the key in an output or a file."""
    shown = re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), shown.replace("\\\\", "\\"))
    shown = re.sub("[\u200b\u00ad\x01\u202e]", "", re.sub(r"\\u([0-9a-f]{4})|\\x(ad|01)", "", shown))
    forms = {
        KEY,
        *(
            form(KEY)
            for name, form in FORMS.items()
            if name not in ("zero width", "soft hyphens", "controls")
        ),
    }
    for form in forms:
        for at in range(3, len(form) - 10):
            if form[at : at + 8].lower() in shown.lower() and not form[at : at + 8].startswith("\\u00"):
                return form[at : at + 8]
    return ""
