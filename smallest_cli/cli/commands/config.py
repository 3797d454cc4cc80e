"""`smallest config`: show and change config.toml."""

import shutil
from contextlib import suppress
from typing import Annotated

import typer

from smallest_cli import settings as config
from smallest_cli.cli.console import Console
from smallest_cli.cli.help import HelpTyper
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import JsonOption
from smallest_cli.cli.tables import print_result
from smallest_cli.errors import OutputError, SettingsError, UsageError
from smallest_cli.network.origin import parse_base_url
from smallest_cli.security import printable, translate_os_errors
from smallest_cli.voices import UnknownVoice, check_language, resolve_voice

configuration = HelpTyper(help="Show and change settings; config path | list | get | set | unset.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a setting, see config list.")]


@configuration.command("path")
def path() -> None:
    """Print the path of config.toml, which need not exist."""
    print(printable(config.config_path()))


@configuration.command("list")
def list_settings(as_json: JsonOption = False) -> None:
    """List all settings with their values and sources.

    A flag overrides a variable, a variable overrides config.toml.
    """
    resolved = config.load_settings({})
    rows = [
        {"name": name, "value": getattr(resolved, name), "source": resolved.sources.get(name, "default")}
        for name in config.setting_names()
    ]
    print_result(
        {"settings": rows},
        ("name", "value", "source"),
        [
            (str(row["name"]), _shown(row["value"]) or _unset(str(row["name"]), resolved), str(row["source"]))
            for row in rows
        ],
        as_json=as_json,
    )


@configuration.command("get")
@grouped
def get(name: Name) -> None:
    """Print the value of a setting; nothing if it is not set and has no default."""
    config.check_name(name)
    value = getattr(config.load_settings({}), name)
    if value is not None:
        print(printable(_shown(value)))


@configuration.command("set")
@grouped
def set_value(
    name: Name, value: Annotated[str, typer.Argument(metavar="VALUE", help="The new value.")]
) -> None:
    """Change a setting in config.toml. Comments and other settings stay as they are."""
    config.check_name(name)
    parsed = config.parse_setting(name, value)
    if name == "base_url":
        parse_base_url(value)
    _edit(name, parsed)
    _warn_of_effect(name, value)


def _warn_of_effect(name: str, value: str) -> None:
    """Warn of a value that is saved and will be refused, or has no effect."""
    console = Console()
    with suppress(SettingsError):  # another setting is invalid: the next command reports it
        source = config.load_settings({}).sources.get(name, "")
        if source and source != str(config.config_path()):
            console.warn(f"saved, but {source} overrides it")
    if name == "voice":
        try:
            resolve_voice(value, None)
        except UnknownVoice as error:
            console.warn(f"saved, but {error}")
    if name == "language":
        try:
            check_language(value)
        except UsageError as error:
            console.warn(f"saved, but {error}")
    if name == "player" and not shutil.which(value.split()[0]):
        console.warn(f"saved, but {printable(value.split()[0], 40)} is not installed")


@configuration.command("unset")
@grouped
def unset(name: Name) -> None:
    """Remove a setting from config.toml."""
    _edit(name, None)


def _unset(name: str, resolved: config.Settings) -> str:
    """Return what applies where a setting has no value and no fixed default."""
    url = resolved.base_url
    chosen = resolve_voice(resolved.voice, resolved.model, resolved.api, base_url=url, force=True)
    unset = {
        "voice": f"(catalogue default: {chosen.voice})", "model": f"(of the voice: {chosen.model or 'none'})",
        "language": "(not sent)", "ca_file": "(of the system)", "completion_wait": "(of the service)",
        "player": "(PortAudio)",
    }  # fmt: skip
    return unset[name]


def _shown(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _edit(name: str, value: str | float | bool | None) -> None:
    """Write config.toml with one setting changed, or removed for None.

    Raises OutputError, SettingsError, UsageError.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from smallest_cli.files import atomic_write, locked_folder, make_folder_of

    path = config.config_path()
    make_folder_of(path, 0o700)
    with translate_os_errors(OutputError, "write", path), locked_folder(path.parent):
        text = config.read_config(path)
        try:
            document = tomlkit.parse(text or "")
        except TOMLKitError:
            raise SettingsError(f"{printable(path)} is not valid TOML") from None
        if value is None and name not in document:
            raise UsageError(f"{printable(name, 40)} is not set in {printable(path)}")
        if value is None:
            del document[name]
        else:
            document[name] = value
        data = f"{tomlkit.dumps(document).rstrip()}\n".encode()
        atomic_write(path.resolve(), data, mode=0o600, durable=True)  # a link keeps pointing at its file
