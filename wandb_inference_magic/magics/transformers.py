"""Give the magics the lines that IPython would not.

`%wbchat what is pandas?`, whose final `?` it would treat as a help request; a body with `>>>`, which it would remove;
`%%wbchat --help` without a body, which it would refuse; a tab behind the name of a magic; and a magic below a comment,
which it would not take for a magic, so that the error would be about Python.
"""

from __future__ import annotations

import re
import sys
from itertools import dropwhile, groupby, takewhile
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from IPython.core.inputtransformer2 import (
    EscapedCommand,
    HelpEnd,
    MagicAssign,
    TransformerManager,
    cell_magic,
    leading_empty_lines,
)
from IPython.core.prefilter import is_shadowed

from ..errors import InferenceError

if TYPE_CHECKING:
    from types import FrameType

    from IPython.core.interactiveshell import InteractiveShell

# A magic with text: `%wbchat?` and `%wbchat ?` are help requests and do not match. `%` may be left out on the line of
# another magic, such as %time, that runs Python code.
_WITH_TEXT = re.compile(r"(?<![\w.])%?(\w+)(?=\s+[^\s?=])")


def _if_asking(found: Any, tokens_by_line: Any) -> Any:
    """Return the magic that IPython found if its line is or runs a chat's, with text that ends in `?`, else None."""
    if found is None:
        return None
    tokens = (token for line in tokens_by_line for token in line)
    # The line of a token may be several, up to the end of a bracket.
    below = (line for token in tokens if token.start[0] > found.start_line for line in token.line.splitlines())
    text = ""
    for line, _ in groupby(below):
        text += line.removesuffix("\\")
        if not line.endswith("\\"):
            break
    is_chat = any(_original_name(name, "line") == "wbchat" for name in _WITH_TEXT.findall(text))
    return found if is_chat and text.rstrip().endswith("?") else None


def _original_name(name: str, kind: str) -> str:
    """Return the name of a magic, also for another name of it (`%alias_magic`). `kind` is "line" or "cell"."""
    shell = get_ipython()
    magic = None if shell is None else shell.magics_manager.magics[kind].get(name)
    return str(getattr(magic, "magic_name", name))


class _Question:
    """A line whose magic is a chat's and that ends in `?`, matched before IPython looks for help requests."""

    priority = 1

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        return _if_asking(super().find(tokens_by_line), tokens_by_line)  # type: ignore[misc]


class QuestionLine(_Question, EscapedCommand):  # type: ignore[misc,unused-ignore]
    """A line `%wbchat text?`."""


class QuestionAssign(_Question, MagicAssign):  # type: ignore[misc,unused-ignore]
    """A line `name = %wbchat text?`."""

    magic_col: int

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = super().find(tokens_by_line)
        if found is not None:
            # IPython sorts by column before priority, and a help request starts at column 0.
            found.magic_col, found.start_col = found.start_col, 0
        return found

    def transform(self, lines: list[str]) -> Any:
        self.start_col = self.magic_col
        return super().transform(lines)  # type: ignore[no-untyped-call,unused-ignore]


class QuestionAutomagic(HelpEnd):  # type: ignore[misc,unused-ignore]
    """A line `wbchat text?` without its `%`, which IPython adds only if it finds no help request."""

    priority = 1
    start_line: int
    start_col: int

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = super().find(tokens_by_line)  # type: ignore[no-untyped-call,unused-ignore]
        shell = get_ipython()
        if found is None or shell is None or not shell.automagic:
            return None
        line = next(one.line for line in tokens_by_line for one in line if one.start[0] - 1 == found.start_line)
        # IPython and Python disagree about where a line ends: this one may be blank.
        name = next(iter(line[found.start_col :].split()), "")
        # While the extension loads, its magics are not there yet.
        is_magic = name == "wbchat" or shell.find_magic(name) is not None  # type: ignore[no-untyped-call,unused-ignore]
        is_called = is_magic and not is_shadowed(name, shell)  # type: ignore[no-untyped-call,unused-ignore]
        return _if_asking(found, tokens_by_line) if is_called else None

    def transform(self, lines: list[str]) -> list[str]:
        line = lines[self.start_line]
        changed = f"{line[: self.start_col]}%{line[self.start_col :]}"
        return [*lines[: self.start_line], changed, *lines[self.start_line + 1 :]]


# A tab, or the blank of a web page that a line was copied from: IPython takes it for a part of the magic's name.
_ODD_BLANK = re.compile(r"(%wb[a-z]+)[^\S\r\n ][^\S\r\n]*(?=\S)")


class _PlainBlank:
    """Writes the blank behind the name of a magic as IPython reads it, before IPython looks for that name."""

    priority = 0
    start_line: int
    start_col: int

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = super().find(tokens_by_line)  # type: ignore[misc]
        lines = (token.line for line in tokens_by_line for token in line if token.start[0] - 1 == found.start_line)
        return found if found and _ODD_BLANK.search(next(lines, ""), found.start_col) else None

    def transform(self, lines: list[str]) -> list[str]:
        line = lines[self.start_line]
        changed = line[: self.start_col] + _ODD_BLANK.sub(r"\1 ", line[self.start_col :], count=1)
        return [*lines[: self.start_line], changed, *lines[self.start_line + 1 :]]


