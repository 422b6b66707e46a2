"""The documentation: `uv run sphinx-build -W docs docs/_build/html`.

Building needs no network. `WANDB_INFERENCE_DOCS=quick` builds the notebooks without executing them.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import generated
import latex2mathml.converter
from docutils.nodes import SkipNode
from IPython.lib.lexers import IPython3Lexer

import wandb_inference_magic

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx

project = "wandb-inference-magic"
author = "The wandb-inference-magic authors"
project_copyright = author
release = version = wandb_inference_magic.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_generated", "cassettes", "**/.ipynb_checkpoints"]
default_role = "literal"
# Options are written with two hyphens.
smartquotes = False
# `%%wbchat` is a text to the lexer; a cell of a prompt in English is no Python.
suppress_warnings = ["misc.highlighting_failure", "mystnb.mime_priority"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = "off"
nb_merge_streams = True
# Replies have tables, which CommonMark does not.
nb_render_markdown_format = "myst"
# Nothing is loaded from other hosts: the notebooks show tables, not widgets.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

# Without a script and without another host.
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["own.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 2,
    "navigation_depth": 2,
    "header_links_before_dropdown": 4,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars: dict[str, list[str]] = {"index": [], "security": [], "comparison": [], "changelog": []}

generated.write(execute=os.environ.get("WANDB_INFERENCE_DOCS") != "quick")


def _inline(translator: Any, node: Element) -> None:
    translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise SkipNode


def _block(translator: Any, node: Element) -> None:
    translator.body.append(latex2mathml.converter.convert(node.astext(), display="block"))
    raise SkipNode


def _link_to_executed(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Link to the executed examples: in the repository the links lead to the examples, a folder further up."""
    source[0] = re.sub(r"\]\(\.\./((?:\.\./)*examples/[\w-]+\.ipynb)\)", r"](\1)", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _link_to_executed)
    app.add_lexer("python", IPython3Lexer)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
