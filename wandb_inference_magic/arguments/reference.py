"""The documentation of each magic. `%%wbchat?` and the reference of the site are both generated here."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import cleandoc
from textwrap import indent
from typing import TYPE_CHECKING, NamedTuple

from ..text import wrapped
from .line import HELP
from .options import (
    ChatOptions,
    ConfigOptions,
    EvalOptions,
    JobsOptions,
    MapOptions,
    ModelsOptions,
    ThreadOptions,
    UsageOptions,
)

if TYPE_CHECKING:
    from .line import Options, TextForm


class Page(NamedTuple):
    """The help of one magic: its options, and the parts of their docstring."""

    options: type[Options]
    purpose: str
    notes: str
    examples: str


def _page(options: type[Options]) -> Page:
    text, _, examples = cleandoc(options.__doc__ or "").partition("\n\nExamples\n--------\n")
    purpose, _, notes = text.partition("\n\n")
    return Page(options, purpose, notes.replace("\n", " "), examples)


PAGES = {
    "wbchat": _page(ChatOptions),
    "wbthread": _page(ThreadOptions),
    "wbmodels": _page(ModelsOptions),
    "wbmap": _page(MapOptions),
    "wbeval": _page(EvalOptions),
    "wbjobs": _page(JobsOptions),
    "wbusage": _page(UsageOptions),
    "wbconfig": _page(ConfigOptions),
}
# Each form of each magic, as typed, with its options and the text allowed on its line.
MAGICS: Mapping[str, tuple[type[Options], TextForm]] = {
    usage.split()[0]: (page.options, text) for page in PAGES.values() for usage, text in page.options.usage
}


def help_text(page: Page) -> str:
    """Return a magic's docstring: purpose, usage, options, notes, examples."""
    rows = [(one.usage, wrapped(one.help)) for one in (*page.options.declared, HELP)]
    options = "\n".join(f"  {usage}\n{indent(text, ' ' * 6)}" for usage, text in rows)
    usage = "\n".join(f"  {line}" for line, _ in page.options.usage)
    examples = "\n".join(f"  {line}".rstrip() for line in page.examples.splitlines())
    parts = (wrapped(page.purpose), usage, wrapped(page.notes), f"Options:\n{options}", f"Examples:\n{examples}")
    return "\n\n".join(parts) + "\n"
