"""The settings as napari keeps them: declared in ``napari.yaml``, shown in *Preferences*.

The one place that reads and writes them. Everything else uses :class:`Settings`.
"""

from __future__ import annotations

import warnings
from typing import Any

from psygnal import EmissionInfo

from napari_normative.plugin.state.settings import Settings

PLUGIN = "napari-normative"
SECTIONS = {
    "device": "computing",
    "memory_gib": "computing",
    "convention": "reading",
    "models_folder": "folders",
    "cohorts_folder": "folders",
    "results_folder": "folders",
}
"""Which configuration of ``napari.yaml`` has which field."""

_bound: tuple[Any, Settings] | None = None


def stored_settings() -> Settings:
    """Return the settings that napari remembers; the same object for all windows.

    Without them (an older napari, a manifest that is not installed, a file that cannot be
    read) the defaults hold for the session.
    """
    global _bound
    stored = _napari_settings()
    if _bound is None or _bound[0] is not stored:
        _bound = (stored, Settings() if stored is None else bound_to(stored))
    return _bound[1]


def _napari_settings() -> Any | None:
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # before napari 0.9
        return None
    try:
        stored = get_plugin_settings(PLUGIN)
    except (KeyError, OSError, ValueError):
        return None
    return stored if all(hasattr(stored, section) for section in SECTIONS.values()) else None


def bound_to(stored: Any) -> Settings:
    """Return settings that follow napari's, and that napari's follow.

    Parameters
    ----------
    stored : napari.settings.PluginSettings
    """
    settings = Settings(
        **{name: getattr(getattr(stored, section), name) for name, section in SECTIONS.items()}
    )

    def on_changed(info: EmissionInfo) -> None:
        name = info.signal.name
        section = getattr(stored, SECTIONS[name])
        if getattr(section, name) == info.args[0]:
            return
        try:
            setattr(section, name, info.args[0])
        except (OSError, ValueError) as error:
            # A value that Preferences do not offer, or no room to write: it holds for now.
            warnings.warn(f"The setting {name} is not remembered: {error}", stacklevel=2)

    def on_stored(event: Any) -> None:
        name = event.type
        if name in SECTIONS:
            setattr(settings, name, event.value)

    settings.events.connect(on_changed)
    for section in dict.fromkeys(SECTIONS.values()):
        getattr(stored, section).events.connect(on_stored)
    return settings
