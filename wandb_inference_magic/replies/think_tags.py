"""Separates the reasoning that a model writes into its text, between tags such as `<think>` and `</think>`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    # A `restart` says that all text so far was reasoning.
    TaggedText = tuple[Literal["text", "reasoning", "restart"], str]

# gpt-oss may name the form of its answer: `<|channel|>final <|constrain|>json<|message|>`.
_HARMONY: Final = tuple(
    f"{before}<|channel|>final{form}<|message|>"
    for before in ("<|end|><|start|>assistant", "<|start|>assistant", "<|end|>", "")
    for form in ("", " <|constrain|>json", "<|constrain|>json", " json")
)
# The opening tag of each form, and its closing tags.
TAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "<think>": ("</think>",),
    "<thinking>": ("</thinking>",),
    "<thought>": ("</thought>",),
    "<longcat_think>": ("</longcat_think>",),
    "[think]": ("[/think]",),
    "<seed:think>": ("</seed:think>",),
    "<mm:think>": ("</mm:think>",),
    **{f"<{name}>": (f"</{name}>",) for name in ("思考", "反思", "推理")},
    "<|think|>": ("<|end|><|begin|>assistant<|content|>",),
    "<|begin_of_thought|>": ("<|end_of_thought|>",),
    "◁think▷": ("◁/think▷",),
    "<|start_thinking|>": ("<|end_thinking|>",),
    "<|channel>thought": ("<channel|>",),
    "<unused94>thought": ("<unused95>",),
    "<|channel|>analysis<|message|>": _HARMONY,
    "<|start|>assistant<|channel|>analysis<|message|>": _HARMONY,
}
# gpt-oss where the server drops its special tokens: `analysisThe user greets.assistantfinalHello!`.
_BARE: Final = "analysis"
_BARE_END: Final = ("assistantfinal",)
# A template may open the block itself: then only the closing tag is received.
_ALONE: Final = (
    *("</think>", "</thinking>", "</longcat_think>", "[/think]", "</seed:think>", "</mm:think>", "◁/think▷"),
    *("[begin final response]", *_HARMONY),
)
# GLM's marks around its answer, which may be within a sentence: `It is <|begin_of_box|>4<|end_of_box|>.`
_BOX: Final = "<|begin_of_box|>"
_BOX_END: Final = "<|end_of_box|>"
# What the same templates have before a text, which counts at its very beginning, and after it, at its very end.
_HEADS: Final = (
    *("<|start_response|>", "<|im_start|>assistant\n", "<start_of_turn>model\n", "<|assistant|>\n"),
    *("<|start_header_id|>assistant<|end_header_id|>", "<|begin_of_solution|>"),
)
_ENDS: Final = (
    *("<|return|>", "<|call|>", "<|end|>", "<|end_response|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>"),
    *("<|endoftext|>", "<|end_of_text|>", "<|end_of_turn_token|>", "<end_of_turn>", "<eos>", "</s>"),
    *("<｜end▁of▁sentence｜>", "<|user|>", "<|observation|>", "[end final response]", _BOX_END),
    *("<|end_of_solution|>", "<｜dsml｜function_calls", "<｜dsml｜tool_calls"),
)
_TAGS_AND_HEADS: Final = (*TAGS, *_ALONE, *_HEADS, _BOX)
_ALL: Final = (*_TAGS_AND_HEADS, *_ENDS)
_CASELESS: Final = re.IGNORECASE | re.ASCII
_FIRST: Final = "<[◁"
_MAX_TAG_CHARS: Final = max(map(len, _ALL))
_FENCE: Final = re.compile(r"^[ \t]*(`{3,}|~{3,})", re.MULTILINE)
# Invisible characters count as blank.
BLANK: Final = " \t\r\n\ufeff\u200b"
_AT_END: Final = re.compile(f"(?:(?:{'|'.join(map(re.escape, _ENDS))})[{BLANK}]*)+", _CASELESS)
_OPENING: Final = re.compile("|".join(map(re.escape, TAGS)), _CASELESS)
_ANY: Final = re.compile("|".join((*map(re.escape, (*_TAGS_AND_HEADS, _BOX_END)), _AT_END.pattern)), _CASELESS)
# A text that names the tags more often than this is about them.
MAX_TAGS: Final = 50
_ASCII_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


class ThinkTags:
    """Takes a text in pieces, cut anywhere, and yields its parts.

    An opening tag counts at the start of a line; after other text, only if its block is closed. A closing tag without
    an opening one counts where a line or a sentence ends. GLM's marks count around a text. Tags in code are text.
    What gpt-oss has left without its special tokens counts at the very beginning, if it is closed.

    Parameters
    ----------
    written : sequence of str
        The pieces of text yielded so far. The caller appends to it.
    """

    def __init__(self, written: Sequence[str]) -> None:
        self.written = written
        # What may be the beginning of a tag, blank characters beside one, or a block that is not closed yet.
        self._rest = ""
        # The closing tags that are waited for.
        self._closing: tuple[str, ...] = ()
        # Where the content of a block after other text begins in the rest, and how far it has been searched.
        self._block = self._searched = 0
        self._seen = 0
        # The last character that was yielded.
        self._before = ""
        self._follows_tag = False
        self._has_begun = False
        # Whether GLM's answer has begun and not ended.
        self._is_in_box = False
        # Whether a block has begun, other than after a text.
        self._has_block = False
        # The text before a tag that waits for what follows, and whether it is code, while it is all of `written`.
        self._waiting: tuple[Sequence[str], int, str, bool] | None = None

    @property
    def has_found(self) -> bool:
        """Whether anything so far is no text."""
        return self._has_begun or self._has_block or self._is_at_end

    @property
    def is_within(self) -> bool:
        """Whether a block, or what may be a tag, has begun."""
        return bool(self._closing or self._rest)

    @property
    def _is_at_end(self) -> bool:
        return _AT_END.fullmatch(self._rest) is not None

    @property
    def held(self) -> TaggedText:
        """What has been taken and not yielded."""
        if self._is_at_end:
            return "text", ""
        return ("reasoning" if self._closing and not self._block else "text"), self._rest

    def end(self) -> Iterator[TaggedText]:
        """Yield the parts that the end of the reply completes: a closing tag may be the last of it."""
        if self._rest.translate(_ASCII_LOWER).strip(BLANK) in _ALONE:
            # As at the end of a line.
            yield from self.feed("\n")

    def feed(self, text: str) -> Iterator[TaggedText]:
        """Take a piece, and yield the parts that it completes."""
        is_plain = not any(one in text for one in _FIRST) and not self._may_be_bare(text)
        if is_plain and not self._rest and not self._closing and not self._follows_tag:
            yield "text", text
            return
        self._rest += text
        while self._rest and (parts := self._within() if self._closing else self._outside()) is not None:
            yield from parts

    def _within(self) -> list[TaggedText] | None:
        """Return the next parts inside a block, or None if more text is needed."""
        lower = self._rest[self._searched :].translate(_ASCII_LOWER)
        found = [(at + self._searched, -len(tag), tag) for tag in self._closing if (at := lower.find(tag)) >= 0]
        if found:
            at, _, tag = min(found)
            end = at + len(tag)
            if (self._rest[at - 1 : at] or self._before) == "`" and self._rest[end : end + 1] in ("", "`"):
                return self._named_in_code(at, end)
            # Without the opening tag of a block after other text.
            self._rest, at = self._rest[self._block :], at - self._block
            reasoning = self._take("reasoning", at)
            self._close(tag)
            return reasoning
        unsure = _beginning(self._rest, self._closing)
        if self._block:
            self._searched = len(self._rest) - unsure
            return None
        return self._take("reasoning", len(self._rest) - unsure) or None

    def _named_in_code(self, start: int, end: int) -> list[TaggedText] | None:
        """Return the parts up to a closing tag between backticks: it is named there, and ends nothing."""
        if end == len(self._rest):
            # What follows decides.
            return None if self._block else self._take("reasoning", start) or None
        if not self._block:
            return self._take("reasoning", end)
        self._searched = end
        return []

    def _outside(self) -> list[TaggedText] | None:
        """Return the next parts outside of a block, or None if more text is needed."""
        if self._follows_tag:
            self._rest = self._rest.lstrip(BLANK)
            self._follows_tag = not self._rest
        if self._may_be_bare(self._rest):
            return None if len(self._rest) <= len(_BARE) else self._open(_BARE, 0, is_first=False)
        found = None if self._seen >= MAX_TAGS else _ANY.search(self._rest)
        if found is None:
            begun = 0 if self._seen >= MAX_TAGS else _beginning(self._rest, _ALL)
            return self._take("text", len(self._rest) - begun) or None
        tag, end = found[0].translate(_ASCII_LOWER), found.end()
        before, is_in_code = self._text_before(found.start())
        is_text = (tag not in _ALONE and is_in_code) or (tag.startswith("</s>") and _is_struck(before))
        if not is_text and self._depends(tag, found):
            # What follows decides.
            return self._take("text", found.start()) or None
        self._seen += 1
        if tag in _HEADS and not before.strip(BLANK):
            text = self._take("text", found.start())
            self._rest, self._follows_tag, self._has_begun = self._rest[len(tag) :], True, True
            return text
        if tag in (_BOX, _BOX_END) and not is_in_code and self._is_mark(tag, before, self._rest[end:]):
            text = self._take("text", found.start())
            self._rest, self._has_begun, self._is_in_box = self._rest[len(tag) :], True, tag == _BOX
            return text
        if tag in _HEADS or tag == _BOX or _AT_END.fullmatch(tag):
            return self._take("text", end)
        if tag in TAGS and _starts_line(before):
            return self._open(tag, found.start(), is_first=not before.strip(BLANK))
        # After a block it is text, unless there is no text before it: some models close a block twice.
        is_later = self._has_block and bool(before.strip(BLANK))
        if tag in TAGS or is_later or _OPENING.search(before) or not _closes(before, self._rest[end:]):
            return self._take("text", end)
        text = self._take("text", found.start())
        self._close(tag)
        return [*text, ("restart", "")] if before.strip(BLANK) else text

    def _text_before(self, start: int) -> tuple[str, bool]:
        """Return the text before a place in the rest, and whether a tag there is in code.

        A tag may wait for many pieces, such as blank ones or more tags: the text before it is read once.
        """
        known = self._waiting
        if not start and known is not None and known[0] is self.written and known[1] == len(self.written):
            return known[2], known[3]
        before = "".join((*self.written, self._rest[:start]))
        is_in_code = _is_code(before)
        self._waiting = None if start else (self.written, len(self.written), before, is_in_code)
        return before, is_in_code

    def _may_be_bare(self, text: str) -> bool:
        """Return whether a text begins a reply of gpt-oss without special tokens, or may do so."""
        if self._before or self.written or self.has_found:
            return False
        return _BARE.startswith(text) or (text.startswith(_BARE) and text[len(_BARE)].isupper())

    def _is_mark(self, tag: str, before: str, after: str) -> bool:
        """Return whether a mark of GLM's is around a text. It may also be named in prose."""
        return self._is_in_box if tag == _BOX_END else _starts_line(before) or not after.startswith(" ")

    def _depends(self, tag: str, found: re.Match[str]) -> bool:
        """Return whether more text is needed to know what a tag is."""
        rest = self._rest[found.start() :].translate(_ASCII_LOWER)
        if any(one != rest and one.startswith(rest) for one in _ALL):
            return True
        after = rest[len(tag) :]
        if _AT_END.fullmatch(tag):
            return not after or any(one.startswith(after) for one in _ENDS)
        # What else is on the line of a closing tag tells whether it is one.
        return not after if tag == _BOX else tag in _ALONE and not after.strip(BLANK) and "\n" not in after

    def _open(self, tag: str, start: int, *, is_first: bool) -> list[TaggedText]:
        text = self._take("text", start)
        self._closing = TAGS.get(tag, _BARE_END)
        if is_first:
            self._rest, self._has_block = self._rest[len(tag) :], True
        else:
            self._block = self._searched = len(tag)
        return text

    def _take(self, kind: Literal["text", "reasoning"], size: int) -> list[TaggedText]:
        taken, self._rest = self._rest[:size], self._rest[size:]
        self._before = taken[-1:] or self._before
        return [(kind, taken)] if taken else []

    def _close(self, tag: str) -> None:
        self._rest, self._closing, self._block, self._searched = self._rest[len(tag) :], (), 0, 0
        self._follows_tag = self._has_block = True


