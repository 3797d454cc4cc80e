"""`smallest doctor`: check the settings, the service, the key and the audio devices."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from smallest_cli import __version__
from smallest_cli.audio.player import working_players
from smallest_cli.cli.console import Console, describe_phases
from smallest_cli.cli.option_groups import grouped, option
from smallest_cli.cli.options import AccountOptions
from smallest_cli.cli.tables import list_output_devices, print_result
from smallest_cli.client.api import AccountClient
from smallest_cli.client.service import open_local_service, open_service
from smallest_cli.errors import DeviceError, SmallestError
from smallest_cli.models import Opened, SpeechRequest, Value
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.network.proxy import find_proxy
from smallest_cli.security import printable
from smallest_cli.settings import Settings, load_settings
from smallest_cli.transports import open_transport
from smallest_cli.voices import check_language, resolve_voice

DEFAULT = "default"
"""The source of a setting that nothing changes."""


class DoctorOptions(AccountOptions, group="Output"):
    """What is reported."""

    verbose: bool = option("--verbose", "Show settings that are at their default, too.", False)


class Finding(Value):
    """One line of the report. `exit_code` is 0 if the check passed or is optional.

    `source` is where a value is from, `hint` what mends a problem.
    """

    name: str
    ok: bool
    value: str
    source: str = ""
    hint: str = ""
    exit_code: int = 0

    @property
    def detail(self) -> str:
        """The value with its source and hint, in one line."""
        source = f"  ({self.source})" if self.source else ""
        return f"{self.value}{source}{f' ({self.hint})' if self.hint else ''}"

    def as_fields(self) -> dict[str, object]:
        """Return the object of --json."""
        names = ("name", "ok", "value", "source", "hint")
        return {name: getattr(self, name) for name in names}


class Report:
    """The findings in order. An exception in a check becomes a finding, and the next check runs."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, name: str, value: object, source: str = "") -> None:
        """Add the finding of a passed check."""
        self.findings.append(Finding(name, True, printable(value), printable(source)))

    @contextmanager
    def check(self, name: str, *, only_for: str = "") -> Iterator[None]:
        """Run a check; its error becomes a finding, with exit code 0 if only option `only_for` needs it."""
        try:
            yield
        except SmallestError as error:
            value = f"{error}, needed by {only_for} only" if only_for else str(error)
            code = 0 if only_for else error.exit_code
            self.findings.append(
                Finding(name, False, printable(value), "", printable(error.hint), exit_code=code)
            )


@grouped
def doctor(*, account_options: DoctorOptions) -> None:
    """Check your setup.

    Problems come first. Settings at their default are shown with --verbose only. The exit code is that of the
    first problem. Output devices, players and the offline voice are optional: speaking to a file needs none
    of them.
    """
    report = Report()
    report.add("version", f"smallest {__version__}, Python {sys.version.split()[0]}, {sys.platform}")
    settings = None
    with report.check("settings"):
        settings = load_settings(account_options.as_dict())
        _check_settings(report, settings)
    if settings is not None:
        _check_service(report, settings, account_options.api_key_file)
    optional_parts = (
        ("output devices", _find_output_devices, "--play"),
        ("players", _find_players, "--player"),
        ("offline voice", _find_offline_voice, "--local"),
    )
    for name, find, needed_by in optional_parts:
        with report.check(name, only_for=needed_by):
            report.add(name, find())
    first = sorted(report.findings, key=lambda each: (each.ok, not each.exit_code))
    shown = [each for each in first if account_options.verbose or each.source != DEFAULT]
    print_result(
        {"findings": [each.as_fields() for each in first]},
        ("state", "check", "detail"),
        [("ok" if each.ok else "--", each.name, each.detail) for each in shown],
        as_json=account_options.json,
    )
    if code := next((each.exit_code for each in report.findings if each.exit_code), 0):
        raise typer.Exit(code)


def _check_settings(report: Report, settings: Settings) -> None:
    with report.check("voice"):
        resolved = resolve_voice(settings.voice, settings.model, settings.api, base_url=settings.base_url)
        report.add("voice", resolved.voice, settings.sources.get("voice", "the default"))
        model_source = settings.sources.get("model", "the voice's own")
        report.add("model", resolved.model or "not set", model_source)
        for warning in resolved.warnings:
            report.add("warning", warning)
    for name in settings._fields:
        if name not in ("voice", "model", "sources", "warnings"):
            value, source = getattr(settings, name), settings.sources.get(name, DEFAULT)
            with report.check(name):
                if name == "base_url" and not settings.local:
                    proxy = find_proxy(parse_base_url(value), os.environ)
                    if proxy:
                        report.add("proxy", f"{proxy.host}:{proxy.port}", proxy.variable)
                if name == "language":
                    check_language(value)
                report.add(name, "not set" if value is None else value, source)
    for warning in settings.warnings:
        report.add("warning", warning)


def _check_service(report: Report, settings: Settings, key_file: str | None) -> None:
    dialer = Dialer.from_settings(settings)
    with report.check("key"), open_service(settings, key_file, Console().warn) as service:
        report.add("key", f"{service.key} from {service.key.source}")
        with report.check("connection"), open_transport("ws", service, dialer) as transport:
            # Open a WebSocket without a request: nothing is billed.
            opened = next(iter(transport.synthesize(SpeechRequest("", ""))))
            times = describe_phases(opened.phases) if isinstance(opened, Opened) else ""
            report.add("connection", f"{service.base_url}  {times}")
        account = AccountClient(service, dialer)
        with report.check("key accepted"):
            account.check()
            report.add("key accepted", "yes")
        for name, fetch in (("credit", account.balance), ("concurrency limit", account.concurrency)):
            with report.check(name):
                value = fetch()
                report.add(name, "unknown" if value is None else value)


def _find_output_devices() -> str:
    names = [f"{each.name}{' (default)' if each.default else ''}" for each in list_output_devices()]
    if not names:
        raise DeviceError("missing")
    return "; ".join(names)


def _find_players() -> str:
    found = list(working_players())
    if not found:
        raise DeviceError("missing")
    return ", ".join(found)


def _find_offline_voice() -> str:
    with open_local_service():
        return "present"