class BlankLine(_PlainBlank, EscapedCommand):  # type: ignore[misc,unused-ignore]
    """A line `%wbchat<tab>text`."""


class BlankAssign(_PlainBlank, MagicAssign):  # type: ignore[misc,unused-ignore]
    """A line `name = %wbchat<tab>text`."""


_TRANSFORMS = (QuestionLine, QuestionAssign, QuestionAutomagic, BlankLine, BlankAssign)
_CELL_MAGIC = re.compile(r"%%(\w+)(.*)")
_PROMPTS = ("wbchat", "wbmap", "wbeval")


def rewrite_cell_magic(lines: list[str]) -> list[str]:
    """Return a call in place of a cell whose magic is one of ours, or runs one of ours; the lines of any other cell.

    Its body is a prompt. IPython would remove `>>>`, `In [1]:` and indentation from it, as from Python code.
    """
    typed = leading_empty_lines(lines)  # type: ignore[no-untyped-call,unused-ignore]
    if typed:
        typed = [_ODD_BLANK.sub(r"\1 ", typed[0], count=1) if typed[0].lstrip()[:2] == "%%" else typed[0], *typed[1:]]
    comments = list(takewhile(lambda line: line.strip()[:1] in ("", "#"), typed))
    # Such as `%%time` above `%%wbchat`.
    matches = takewhile(bool, (_CELL_MAGIC.match(line.lstrip()) for line in typed[len(comments) :]))
    found = [one for one in matches if one]
    name = next((one[1] for one in found if _original_name(one[1], "cell") in _PROMPTS), None)
    if name is None:
        return lines
    if comments:
        return [f"__import__('importlib').import_module({__name__!r}).refuse_comment('%%{name}')\n"]
    is_question = found[0][2].startswith("?")
    if found[0][1] == name and not is_question and not "".join(typed[1:]).strip():
        # IPython refuses a cell magic without a body. One with `--help` or prompts in files needs none.
        return [f"get_ipython().run_cell_magic({name!r}, {found[0][2].strip()!r}, '\\n')\n"]
    return cell_magic([typed[0].lstrip(), *typed[1:]])  # type: ignore[no-untyped-call,no-any-return,unused-ignore]


# IPython does not apply it to find out whether a cell is complete: in a terminal, a blank line ends the body.
rewrite_cell_magic.has_side_effects = True  # type: ignore[attr-defined]


def refuse_comment(magic: str) -> None:
    """Raise the error for a cell with a comment above its magic."""
    raise InferenceError(
        f"{magic} is not on the first line of the cell: a comment is above it. Nothing was sent.",
        why="IPython recognizes a cell magic on the first line only.",
        remedy=f"Move the comment into a cell of its own, or delete it. Below {magic} it would be part of the prompt.",
    )


# How IPython writes a request for help.
_HELP = re.compile(r"\.run_line_magic\('(?:pinfo2?|psearch)'")


def _refuse_lost_question(shell: InteractiveShell) -> None:
    """Raise if a running cell has a prompt that IPython took for a help request, before there were the transforms."""
    frame: FrameType | None = sys._getframe()
    # A script or `-c` is in no history and in no request of a front end. Several cells run if one runs a script.
    while frame is not None:
        if frame.f_code.co_name == "run_cell_async" and "?" in (source := str(frame.f_locals.get("raw_cell"))):
            _compare_help(shell, source, str(frame.f_locals.get("transformed_cell")))
        frame = frame.f_back


def _compare_help(shell: InteractiveShell, source: str, ran: str) -> None:
    # Magics such as %%time transform what is below them when they begin.
    body = "".join(dropwhile(lambda line: line.startswith("%%"), source.splitlines(keepends=True)))
    if body != source:
        ran = TransformerManager().transform_cell(body)  # type: ignore[no-untyped-call,unused-ignore]
    now = shell.transform_cell(body)  # type: ignore[no-untyped-call,unused-ignore]
    if len(_HELP.findall(ran)) > len(_HELP.findall(now)):
        raise InferenceError(
            "A prompt that ends in ? is in the cell that loads the extension. It was not sent.",
            why="IPython reads the whole cell first, and takes such a line for a request for help.",
            remedy="Put %load_ext wandb_inference_magic into a cell of its own, above this one. For a script: ipython "
            "--ext wandb_inference_magic FILE.",
        )


def install(shell: InteractiveShell, *, is_reload: bool = False) -> None:
    """Add the transforms to the shell. Its existing transforms are not changed.

    Parameters
    ----------
    shell : InteractiveShell
    is_reload : bool
        Whether the running cell was read with these transforms.

    Raises
    ------
    InferenceError
        If the running cell has a prompt that IPython took for a help request. Nothing is added then.
    """
    shell.input_transformer_manager.cleanup_transforms.insert(0, rewrite_cell_magic)
    shell.input_transformer_manager.token_transformers.extend(_TRANSFORMS)
    if not is_reload:
        try:
            _refuse_lost_question(shell)
        except InferenceError:
            uninstall(shell)
            raise


def uninstall(shell: InteractiveShell) -> None:
    """Remove the transforms."""
    rewriting = shell.input_transformer_manager.cleanup_transforms
    rewriting[:] = [transform for transform in rewriting if transform is not rewrite_cell_magic]
    transforms = shell.input_transformer_manager.token_transformers
    transforms[:] = [transform for transform in transforms if transform not in _TRANSFORMS]