def begins_tag(text: str) -> bool:
    """Return whether a text begins with an opening tag, or may be the beginning of one."""
    lower = text.translate(_ASCII_LOWER)
    return any(lower.startswith(tag) or tag.startswith(lower) for tag in TAGS)


def _beginning(text: str, tags: Sequence[str]) -> int:
    """Return the length of the end of a text that may be the beginning of a tag."""
    end = text[-_MAX_TAG_CHARS:].translate(_ASCII_LOWER)
    for at, character in enumerate(end):
        if (character in _FIRST or tags is _BARE_END) and any(tag.startswith(end[at:]) for tag in tags):
            return len(end) - at
    return 0


def _starts_line(before: str) -> bool:
    """Return whether a tag after this text is at the start of a line, outside of a fenced block."""
    return not before.rpartition("\n")[2].strip(BLANK) and not _is_fenced(before)


def _closes(before: str, after: str) -> bool:
    """Return whether a closing tag ends a block that the template began. It may also be named in prose."""
    if _starts_line(before) or not after.partition("\n")[0].strip(BLANK):
        return not _is_fenced(before) and before[-1:] not in ('"', "'", "`")
    return not _is_code(before) and before[-1:] not in " \"'(`" and after[0] not in " <\"'`),.;"


def _is_struck(before: str) -> bool:
    """Return whether this text has begun struck-out text in HTML: then `</s>` is its end."""
    lower = before.translate(_ASCII_LOWER)
    return lower.count("<s>") > lower.count("</s>")


def _is_code(before: str) -> bool:
    """Return whether a tag after this text is in a code span or a fenced block."""
    paragraph = before.rpartition("\n\n")[2]
    opened = ""
    for ticks in re.findall("`+", paragraph):
        opened = "" if ticks == opened else opened or ticks
    return bool(opened) or _is_fenced(before)


def _is_fenced(before: str) -> bool:
    marker = ""
    for found in _FENCE.finditer(before):
        if not marker:
            marker = found[1]
        elif found[1].startswith(marker):
            marker = ""
    return bool(marker)
