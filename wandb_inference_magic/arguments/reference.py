"""The documentation of each magic. `%%wbchat?` and the reference of the site are both generated here."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import cleandoc
from textwrap import indent
from typing import TYPE_CHECKING, Final

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


def sections(options: type[Options]) -> tuple[str, str, str]:
    """Return the parts of the docstring of a magic's options: its purpose, notes and examples."""
    text, _, examples = cleandoc(options.__doc__ or "").partition("\n\nExamples\n--------\n")
    purpose, _, notes = text.partition("\n\n")
    return purpose, notes.replace("\n", " "), examples


OPTIONS: Mapping[str, type[Options]] = {
    "wbchat": ChatOptions,
    "wbthread": ThreadOptions,
    "wbmodels": ModelsOptions,
    "wbmap": MapOptions,
    "wbeval": EvalOptions,
    "wbjobs": JobsOptions,
    "wbusage": UsageOptions,
    "wbconfig": ConfigOptions,
}
# Each form of each magic, as typed, with its options and the text allowed on its line.
MAGICS: Mapping[str, tuple[type[Options], TextForm]] = {
    usage.split()[0]: (options, text) for options in OPTIONS.values() for usage, text in options.usage
}


# Before the lines that say what an option does.
BELOW: Final = " " * 6


def help_text(declared: type[Options]) -> str:
    """Return a magic's docstring: purpose, usage, options, notes, examples."""
    purpose, notes, examples = sections(declared)
    rows = [(one.usage, wrapped(indent(one.help, BELOW), BELOW)) for one in (*declared.declared, HELP)]
    options = "\n".join(f"  {usage}\n{text}" for usage, text in rows)
    usage = "\n".join(f"  {line}" for line, _ in declared.usage)
    examples = "\n".join(f"  {line}".rstrip() for line in examples.splitlines())
    parts = (wrapped(purpose), usage, wrapped(notes), f"Options:\n{options}", f"Examples:\n{examples}")
    return "\n\n".join(parts) + "\n"
