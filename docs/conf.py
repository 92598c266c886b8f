"""How Sphinx makes the manual: Markdown, the Furo theme, reference pages written from the code before each build."""

import importlib.metadata
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate  # noqa: E402 - it is beside this file
from sphinx.application import Sphinx  # noqa: E402 - as below

project = "Samtala"
author = "the Samtala contributors"
project_copyright = author
try:
    release = importlib.metadata.version("samtala")
except importlib.metadata.PackageNotFoundError:
    release = "0"
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
html_theme = "furo"
html_title = "Samtala"
html_show_sourcelink = False
suppress_warnings = ["myst.header"]  # fragments of docstrings begin where they begin

generate.write(HERE / "reference")


def _stay_inside(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Links that are right in the repository, and lead out of the manual."""
    source[0] = source[0].replace("](../SECURITY.md)", "](reference/reporting.md)")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _stay_inside)
