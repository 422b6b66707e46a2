"""Tab completion of the magics: options and their values, model ids, thread names, the notebook's variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from .errors import InferenceError
from .line import Option, declared_options
from .reference import PAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from .session import Session

# A list of models that is not there yet may keep the Tab key waiting so long, and no longer.
WAIT_SECONDS: Final = 0.08
# Before IPython's own, which would import and evaluate to find what is not theirs.
PRIORITY: Final = 1000
IPYTHONS_OWN: Final = ("In", "Out", "exit", "quit", "get_ipython", "open")
MATCHER_ID: Final = "wandb_inference_magic"

_MAGIC: Final = re.compile(
    rf"\s*(?:[\w\s,.\[\]'\"]+=\s*)?(?P<percent>%%?)(?P<name>{'|'.join(PAGES)})\s(?P<rest>.*)", re.DOTALL
)
_WORD: Final = re.compile(r"\"[^\"]*\"|'[^']*'|\{\{.*?\}\}\S*|\S+")


@dataclass(frozen=True, slots=True)
class _Typed:
    """A magic's line up to the cursor: the words before the one under it, and that one as far as it is typed."""

    magic: str
    is_cell: bool
    words: Sequence[str]
    fragment: str


def install(shell: InteractiveShell, session: Session) -> None:
    """Add the matcher to the shell's completer."""

    @context_matcher(priority=PRIORITY, identifier=MATCHER_ID)  # type: ignore[misc,untyped-decorator,unused-ignore]
    def matcher(context: CompletionContext) -> dict[str, Any]:
        return _match(shell, session, context)

    shell.Completer.custom_matchers.append(matcher)


def uninstall(shell: InteractiveShell) -> None:
    """Take the matcher away again."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != MATCHER_ID]


def _match(shell: InteractiveShell, session: Session, context: CompletionContext) -> dict[str, Any]:
    typed = _typed(context)
    if typed is None:
        return {"completions": []}
    fragment, found = _completions(typed, _Sources(shell.user_ns, session))
    return {
        "completions": [SimpleCompletion(text, type="wandb") for text in found],
        "matched_fragment": fragment,
        "suppress": True,
        "ordered": True,
    }


def _typed(context: CompletionContext) -> _Typed | None:
    """Read the line of one of our magics up to the cursor; None where there is none, or in a cell magic's body."""
    lines = context.full_text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    found = _MAGIC.fullmatch(context.text_until_cursor)
    if found is None or (lines[first].lstrip().startswith("%%") and context.cursor_line != first):
        return None
    rest = found["rest"]
    fragment = re.search(r"\S*$", rest)
    assert fragment is not None
    words = _WORD.findall(rest[: fragment.start()])
    return _Typed(found["name"], found["percent"] == "%%", words, fragment[0])


def _completions(typed: _Typed, sources: _Sources) -> tuple[str, list[str]]:
    """Return the fragment that is completed, and what with."""
    options = {flag: one for one in declared_options(PAGES[typed.magic].options) for flag in one.flags}
    given, awaited, plain = _walk(typed.words, options)
    if awaited is not None:
        return sources.values(awaited, typed.fragment)
    is_text = typed.magic == "wbchat" and not typed.is_cell
    if plain and is_text:
        return typed.fragment, []
    flag, equals, part = typed.fragment.partition("=")
    if equals and flag in options:
        return sources.values(options[flag], part)
    if typed.magic == "wbthread" and not plain and not typed.fragment.startswith("-"):
        return typed.fragment, _starting(typed.fragment, sources.threads())
    if not typed.fragment.startswith("-") and (typed.fragment or is_text):
        return typed.fragment, []
    left = (flag for flag, one in options.items() if one.repeats or one.name not in given)
    return typed.fragment, sorted(_starting(typed.fragment, left), key=lambda one: (not one.startswith("--"), one))


def _walk(words: Sequence[str], options: Mapping[str, Option]) -> tuple[set[str], Option | None, int]:
    """Return the options given, the one that still awaits its value, and how many other words there are."""
    given: set[str] = set()
    awaited: Option | None = None
    plain = 0
    for word in words:
        if awaited is not None:
            awaited = None
            continue
        flag, equals, _ = word.partition("=")
        one = options.get(flag)
        if one is None:
            plain += 1
            continue
        given.add(one.name)
        if one.value is not None and one.alone is None and not equals:
            awaited = one
    return given, awaited, plain


class _Sources:
    """Where the values come from that options take."""

    def __init__(self, names: Mapping[str, Any], session: Session) -> None:
        self._names = names
        self._session = session

    def values(self, one: Option, fragment: str) -> tuple[str, list[str]]:
        """Return the fragment that is completed, and the values of an option that complete it."""
        value = one.value
        if value is None:
            return fragment, []
        if value.words:
            return fragment, _starting(fragment, value.words)
        if value.completes == "model":
            return fragment, _holding(fragment, self._models())
        if value.completes == "thread":
            return fragment, _starting(fragment, self.threads())
        if value.completes == "callable":
            # Several stand in one word, with commas between.
            fragment = fragment.rpartition(",")[2]
        fits = _FITS.get(value.completes)
        return fragment, _starting(fragment, self._variables(fits)) if fits else []

    def threads(self) -> list[str]:
        return sorted({*self._session.threads, self._session.current_thread})

    def _variables(self, fits: Callable[[Any], bool]) -> list[str]:
        hidden = {"In", "Out", "exit", "quit", "get_ipython", "open"}
        return sorted(
            name
            for name, value in list(self._names.items())
            if not name.startswith("_") and name not in hidden and fits(value)
        )

    def _models(self) -> list[str]:
        try:
            endpoint = self._session.endpoint(ask=False, start=False)
        except InferenceError:
            # A setting is not usable: the chat says so.
            return []
        return [model.id for model in self._session.catalog_within(WAIT_SECONDS, endpoint).models]


def _is_any(_value: object) -> bool:
    return True


_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "variable": _is_any,
    "value": _is_any,
    "callable": lambda value: callable(value) and not isinstance(value, type),
    "type": lambda value: isinstance(value, type | dict) or hasattr(value, "__origin__"),
}


def _starting(fragment: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(fragment)]


def _holding(fragment: str, ids: Sequence[str]) -> list[str]:
    """Return the ids that begin with a fragment, or else hold it, whatever the case."""
    return _starting(fragment, ids) or [one for one in ids if fragment.lower() in one.lower()]
