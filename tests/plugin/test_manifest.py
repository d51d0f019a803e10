"""What napari is told of the plugin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from napari._app_model.constants import MenuId
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

MANIFEST = Path(__file__).parents[2] / "napari.yaml"


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_file(MANIFEST)


def test_the_manifest_is_valid(manifest):
    manifest.validate_imports()
    assert manifest.schema_version == "0.3.0"


def test_the_installed_manifest_is_this_one():
    from npe2 import PluginManager

    manager = PluginManager()
    manager.discover()
    installed = manager.get_manifest("napari-normative")
    assert installed.contributions == PluginManifest.from_file(MANIFEST).contributions


def test_every_command_imports_and_is_used(manifest):
    contributions = manifest.contributions
    used = {c.command for c in (*contributions.readers, *contributions.writers)}
    used |= {c.command for c in (*contributions.sample_data, *contributions.widgets)}
    used |= {item.command for items in contributions.menus.values() for item in items}
    for command in contributions.commands:
        assert command.id.startswith("napari-normative.")
        assert callable(import_python_name(command.python_name))
    ids = [command.id for command in contributions.commands]
    assert len(ids) == len(set(ids))
    # The others are for the command palette, where "Normative" finds them.
    for command in contributions.commands:
        assert command.id in used or command.title.startswith("Normative: ")


def test_every_action_is_a_command_and_the_other_way_round(manifest):
    from napari_normative.plugin.actions import ACTIONS

    titles = {c.id.partition(".")[2]: c.title for c in manifest.contributions.commands}
    palette = {name for name, title in titles.items() if title.startswith("Normative: ")}
    assert palette == set(ACTIONS)
    docks = {widget.display_name for widget in manifest.contributions.widgets}
    assert {action.dock for action in ACTIONS.values() if action.dock} == docks


def test_every_menu_exists_in_napari(manifest):
    assert set(manifest.contributions.menus) <= {str(menu) for menu in MenuId.contributables()}


def test_the_reader_takes_every_suffix_that_can_be_read(manifest):
    from napari_normative.io.nifti import SUFFIXES

    (reader,) = manifest.contributions.readers
    assert set(reader.filename_patterns) == {f"*{suffix}" for suffix in SUFFIXES}


def test_there_is_a_sample_for_every_key(manifest):
    samples = pytest.importorskip("napari_normative.io.samples")
    assert {s.key for s in manifest.contributions.sample_data} == set(samples.SAMPLES)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("napari_normative", "torch qtpy napari"),
        ("napari_normative.plugin.commands", "torch qtpy napari numpy nibabel"),
        ("napari_normative.plugin.layers", "torch qtpy napari lightning SimpleITK"),
        ("napari_normative.plugin.session", "torch qtpy lightning SimpleITK"),
        ("napari_normative.plugin.panels", "torch lightning SimpleITK monai"),
    ],
)
def test_importing_loads_nothing_heavy(module, forbidden):
    code = f"import sys, {module}; print([m for m in {forbidden.split()} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
