"""The command line: all commands, and where each is.

Exit status: 0 done; 1 something failed (each failure is one line on stderr, the rest was
done); 2 wrong usage; 130 interrupted.

A new command is a function in a module of its own, with ``guarded`` and the options of
``cli/common.py``, and one name in the table below.
"""

from __future__ import annotations

from napari_normative.cli.augment import augment
from napari_normative.cli.cohort import cohort
from napari_normative.cli.config import config
from napari_normative.cli.demo import demo
from napari_normative.cli.denoise import denoise
from napari_normative.cli.detect import detect
from napari_normative.cli.disentanglement import disentanglement
from napari_normative.cli.evaluate import evaluate
from napari_normative.cli.export import export, prepare
from napari_normative.cli.import_monai import import_monai
from napari_normative.cli.inpaint import inpaint
from napari_normative.cli.interpret import directions, explain
from napari_normative.cli.models import encode, inspect, sample
from napari_normative.cli.neighbours import neighbours
from napari_normative.cli.probe import predict, probe
from napari_normative.cli.program import program
from napari_normative.cli.reconstruct import reconstruct
from napari_normative.cli.review import app as review
from napari_normative.cli.segment import segment
from napari_normative.cli.train import train

app = program()

SCANS, MODELS, THIS = "Scans", "Models", "This program"

app.command(rich_help_panel=SCANS)(detect)
app.command(rich_help_panel=SCANS)(segment)
app.command(rich_help_panel=SCANS)(cohort)
app.command(rich_help_panel=SCANS)(reconstruct)
app.command(rich_help_panel=SCANS)(encode)
app.command(rich_help_panel=SCANS)(neighbours)
app.command(rich_help_panel=SCANS)(predict)
app.command(rich_help_panel=SCANS)(explain)
app.command(rich_help_panel=SCANS)(inpaint)
app.command(rich_help_panel=SCANS)(denoise)
app.command(rich_help_panel=SCANS)(inspect)
app.add_typer(review, name="review", rich_help_panel=SCANS)

app.command(rich_help_panel=MODELS)(train)
app.command(rich_help_panel=MODELS)(evaluate)
app.command(rich_help_panel=MODELS)(probe)
app.command(rich_help_panel=MODELS)(directions)
app.command(rich_help_panel=MODELS)(disentanglement)
app.command(rich_help_panel=MODELS)(sample)
app.command(rich_help_panel=MODELS)(augment)
app.command(rich_help_panel=MODELS)(export)
app.command(rich_help_panel=MODELS)(import_monai)
app.command(rich_help_panel=SCANS)(prepare)

app.command(rich_help_panel=THIS)(demo)
app.command(rich_help_panel=THIS)(config)


def main() -> None:
    """Run the command line (the entry point ``napari-normative``)."""
    app(prog_name="napari-normative")
