"""Who speaks: a voice and a model that belong together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from smallest_cli import voices as catalogue
from smallest_cli.errors import UsageError
from smallest_cli.models import Api, Voice
from smallest_cli.security import safe

DEFAULT_VOICE, DEFAULT_MODEL = "meher", "lightning_v3.1_pro"
OLDER_VOICE = "magnus"


class Cast(NamedTuple):
    """A voice's id, its model (None where the API has none), and what a person should know of it."""

    voice: str
    model: str | None
    warnings: tuple[str, ...] = ()


def cast(
    voice: str | None, model: str | None, api: Api = "unified", *, base_url: str = "", force: bool = False
) -> Cast:
    """Settle who speaks, by what the service at `base_url` last listed.

    Raises UsageError where voice and model are of different pools: the service answers such a pair with
    wrong audio and no error (waves/api.md, 2a), so it is refused here, unless `force` asks for it.
    """
    if api != "unified":
        return Cast(voice or OLDER_VOICE, model if api == "v3.1" else None)
    if model is not None:
        model = catalogue.spelled(model)
    if voice is None:
        return _default(model)
    voices = catalogue.known(base_url)
    known = catalogue.find(voice, voices)
    if known is None:
        return _unknown(voice, model, voices)
    if model is None or model == known.model:
        return Cast(known.id, known.model)
    if force:
        return Cast(known.id, model)
    if model in catalogue.MODELS:
        raise UsageError(
            f"{known.id} is a voice of {known.model}, not of {model}",
            hint=f"use --model {known.model} or another voice, or send it anyway with --force",
        )
    return Cast(known.id, model, (f"the model {safe(model, 60)} is not known here",))


def _default(model: str | None) -> Cast:
    if model == "lightning_v3.1":
        return Cast(OLDER_VOICE, model)
    if model in (None, DEFAULT_MODEL):
        return Cast(DEFAULT_VOICE, DEFAULT_MODEL)
    return Cast(DEFAULT_VOICE, model, (f"the model {safe(model, 60)} is not known here",))


def _unknown(voice: str, model: str | None, voices: Iterable[Voice]) -> Cast:
    """A clone, a new voice or a slip of the pen: sent as it is, for only the service knows."""
    if model is not None:
        return Cast(voice, model)
    near = ", ".join(catalogue.nearest(voice, voices=voices))
    names = f"; near it are {near}" if near else ""
    warning = f"the catalogue has no voice {safe(voice, 60)}{names}; it is tried on {DEFAULT_MODEL}"
    return Cast(voice, DEFAULT_MODEL, (warning,))
