"""Give the magics the lines that IPython would not.

`%wbchat what is pandas?`, whose final `?` it would treat as a help request; `return %wbchat text`, which it would not
know; a body with `>>>`, which it would remove; `%%wbchat --help` without a body, which it would refuse; a tab behind
the name of a magic; options that go on below; a magic below a comment or code, which it would not take for one, so that
the error would be about Python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import dropwhile, groupby
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from IPython.core.inputtransformer2 import (
    EscapedCommand,
    HelpEnd,
    MagicAssign,
    TransformerManager,
    cell_magic,
)
from IPython.core.prefilter import is_shadowed

from ..errors import InferenceError
from ..text import INVISIBLE, UNSEEN, visible_only

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


# A tab, or what comes with a line that was copied from a web page: IPython takes it for a part of the magic's name.
_BLANK = rf"(?:[^\S\r\n]|[{INVISIBLE}])"
_ODD_BLANK = re.compile(rf"(%wb[a-z]+)(?:(?! ){_BLANK}+(?=[^\s{INVISIBLE}])|[{INVISIBLE}]{_BLANK}*$)")


def _with_plain_blank(lines: list[str], number: int, column: int) -> list[str]:
    """Return the lines of a cell with the blank behind the name of a magic as IPython reads it."""
    line = lines[number]
    changed = line[:column] + _ODD_BLANK.sub(r"\1 ", line[column:], count=1)
    return [*lines[:number], changed, *lines[number + 1 :]]


class _BeforeHelp:
    """A magic behind other code of its line.

    IPython sorts by column before priority, and a help request starts at column 0.
    """

    priority = 1
    start_line: int
    start_col: int
    magic_col: int

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = super().find(tokens_by_line)  # type: ignore[misc]
        if found is not None:
            found.magic_col, found.start_col = found.start_col, 0
        return found

    def transform(self, lines: list[str]) -> Any:
        self.start_col = self.magic_col
        return super().transform(_with_plain_blank(lines, self.start_line, self.magic_col))  # type: ignore[misc]


class QuestionAssign(_BeforeHelp, _Question, MagicAssign):  # type: ignore[misc,unused-ignore]
    """A line `name = %wbchat text?`."""


class _MagicReturn(MagicAssign):  # type: ignore[misc,unused-ignore]
    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        for line in tokens_by_line:
            for word, sign, name in zip(line, line[1:], line[2:], strict=False):
                is_magic = word.string == "return" and sign.string == "%"
                if is_magic and _original_name(name.string, "line").startswith("wb"):
                    return cls(sign.start)  # type: ignore[no-untyped-call,unused-ignore]
        return None


class ReturnedMagic(_BeforeHelp, _MagicReturn):
    """A line `return %wbchat text`. IPython itself knows a magic in a function only behind `name =`."""


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
        return _with_plain_blank(lines, self.start_line, self.start_col)


class BlankLine(_PlainBlank, EscapedCommand):  # type: ignore[misc,unused-ignore]
    """A line `%wbchat<tab>text`."""


class BlankAssign(_PlainBlank, MagicAssign):  # type: ignore[misc,unused-ignore]
    """A line `name = %wbchat<tab>text`."""


class MagicBelowCode(EscapedCommand):  # type: ignore[misc,unused-ignore]
    """A line `%%wbchat` below code. The call that refuses the cell takes the place of the whole cell."""

    priority = 0
    start_line: int
    start_col: int
    magic: str

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = super().find(tokens_by_line)  # type: ignore[no-untyped-call,unused-ignore]
        if found is None:
            return None
        line = next(one.line for line in tokens_by_line for one in line if one.start[0] - 1 == found.start_line)
        magic = _CELL_MAGIC.match(line, found.start_col)
        # `%%wbchat?` is a request for help.
        if magic is None or magic[2].startswith("?") or _original_name(magic[1], "cell") not in _PROMPTS:
            return None
        found.magic = magic[1]
        return found

    def transform(self, _lines: list[str]) -> list[str]:
        return _refusal(self.magic, "code")


_TRANSFORMS = (QuestionLine, QuestionAssign, ReturnedMagic, QuestionAutomagic, BlankLine, BlankAssign, MagicBelowCode)
_CELL_MAGIC = re.compile(r"%%(\w+)(.*)")
_PROMPTS = ("wbchat", "wbmap", "wbeval")
# What Quarto and nbdev read above the code of a cell.
_DIRECTIVE = "#|"
_BEGINS = re.compile(r"%%?wb[a-z]|#\|")
_GOES_ON = re.compile(r"[ \t]*\\[ \t]*\r?\n?\Z")


def find_prompt(lines: Sequence[str]) -> tuple[int, int, str] | None:
    """Return the number of a cell's first line that is no comment, and the number and name of its magic with a prompt.

    They differ if another magic is above it, such as `%%time`. None if the cell has no such magic at its beginning.
    """
    first = _after_comments(lines)
    for number, line in enumerate(lines[first:], first):
        magic = _CELL_MAGIC.match(line.lstrip())
        if magic is None:
            return None
        if _original_name(magic[1], "cell") in _PROMPTS:
            return first, number, magic[1]
    return None


def _after_comments(lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.strip(UNSEEN)[:1] not in ("", "#")), len(lines))


def _as_typed(line: str) -> str:
    """Return a line at the beginning of a cell without what is not seen around the name of a magic."""
    begun = line.lstrip(UNSEEN)
    if _BEGINS.match(begun):
        line = visible_only(line.removesuffix(begun)) + begun
    return _ODD_BLANK.sub(r"\1 ", line, count=1) if line.lstrip()[:2] == "%%" else line


def _joined(lines: list[str]) -> list[str]:
    """Return the lines of a cell with the first in one piece: after a backslash it goes on below, as a line magic."""
    first, below = lines[0], 1
    while going_on := _GOES_ON.search(first):
        after = lines[below].lstrip() if below < len(lines) else "\n"
        first, below = f"{first[: going_on.start()]} {after}", below + 1
    return [first, *lines[below:]]


def rewrite_cell_magic(lines: list[str]) -> list[str]:
    """Return a call in place of a cell whose magic is one of ours, or runs one of ours; the lines of any other cell.

    Its body is a prompt. IPython would remove `>>>`, `In [1]:` and indentation from it, as from Python code.
    """
    head = lines[: _after_comments(lines) + 1]
    typed = [*map(_as_typed, head), *lines[len(head) :]]
    place = find_prompt(typed)
    if place is None:
        return typed
    first, number, name = place
    above = [line for line in typed[:first] if line.strip()]
    typed = typed[first:]
    if any(not line.lstrip().startswith(_DIRECTIVE) for line in above):
        return _refusal(name, "a comment")
    if number == first:
        typed = _joined(typed)
        rest = typed[0].lstrip().removeprefix(f"%%{name}")
        if not rest.startswith("?") and not "".join(typed[1:]).strip():
            # IPython refuses a cell magic without a body. One with `--help` or prompts in files needs none.
            return [f"get_ipython().run_cell_magic({name!r}, {rest.strip()!r}, '\\n')\n"]
    return cell_magic([typed[0].lstrip(), *typed[1:]])  # type: ignore[no-untyped-call,no-any-return,unused-ignore]


# IPython does not apply it to find out whether a cell is complete: in a terminal, a blank line ends the body.
rewrite_cell_magic.has_side_effects = True  # type: ignore[attr-defined]


def _refusal(name: str, what: str) -> list[str]:
    return [f"__import__('importlib').import_module({__name__!r}).refuse_below('%%{name}', {what!r})\n"]


def refuse_below(magic: str, what: str) -> None:
    """Raise the error for a cell with a comment or code above its magic."""
    remedy = f"Put {magic}, with its prompt, into a cell of its own. Nothing of this cell was run."
    if what == "a comment":
        remedy = f"Move the comment into a cell of its own, or delete it. Below {magic} it would be part of the prompt."
    raise InferenceError(
        f"{magic} is not on the first line of the cell: {what} is above it. Nothing was sent.",
        why="IPython recognizes a cell magic on the first line only.",
        remedy=remedy,
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
