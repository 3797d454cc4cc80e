"""`smallest doctor`: what works here, and what does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Annotated

import typer

from smallest_cli import __version__
from smallest_cli.cli.console import Console, print_json
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.cli.tables import list_loudspeakers, print_list
from smallest_cli.client.api import AccountClient
from smallest_cli.client.service import open_service
from smallest_cli.errors import SmallestError
from smallest_cli.models import Opened, Service, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.security import printable
from smallest_cli.settings import Settings, load_settings
from smallest_cli.transports import open_transport
from smallest_cli.voices import resolve_voice

PLAYERS = {"ffplay": "-version"} | dict.fromkeys(("aplay", "sox", "mpv", "pw-play"), "--version")
PLAYER_PATIENCE_S = 5


@dataclass(frozen=True)
class Finding:
    """One line of the report. `exit_code` is 0 where all is well or nothing is owed."""

    what: str
    well: bool
    told: str
    exit_code: int = 0


class Examination:
    """Looks at one thing after the other; what raises is a finding, and the next is looked at."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def tell(self, what: str, told: object) -> None:
        """Something that is as it is."""
        self.findings.append(Finding(what, True, printable(told)))

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """A part that may fail."""
        try:
            yield
        except SmallestError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.findings.append(Finding(what, False, printable(f"{error}{hint}"), error.exit_code))


@grouped
def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    where: ServiceOptions,
) -> None:
    """Say what works here and what does not.

    The exit code is that of the first thing that is wrong. Loudspeakers, players and the offline voice may be
    missing: files need none of them.
    """
    examination = Examination()
    examination.tell("version", f"smallest {__version__}, Python {sys.version.split()[0]}, {sys.platform}")
    settings = None
    with examination.part("settings"):
        settings = load_settings(where.as_dict())
        _look_at_settings(examination, settings)
    if settings is not None:
        _look_at_service(examination, settings, where)
    for look in (_look_at_loudspeakers, _look_at_players, _look_at_voice):
        look(examination)
    _print(examination.findings, as_json=as_json)
    if wrong := next((each.exit_code for each in examination.findings if each.exit_code), 0):
        raise typer.Exit(wrong)


def _look_at_settings(examination: Examination, settings: Settings) -> None:
    with examination.part("voice"):
        chosen = resolve_voice(settings.voice, settings.model, settings.api, base_url=settings.base_url)
        examination.tell("voice", f"{chosen.voice}  ({settings.sources.get('voice', 'default')})")
        model_from = settings.sources.get("model", "the voice's own" if settings.voice else "default")
        examination.tell("model", f"{chosen.model or 'not set'}  ({model_from})")
        for warning in chosen.warnings:
            examination.tell("warning", warning)
    for each in fields(settings):
        if each.name not in ("voice", "model", "sources", "warnings"):
            value = getattr(settings, each.name)
            source = settings.sources.get(each.name, "default")
            with examination.part(each.name):
                if each.name == "base_url" and not settings.local:
                    parse_base_url(value)
                examination.tell(each.name, f"{'not set' if value is None else value}  ({source})")
    for warning in settings.warnings:
        examination.tell("warning", warning)


def _look_at_service(examination: Examination, settings: Settings, where: ServiceOptions) -> None:
    dialer = Dialer.from_settings(settings)
    warn: Callable[[str], None] = Console(quiet=False, verbose=False).warn
    with examination.part("key"), open_service(settings, where.api_key_file, warn) as service:
        examination.tell("key", f"{service.key} from {service.key.source}")
        with examination.part("connection"):
            _look_at_connection(examination, service, dialer)
        with examination.part("account"), AccountClient(service, dialer) as account:
            with examination.part("key accepted"):
                account.check()
                examination.tell("key accepted", "yes")
            for what, ask in (("credit", account.balance), ("requests at a time", account.concurrency)):
                with examination.part(what):
                    found = ask()
                    examination.tell(what, "not told" if found is None else found)


def _look_at_connection(examination: Examination, service: Service, dialer: Dialer) -> None:
    with open_transport("ws", service, dialer) as transport:
        events = transport.synthesize(SpeechRequest("", ""))
        opened = next(iter(events))  # which comes before anything is asked for
    phases = asdict(opened.phases) if isinstance(opened, Opened) else {}
    times = "  ".join(f"{name} {ns / 1e6:.1f} ms" for name, ns in phases.items())
    examination.tell("connection", f"{service.base_url}  {times}")


def _look_at_loudspeakers(examination: Examination) -> None:
    missing = "missing, only --play needs one"
    try:
        devices = [f"{each.name}{' (default)' if each.default else ''}" for each in list_loudspeakers()]
    except SmallestError as error:  # a file needs none, so this alone is nothing wrong
        devices, missing = [], f"{error} ({error.hint}); {missing}"
    examination.findings.append(
        Finding("loudspeakers", bool(devices), printable("; ".join(devices) or missing))
    )


def _look_at_players(examination: Examination) -> None:
    """Players by running them: to be on PATH is not to work."""
    found = []
    for command in PLAYERS.items():
        try:
            done = subprocess.run(command, capture_output=True, timeout=PLAYER_PATIENCE_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            found.append(command[0])
    examination.findings.append(
        Finding("players", bool(found), ", ".join(found) or "missing, only --player needs one")
    )


def _look_at_voice(examination: Examination) -> None:
    from smallest_cli.client.service import open_local_service

    try:
        with open_local_service():
            examination.tell("offline voice", "present")
    except SmallestError as error:
        examination.findings.append(
            Finding("offline voice", False, printable(f"{error} ({error.hint}); only --local needs it"))
        )


def _print(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        print_json({"findings": [asdict(each) for each in findings]})
    else:
        rows = [("ok" if each.well else "--", each.what, each.told) for each in findings]
        print_list(("state", "what", "found"), rows)
