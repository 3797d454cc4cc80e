"""`smallest doctor`: check the settings, the service, the key and the audio devices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import typer

from smallest_cli import __version__
from smallest_cli.cli.account import warn
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import AccountOptions
from smallest_cli.cli.progress import describe_phases
from smallest_cli.cli.tables import list_output_devices, print_result
from smallest_cli.client.api import AccountClient
from smallest_cli.client.service import open_local_service, open_service
from smallest_cli.errors import SmallestError
from smallest_cli.models import Opened, Service, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.security import printable
from smallest_cli.settings import Settings, load_settings
from smallest_cli.transports import open_transport
from smallest_cli.voices import resolve_voice

PLAYERS = {"ffplay": "-version"} | dict.fromkeys(("aplay", "sox", "mpv", "pw-play"), "--version")
PLAYER_TIMEOUT_S = 5


@dataclass(frozen=True)
class Finding:
    """One line of the report. `exit_code` is 0 where nothing is wrong or the part is optional."""

    what: str
    well: bool
    told: str
    exit_code: int = 0


class Report:
    """The findings in order. A check that raises is a finding too, and the next check runs."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, what: str, detail: object) -> None:
        """Add a finding that is in order."""
        self.findings.append(Finding(what, True, printable(detail)))

    def add_optional(self, what: str, found: str, missing: str) -> None:
        """Add a part that may be missing: `found` says what there is, else `missing` who needs it."""
        self.findings.append(Finding(what, bool(found), printable(found or missing)))

    @contextmanager
    def check(self, what: str) -> Iterator[None]:
        """Run a check; its error becomes a finding."""
        try:
            yield
        except SmallestError as error:
            self.findings.append(Finding(what, False, printable(_with_hint(error)), error.exit_code))


def _with_hint(error: SmallestError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)


@grouped
def doctor(*, account_options: AccountOptions) -> None:
    """Check your setup.

    The exit code is that of the first problem. Output devices, players and the offline voice are optional:
    speaking to a file needs none of them.
    """
    report = Report()
    report.add("version", f"smallest {__version__}, Python {sys.version.split()[0]}, {sys.platform}")
    settings = None
    with report.check("settings"):
        settings = load_settings(account_options.as_dict())
        _check_settings(report, settings)
    if settings is not None:
        _check_service(report, settings, account_options.api_key_file)
    _check_output_devices(report)
    _check_players(report)
    _check_offline_voice(report)
    print_result(
        {"findings": [asdict(each) for each in report.findings]},
        ("state", "what", "found"),
        [("ok" if each.well else "--", each.what, each.told) for each in report.findings],
        as_json=account_options.json,
    )
    if code := next((each.exit_code for each in report.findings if each.exit_code), 0):
        raise typer.Exit(code)


def _check_settings(report: Report, settings: Settings) -> None:
    with report.check("voice"):
        resolved = resolve_voice(settings.voice, settings.model, settings.api, base_url=settings.base_url)
        report.add("voice", f"{resolved.voice}  ({settings.sources.get('voice', 'default')})")
        model_source = settings.sources.get("model", "the voice's own" if settings.voice else "default")
        report.add("model", f"{resolved.model or 'not set'}  ({model_source})")
        for warning in resolved.warnings:
            report.add("warning", warning)
    for name in settings._fields:
        if name not in ("voice", "model", "sources", "warnings"):
            value, source = getattr(settings, name), settings.sources.get(name, "default")
            with report.check(name):
                if name == "base_url" and not settings.local:
                    parse_base_url(value)
                report.add(name, f"{'not set' if value is None else value}  ({source})")
    for warning in settings.warnings:
        report.add("warning", warning)


def _check_service(report: Report, settings: Settings, key_file: str | None) -> None:
    dialer = Dialer.from_settings(settings)
    with report.check("key"), open_service(settings, key_file, warn) as service:
        report.add("key", f"{service.key} from {service.key.source}")
        with report.check("connection"):
            _check_connection(report, service, dialer)
        with report.check("account"), AccountClient(service, dialer) as account:
            with report.check("key accepted"):
                account.check()
                report.add("key accepted", "yes")
            for what, fetch in (("credit", account.balance), ("concurrency limit", account.concurrency)):
                with report.check(what):
                    value = fetch()
                    report.add(what, "unknown" if value is None else value)


def _check_connection(report: Report, service: Service, dialer: Dialer) -> None:
    """Open a WebSocket without a request, which costs nothing."""
    with open_transport("ws", service, dialer) as transport:
        opened = next(iter(transport.synthesize(SpeechRequest("", ""))))
    times = describe_phases(opened.phases) if isinstance(opened, Opened) else ""
    report.add("connection", f"{service.base_url}  {times}")


def _check_output_devices(report: Report) -> None:
    names, missing = [], "missing, needed by --play only"
    try:
        names = [f"{each.name}{' (default)' if each.default else ''}" for each in list_output_devices()]
    except SmallestError as error:
        missing = f"{_with_hint(error)}; {missing}"
    report.add_optional("output devices", "; ".join(names), missing)


def _check_players(report: Report) -> None:
    """Run each player: one on PATH may still be broken."""
    found = []
    for command in PLAYERS.items():
        try:
            done = subprocess.run(command, capture_output=True, timeout=PLAYER_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            found.append(command[0])
    report.add_optional("players", ", ".join(found), "missing, needed by --player only")


def _check_offline_voice(report: Report) -> None:
    found, missing = "", ""
    try:
        with open_local_service():
            found = "present"
    except SmallestError as error:
        missing = f"{_with_hint(error)}; needed by --local only"
    report.add_optional("offline voice", found, missing)
