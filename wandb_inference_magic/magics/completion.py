"""Tab completion on the line of a magic: its options and their values.

The options are imported on the first Tab, so that loading is fast.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from keyword import iskeyword
from threading import Thread
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from IPython.core.completer import SimpleCompletion, context_matcher
from IPython.core.prefilter import is_shadowed

from ..concurrency import HAS_THREADS
from ..config import WANDB_URL, Endpoint, is_wandb, notebook_secrets
from ..errors import InferenceError
from ..text import bare, leading_name
from .transformers import find_prompt

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

    from ..arguments import Options, TextForm, Value
    from ..session import Session

# IPython's SimpleMatcherResult. A type checker for Python 3.10 cannot see that some of its keys are optional.
Result: TypeAlias = "dict[str, Any]"

# The name used in `IPCompleter.disable_matchers`.
IDENTIFIER: Final = "wandb_inference_magic"
# Higher than IPython's own matchers, which need not run when they are suppressed.
_PRIORITY: Final = 200
# In seconds. A completion that takes longer than a tenth of a second feels stuck.
_PATIENCE: Final = 0.08

# Another magic may run the line, such as %time. `%` may be left out where IPython adds it.
_LINE: Final = re.compile(
    r"\s*(?:%(?!wb)\w+[ \t]+(?:-\w+(?:[ \t]*\d+)?[ \t]+)*)?(?P<target>\w[\w.,\[\]'\" \t]*=[ \t]*)?"
    r"(?P<magic>%{0,2}wb[a-z]+)[ \t](?P<rest>.*)"
)


class _Claim(list[SimpleCompletion]):
    """No completions, but with a length: IPython suppresses other matchers only for a result that has one."""

    def __len__(self) -> int:
        return 1


def install(shell: InteractiveShell, session: Session) -> None:
    """Add the matcher to the shell's completer. Its existing matchers are not changed."""
    offers = Offers(shell, session)

    @context_matcher(identifier=IDENTIFIER, priority=_PRIORITY)  # type: ignore[untyped-decorator,unused-ignore]
    def complete_magic(context: CompletionContext) -> Result:
        return offers.at(context.full_text, context.cursor_line, context.cursor_position)

    shell.Completer.custom_matchers.append(complete_magic)  # type: ignore[union-attr,unused-ignore]


def uninstall(shell: InteractiveShell) -> None:
    """Remove the matcher."""
    matchers = shell.Completer.custom_matchers  # type: ignore[union-attr,unused-ignore]
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != IDENTIFIER]


