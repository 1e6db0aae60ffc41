"""The site of the documentation: ``make docs`` builds it, and a warning is an error."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generated import write_pages

project = "Explain-to-Fix"
author = "The Explain-to-Fix developers"
release = version_of("e2x")
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"Explain-to-Fix {release}"
# Nothing is fetched from elsewhere when a page is read: the site also serves behind a closed door.
html_theme_options = {"source_view_link": ""}

write_pages(Path(__file__).parent)
