"""Who speaks: a voice and a model that belong together."""

from __future__ import annotations

from dataclasses import dataclass

from smallest_cli import catalogue
from smallest_cli.errors import UsageError
from smallest_cli.safety import safe
from smallest_cli.speech import Api

DEFAULT_VOICE, DEFAULT_MODEL = "meher", "lightning_v3.1_pro"
OLDER_VOICE = "magnus"
MODELS = ("lightning_v3.1", "lightning_v3.1_pro")


@dataclass(frozen=True, slots=True)
class Cast:
    """A voice's id, its model (None where the API has none), and what a person should know of it."""

    voice: str
    model: str | None
    warnings: tuple[str, ...] = ()


def cast(voice: str | None, model: str | None, api: Api = "unified", *, force: bool = False) -> Cast:
    """Settle who speaks. Raises UsageError where voice and model are of different pools.

    The service answers such a pair with wrong audio and no error (waves/api.md, 2a), so it is
    refused here, unless `force` asks for it.
    """
    if api != "unified":
        return Cast(voice or OLDER_VOICE, model if api == "v3.1" else None)
    if model is not None:
        model = model.replace("lightning-", "lightning_", 1)
    if voice is None:
        return _default(model)
    known = catalogue.find(voice)
    if known is None:
        return _unknown(voice, model)
    if model is None or model == known.model:
        return Cast(known.id, known.model)
    if force:
        return Cast(known.id, model)
    if model in MODELS:
        raise UsageError(
            f"{known.id} is a voice of {known.model}, not of {model}",
            hint="leave --model away, choose another voice, or send it anyway with --force",
        )
    return Cast(known.id, model, (f"the model {safe(model, 60)} is not known here",))


def _default(model: str | None) -> Cast:
    if model == "lightning_v3.1":
        return Cast(OLDER_VOICE, model)
    if model in (None, DEFAULT_MODEL):
        return Cast(DEFAULT_VOICE, DEFAULT_MODEL)
    return Cast(DEFAULT_VOICE, model, (f"the model {safe(model, 60)} is not known here",))


def _unknown(voice: str, model: str | None) -> Cast:
    """A clone, a new voice or a slip of the pen: sent as it is, for only the service knows."""
    if model is not None:
        return Cast(voice, model)
    near = ", ".join(catalogue.nearest(voice))
    names = f"; near it are {near}" if near else ""
    warning = f"the catalogue has no voice {safe(voice, 60)}{names}; it is tried on {DEFAULT_MODEL}"
    return Cast(voice, DEFAULT_MODEL, (warning,))