class Offers:
    """Completions at the cursor, from what the shell and the session know.

    Parameters
    ----------
    shell : InteractiveShell
        Its user variables are inspected; no code of theirs is run.
    session : Session
        Source of the threads and models.
    """

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        self._shell = shell
        self._session = session
        self._fetching: Thread | None = None

    def at(self, code: str, line: int, column: int) -> Result:
        """Return the completions at a line and column of a cell. If there are none, IPython's own apply."""
        found = self._magic_at(code, line, column)
        if found is None:
            return _nothing()
        from ..arguments import read_unfinished

        options, text, typed = found
        unfinished = read_unfinished(options, typed, text=text)
        if unfinished is None:
            return _nothing()
        word = unfinished.word
        first = None if unfinished.words else options.first
        if unfinished.value_of is not None:
            value = unfinished.value_of.value
        elif word.startswith("-") or (not word and first is None):
            flags = _matching([flag for one in unfinished.left for flag in one.flags], word)
            return _result(word, dict.fromkeys(flags), "param")
        elif first is None and text != "expression":
            return _result(word, {}, "value")
        else:
            value = first
        return _nothing() if value is None else self._values(value, word, unfinished.words)

    def _values(self, value: Value, word: str, words: Sequence[str]) -> Result:
        names = self._columns(words) if value.completes == "column" else self._names(value)
        if names is None:
            return _nothing()
        quote, fragment = (word[0], word[1:]) if word[:1] in ("'", '"') else ("", word)
        if value.completes == "callable":
            *before, fragment = fragment.split(",")
            names = {name: facts for name, facts in names.items() if name not in before}
        # A dash begins an option, so the value before it is missing.
        matching = [] if word.startswith("-") else _matching(names, fragment)
        written = {text: names[name] for name in matching if (text := _written(name, quote)) is not None}
        # An image may be a file, and a frame an expression, in which IPython completes keys and attributes.
        is_expression = value.completes == "value" or (value.completes == "variable" and re.search(r"\W", word))
        if not written and is_expression:
            return _nothing()
        return _result(fragment, written, value.completes or "value")

    def _names(self, value: Value) -> Mapping[str, str | None] | None:
        """Return the possible values, each with the facts that are shown beside it, if there are any.

        None where IPython's own completions apply: text and files.
        """
        if value.choices:
            return dict.fromkeys(value.choices)
        if value.completes in ("text", "file"):
            return None
        if value.completes == "":
            return {}
        if value.completes == "job":
            return {str(job.id): job.what for job in self._session.jobs}
        if value.completes == "thread":
            return dict.fromkeys((self._session.threads.current, *self._session.threads))
        if value.completes == "model":
            return self._models()
        return dict.fromkeys(self._variables(value.completes))

    def _columns(self, words: Sequence[str]) -> Mapping[str, str | None]:
        """Return the columns of the frame that the words of a line name, or of the one that they begin with."""
        from ..prompts import columns_of

        value = self._shell.user_ns.get(leading_name(" ".join(words)))
        # Not isinstance: see `_is_kind`.
        is_frame = any(kind.__name__ == "DataFrame" for kind in type(value).__mro__)
        return dict.fromkeys(columns_of(value) if is_frame else ())

    def _variables(self, kind: str) -> Iterator[str]:
        hidden = self._shell.user_ns_hidden
        for name, value in list(self._shell.user_ns.items()):
            if _is_name(name) and value is not hidden.get(name, hidden) and _is_kind(kind, value):
                yield name

    # Models

    def _models(self) -> Mapping[str, str | None]:
        """Return the ids, each with the facts shown beside it: `131k · $0.03/0.13`."""
        from ..catalog import format_short

        try:
            endpoint = self._endpoint()
        except InferenceError:
            # The magic itself reports an invalid setting.
            return {}
        if endpoint.is_local:
            return {endpoint.default_model: "free"}
        catalog = self._session.models.known(endpoint)
        if HAS_THREADS and not catalog.live and (not endpoint.is_wandb or endpoint.key is not None):
            self._fetch().join(_PATIENCE)
            catalog = self._session.models.known(endpoint)
        return {model.id: format_short(model) for model in catalog.models}

    def _endpoint(self) -> Endpoint:
        """Return the current endpoint without prompting the user.

        Reading a notebook service's secrets may prompt the user or send a network request. They are not read
        here, so W&B's models are those known so far.
        """
        name = self._session.settings.resolve().endpoint
        url = WANDB_URL if name in ("auto", "wandb") else name
        if is_wandb(url) and notebook_secrets(os.environ):
            return Endpoint("wandb", url)
        from ..session import Command

        return Command(self._session, dry=True).endpoint

    def _fetch(self) -> Thread:
        """Return the thread that fetches the endpoint's models into the session. Start it unless one is running."""
        if self._fetching is None or not self._fetching.is_alive():
            self._fetching = Thread(target=self._fill, name="wandb-inference-models", daemon=True)
            self._fetching.start()
        return self._fetching

    def _fill(self) -> None:
        from ..session import Command

        try:
            command, models = Command(self._session, dry=True), self._session.models
            # Returns at once if the list was fetched before.
            if models.failure(command.endpoint) is None:
                models.catalog(command)
        except Exception:  # noqa: BLE001 - the list was not requested yet: a chat reports it
            return

    # The line

    def _magic_at(self, code: str, line: int, column: int) -> tuple[type[Options], TextForm, str] | None:
        """Return the magic on the cursor's line, as in `MAGICS`, and the text between its name and the cursor."""
        lines = code.split("\n")
        prompt = find_prompt(lines)
        first = line
        while first > 0 and lines[first - 1].endswith("\\"):
            first -= 1
        typed = " ".join([*(one[:-1] for one in lines[first:line]), lines[line][:column]])
        found = _LINE.fullmatch(typed)
        # Below the line of a cell magic is its prompt.
        if found is None or (prompt is not None and first > prompt[1]):
            return None
        name = found["magic"]
        if name.startswith("%%") and (found["target"] or prompt is None or first < prompt[1]):
            return None
        if not name.startswith("%"):
            # IPython adds the sign, unless a variable has the name.
            if found["target"] or not self._shell.automagic or is_shadowed(name, self._shell):  # type: ignore[no-untyped-call,unused-ignore]
                return None
            name = f"%{name}"
        from ..arguments import MAGICS

        return (*MAGICS[name], found["rest"]) if name in MAGICS else None


def _matching(names: Iterable[str], fragment: str) -> list[str]:
    """Return the names that begin with the fragment, or else those that contain it, ignoring case."""
    folded = fragment.casefold()
    matching = [name for name in names if folded in name.casefold()]
    return [name for name in matching if name.casefold().startswith(folded)] or matching


def _written(name: str, quote: str) -> str | None:
    """Return a name as written on the line, after `quote` if one is open. Return None if it cannot be written."""
    if bare(name) != name:
        # It is left out when the line is read.
        return None
    if quote:
        return None if quote in name else name
    if not re.search(r"[\s'\"]|^-|^$", name):
        return name
    return next((f"{mark}{name}{mark}" for mark in ('"', "'") if mark not in name), None)


def _is_name(name: object) -> bool:
    # The namespace is a dict that user code can change, so a key may be of any type.
    return isinstance(name, str) and name.isidentifier() and not name.startswith("_") and not iskeyword(name)


def _is_kind(kind: str, value: object) -> bool:
    if kind == "callable":
        return callable(value) and not issubclass(type(value), type | GenericAlias)
    # Not isinstance: it reads the value's `__class__`, which can run the user's code.
    # `list[Person]` is not an instance of `type`, so GenericAlias is listed as well.
    return kind != "type" or issubclass(type(value), type | dict | GenericAlias)


def _result(fragment: str, texts: Mapping[str, str | None], kind: str) -> Result:
    """Return completions, each with the facts to show beside it, or with the kind of all where there are none."""
    # JupyterLab breaks the facts at a space, and draws the second line over the next text.
    shown = {text: (facts or kind).replace(" ", "\N{NO-BREAK SPACE}") for text, facts in texts.items()}
    return {
        "completions": [SimpleCompletion(text, type=facts) for text, facts in shown.items()] or _Claim(),
        "matched_fragment": fragment,
        "suppress": True,
        "ordered": True,
    }


def _nothing() -> Result:
    return {"completions": [], "suppress": False}
