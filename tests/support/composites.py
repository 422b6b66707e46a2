"""Outputs made of hostile pieces, for tests of outputs that are checked as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from inert import HOSTILE
from tex_examples import hostile_formulas, ordinary_texts

from wandb_inference_magic.commands.threads import conversation_bundle
from wandb_inference_magic.messages.reply import Reply, ToolCall, ToolStep
from wandb_inference_magic.messages.thread import Thread, Turn
from wandb_inference_magic.rendering.reply import reply_bundle, reply_parts
from wandb_inference_magic.rendering.side_by_side import Column, side_by_side_bundle
from wandb_inference_magic.rendering.tables import table_bundle
from wandb_inference_magic.rendering.thread_file import to_html, to_markdown

URL = "http://evil.example/x"
MARKS = [
    ("$", "$"), ("$$", "$$"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\\(", r"\\)"), (r"\\[", r"\\]"), ("`$", "$`"),
    ("\n$$\n", "\n$$\n"), ("\n\\[\n", "\n\\]\n"), (r"\begin{equation}", r"\end{equation}"), ("$`", "`$"),
    ("\\begin{align}\n", "\n\\end{align}"), (r"\begin{a}", r"\end{a}"), ("&#36;", "&#36;"), ("&bsol;(", "&bsol;)"),
    (r"\&#40;", r"\&#41;"), (r"\$", r"\$"), (r"\begin {equation}", r"\end {equation}"), (r"\b&#101;gin{a}", r"\end{a}"),
]  # fmt: skip
GLUE = [
    "", " ", "\n", "\n\n", "`", "```\n", "$", "$$", "> ", "- ", "|", "\\", "](", r"\begin{a}", r"\end{a}", r"\\[",
    r"\\]", r"\[", r"\]", r"\(", r"\)", "@@0@@", "{", "}", "<b>", "*", "_", "[", "| a | b |\n|---|---|\n| ", "\n~~~\n",
    '"', "\t", "&", r"\ref{x}", "1. ", "  \n", "\\\n", "\u00a0", "&#92;", "# ", "<", "!", r"\end", "</details>", "http://a.b/",
]  # fmt: skip
WORDS = ["a", "the mean is", "and $5", "then", "x_1", "**b**", "~~s~~", "[l](https://ok.example)", "`code`"]


@dataclass(frozen=True)
class Composite:
    """An output as Markdown and, if there is any, as HTML, and the pieces it was made of."""

    markdown: str
    html: str
    pieces: tuple[str, ...]


class Maker:
    """Makes outputs of hostile and ordinary pieces with random changes. The same seed gives the same outputs."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._formulas = [tex for tex in hostile_formulas(URL).values() if len(tex) < 150]
        self._ordinary = [text for _, text in ordinary_texts()]
        self._used: list[str] = []

    def composites(self, number: int) -> Iterator[Composite]:
        for _ in range(number):
            self._used = []
            writers = [self._reply, self._reply, self._comparison, self._thread, self._page, self._table]
            data = self._random.choice(writers)()
            yield Composite(data["text/markdown"], data.get("text/html", ""), tuple(self._used))

    def _reply(self) -> dict[str, str]:
        reply = self._one_reply()
        return reply_bundle(reply) | reply_bundle(reply, "html")

    def _comparison(self) -> dict[str, str]:
        return side_by_side_bundle([Column("m", reply_parts(self._one_reply()), "") for _ in range(3)])

    def _thread(self) -> dict[str, str]:
        return conversation_bundle(self._turns())

    def _page(self) -> dict[str, str]:
        thread = self._turns()
        body = to_html(thread).partition("<main>")[2].partition("</main>")[0]
        return {"text/markdown": to_markdown(thread), "text/html": body}

    def _turns(self) -> Thread:
        return Thread("main", [Turn(self._text(), self._text(), answer=self._one_reply()) for _ in range(2)])

    def _table(self) -> dict[str, str]:
        return table_bundle(("a", "b"), [(self._text()[:200], self._text()[:200]) for _ in range(3)], below="*$*")

    def _one_reply(self) -> Reply:
        reply = Reply(
            text=self._text(), reasoning=self._text(), tool_calls=(), asked_model="m", model=self._text()[:60],
            endpoint="wandb", finish_reason="stop", usage=None, cost=None, seconds=1.0, seconds_to_first=None,
            messages=(),
        )  # fmt: skip
        if self._random.random() < 0.3:
            reply.steps = (ToolStep(ToolCall("1", "f", self._text()), self._text(), True, 0.1, said=self._text()),)
        return reply

    def _text(self) -> str:
        choose = self._random
        text = ""
        for _ in range(choose.randint(0, 3)):
            text += self._piece() + choose.choice(GLUE)
        for _ in range(choose.randint(0, 2)):
            start = choose.randint(0, len(text))
            end = min(len(text), start + choose.randint(0, 5))
            text = text[:start] + choose.choice(GLUE) + text[end:]
        self._used.append(text)
        return text

    def _piece(self) -> str:
        kind = self._random.random()
        if kind < 0.35:
            return self._random.choice(HOSTILE)
        if kind < 0.65:
            opener, closer = self._random.choice(MARKS)
            return opener + self._random.choice(self._formulas) + closer
        return self._random.choice([self._ordinary, GLUE, WORDS][self._random.randrange(3)])
