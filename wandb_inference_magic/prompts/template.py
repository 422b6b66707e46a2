"""Render a cell's text, a template over the notebook's values, once into a message's content."""

from __future__ import annotations

import builtins
import inspect
import json
import re
import traceback
from ast import literal_eval
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ..errors import InferenceError, describe_exception, near_names, quoted, shortened, users_failures, visible
from ..libraries import check_libraries
from ..messages import texts_of
from ..text import advice_on, is_blank, is_missing, leading_name, python_name, same_name
from .describe_frames import columns_of, labels_of
from .files import no_image_file
from .images import Image, TextOfImages, image_inside, with_images
from .value_spans import CutText, MarkedText, ValueText, Whole, cut, cut_values, image_place, joined_with_images
from .values import image_of, require_image, to_prompt, whole_prompt

if TYPE_CHECKING:
    from jinja2 import Environment, Template as CompiledTemplate, nodes

    from ..messages import Content

T = TypeVar("T")

# Jinja2 syntax. LaTeX uses `{#1}`, `{#}` and `{%` at the end of a line: these are text, and so is a comment or a block
# that is not closed. Doubled braces are always a template.
_PIECE: Final = re.compile(
    r"""
      \{\{ (?: .*? \}\} )?
    | \{% [-+]? \s* raw \s* -? %\} .*? \{% [-+]? \s* endraw \s* [-+]? %\}
    | \{\# (?! \#*[\d}] ) .*? \#\}
    | \{% [-+]? [ \t]* [a-z]+ \b [^\n]*? %\}
    | \{% [-+]? \s* (?: block | call | elif | else | filter | for | if | macro | raw | set | with | end[a-z]+ ) \b
      .*? %\}
    | (?P<text> \{[\#%] )
    """,
    re.DOTALL | re.VERBOSE,
)
THE_PROMPT: Final = "the prompt"
OF_NONE: Final = "Check why it is None. Where values may be missing, write {}, which is then empty."
IN_A_LINE: Final = "To keep braces as they are: {% raw %} ... {% endraw %}."
AS_IT_STANDS: Final = "To send braces as they are: --raw, or {% raw %} ... {% endraw %}."
COMPUTE: Final = "Braces take simple expressions only: compute the value in a cell, and write {{ name }}."
SPACED: Final = 'A column whose name has spaces or signs is {{ row["its name"] }}.'
_UNEXPECTED: Final = re.compile(r"unexpected char (.+) at \d+")
# What Jinja2 says of two words, and of a sign.
_OF_NAMES: Final = ("'end of print statement'", "unexpected char")
DEFINE: Final = "If it is a variable, run the cell that defines it first."
IS_COLUMN: Final = "is a column of"
AN_IMAGE: Final = "Give a figure, a PIL image, or the path of an image file that is there."
# The lists of cells and of their results: they are no near names.
_OF_IPYTHON: Final = ("In", "Out")
# The most columns or keys named in a message.
MAX_LISTED: Final = 12
_TEMPLATE: Final = "<template>"
# Jinja2 takes these names for the constants, whatever is called so.
_CONSTANTS: Final = {"none": None, "None": None, "true": True, "True": True, "false": False, "False": False}
# Marks text that Jinja2 leaves as it is. With `+` it keeps the blanks and the line end beside the mark.
_AS_TEXT: Final = "{{%+ raw %}}{}{{%+ endraw +%}}"


def is_template(text: str) -> bool:
    """Return whether a text contains Jinja2 syntax. If not, it is sent unchanged."""
    return any(piece["text"] is None for piece in _PIECE.finditer(text))


def render(text: str, names: Mapping[str, Any], *, tokens: int | None = None, what: str = THE_PROMPT) -> Content:
    """Render a template once. The result is never rendered again.

    Parameters
    ----------
    text : str
        A Jinja2 template. A text without an expression, a block or a comment is returned unchanged.
    names : mapping
        The notebook's names. Python's builtins are available too.
    tokens : int, optional
        Each value is cut to about this many tokens, except in `{{ value | whole }}`. By default none is cut here, but
        `fit_values` can cut them afterwards.
    what : str
        A name for the template in messages.

    Returns
    -------
    Content
        A text, or a list of text and image parts if a value is an image. The texts know the places of their values.

    Raises
    ------
    InferenceError
        For an undefined name, a syntax error or an expression that raises, with the line number.
    """
    if not is_template(text):
        return text
    return Template(text, tokens=tokens, what=what).render(names)


class Template:
    """A template that can be rendered many times, by one thread at a time. See `render`.

    `has_row` says that `row` will be one of its names, for the advice in messages.
    """

    def __init__(self, text: str, *, tokens: int | None = None, what: str = THE_PROMPT, has_row: bool = False) -> None:
        self._tokens = tokens
        self._what = what
        self._has_row = has_row
        # The images of one rendering, and the number of values that were cut in it.
        self._images: list[Image] = []
        self._cuts = 0
        self._environment = _environment(self._piece)
        self._text = _PIECE.sub(lambda piece: _AS_TEXT.format(piece[0]) if piece["text"] else piece[0], text)
        self._remedy = AS_IT_STANDS if what.startswith(THE_PROMPT) else IN_A_LINE
        self._compiled = _evaluated(self._compile, {}, what, self._remedy, has_row=has_row)

    def _compile(self) -> CompiledTemplate:
        from jinja2 import nodes

        # Python's functions and types are there to be called and compared. Anywhere else, `type` is a column or a
        # variable that is not defined.
        inner = {
            name.name for node in self._tree.find_all((nodes.Call, nodes.Compare)) for name in node.find_all(nodes.Name)
        }
        # Each rendering copies the globals.
        self._environment.globals = {
            name: value
            for name, value in _globals().items()
            if name in self.names and (name in inner or not callable(value))
        }
        return self._environment.from_string(self._text)

    @cached_property
    def _tree(self) -> nodes.Template:
        # Names that an environment has as globals count as declared: this one has none.
        return _environment(str).parse(self._text)

    @cached_property
    def names(self) -> set[str]:
        """The names that the template uses but does not define, those of Python's builtins included."""
        from jinja2.meta import find_undeclared_variables

        from .jinja import SELF

        found = find_undeclared_variables(self._tree)
        return {"self" if name == SELF else name for name in found}

    def names_among(self, names: Collection[str]) -> dict[str, str]:
        """Return those of its names that are among columns, with what they are there: Unicode has several forms."""
        found = {name: same_name(name, names, python_name) for name in self.names}
        return {name: known for name, known in found.items() if known is not None}

    @property
    def mentioned(self) -> set[str]:
        """The names, attributes and texts in its expressions: each may be that of a column."""
        from jinja2 import nodes

        attributes = {one.attr for one in self._tree.find_all(nodes.Getattr)}
        texts = {one.value for one in self._tree.find_all(nodes.Const) if isinstance(one.value, str)}
        return self.names | attributes | texts

    @cached_property
    def used_whole(self) -> set[str]:
        """The names that it uses by themselves: see `names_used_whole`."""
        from .jinja import names_used_whole

        return names_used_whole(self._tree) & self.names

    @property
    def constants(self) -> set[str]:
        """The constants that it writes by themselves, in each of their spellings."""
        from jinja2 import nodes

        written = [one for output in self._tree.find_all(nodes.Output) for one in output.nodes]
        values = [one.value for one in written if isinstance(one, nodes.Const)]
        return {name for name, constant in _CONSTANTS.items() if any(value is constant for value in values)}

    def render(self, names: Mapping[str, Any]) -> Content:
        """Render the template with these names."""
        self._images, self._cuts = [], 0
        # Only the names that it uses: a notebook has many, and the template would copy them all.
        used = {name: names[known] for name in self.names if (known := _known_as(name, names)) is not None}
        pieces = _evaluated(
            lambda: [*self._compiled.generate(_passed(used))], names, self._what, self._remedy, has_row=self._has_row
        )
        parts = [image.part for image in self._images]
        content = _evaluated(lambda: joined_with_images(pieces, parts), {}, self._what)
        for text in texts_of(content)[:1]:
            # There is a text where a value was cut.
            cast("MarkedText", text).cut_values = self._cuts
        return content

    def _place(self, image: Image) -> str:
        self._images.append(image)
        return image_place(len(self._images) - 1)

    def _piece(self, value: Any) -> Any:
        """Return a rendered value as text."""
        if isinstance(value, self._environment.undefined):
            return str(value)
        if isinstance(value, MarkedText):
            # A block that was kept for later.
            return value
        is_whole = isinstance(value, Whole)
        value = value.value if is_whole else value
        if is_missing(value):
            return ""
        shown = whole_prompt(value) if is_whole else to_prompt(value)
        if isinstance(shown, Image):
            return self._place(shown)
        if isinstance(shown, TextOfImages):
            if not shown.in_place:
                raise image_inside(value)
            return "".join(map(self._place, shown.images))
        short = shown if is_whole or self._tokens is None else cut(shown, self._tokens)
        self._cuts += short is not shown or isinstance(shown, CutText)
        return str.__str__(short) if is_whole else ValueText(short)


def render_text(text: str, names: Mapping[str, Any], *, tokens: int | None, what: str) -> str:
    """Render a template whose result must be text, such as an option's value.

    It is a str, for example for a path: only a system prompt, of which a value was cut, still says so.
    """
    content = render(text, names, tokens=tokens, what=what)
    if isinstance(content, str):
        return content if cut_values(content) else str.__str__(content)
    is_its_option = what.endswith("--image")
    remedy = "Write it without braces." if is_its_option else "Put it into the prompt, or give it with --image."
    raise InferenceError(f"There is an image in {what}.", remedy=remedy)


def read_image(expression: str, names: Mapping[str, Any]) -> Image:
    """Return the image given by a path, a URL or an expression over the notebook's names.

    Raises
    ------
    InferenceError
        If it is not an image.
    """
    if (image := image_of(expression)) is not None:
        return image
    problem = no_image_file(expression)
    if problem is not None and _known_as(leading_name(expression), names) is None:
        raise problem
    what = f"--image {shortened(expression)}"
    try:
        value = _evaluated(lambda: _value_of(expression, names), names, what, remedy=AN_IMAGE)
        if (image := _evaluated(lambda: image_of(value), names, what, remedy=AN_IMAGE)) is not None:
            return image
    except InferenceError:
        if problem is None:
            raise
        raise problem from None
    if isinstance(value, str) and (problem := no_image_file(value)) is not None:
        raise problem
    raise _refused(f"{what} is not an image, but of type {type(value).__name__}", AN_IMAGE)


def _value_of(expression: str, names: Mapping[str, Any]) -> Any:
    from jinja2 import Undefined

    environment = _environment(str)
    environment.globals = _globals()
    root = leading_name(expression)
    used = {**names, root: names[known]} if (known := _known_as(root, names)) is not None else names
    value = environment.compile_expression(expression, undefined_to_none=False)(_passed(used))
    # An undefined name raises only when it is used.
    return str(value) if isinstance(value, Undefined) else value


def _known_as(name: str, names: Mapping[str, Any]) -> str | None:
    """Return what a name is called in a namespace, where Python has its names in one form; None if it is not there.

    It is looked up for each row of a map, among all names of a notebook: these are not searched.
    """
    return next((one for one in (name, python_name(name)) if one in names), None)


def _passed(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return names as a compiled template has them."""
    from .jinja import SELF

    return {SELF if name == "self" else name: value for name, value in names.items()}


def prompt_with(text: str, images: Iterable[Any]) -> Content:
    """Return the prompt that Python code gives as a text and images.

    Raises
    ------
    InferenceError
        If it is empty and without an image, or if one of the images is none.
    """
    given = [require_image(one) for one in images]
    if not given and is_blank(text):
        raise _refused("The prompt is empty", "Give a text, or an image.")
    return with_images(text, given)


def refuse_empty(content: Content) -> None:
    """Raise if a rendered prompt has neither text nor an image.

    Raises
    ------
    InferenceError
    """
    if isinstance(content, str) and is_blank(content):
        raise _refused(
            "The prompt is empty once its template is rendered",
            "Check the values in it; a comment `{# ... #}` is not sent.",
        )


def _environment(finalize: Callable[[Any], Any]) -> Environment:
    check_libraries("jinja2")
    # Jinja2 is slow to import, and a prompt without a template does not need it.
    from .jinja import PromptEnvironment

    environment = PromptEnvironment(
        finalize=finalize,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # With optimization, constants are rendered when the template is compiled, which changes the order of images.
        optimized=False,
    )
    environment.globals = {}
    environment.filters["whole"] = Whole
    return environment


def _globals() -> dict[str, Any]:
    """Return the names that every template has besides its own."""
    from jinja2.defaults import DEFAULT_NAMESPACE

    return {**vars(builtins), **DEFAULT_NAMESPACE}


def _evaluated(
    evaluate: Callable[[], T], names: Mapping[str, Any], what: str, remedy: str = AS_IT_STANDS, *, has_row: bool = False
) -> T:
    """Return the result of `evaluate`. Any exception is reported as one InferenceError that names its location."""
    from jinja2 import TemplateSyntaxError, UndefinedError

    try:
        return evaluate()
    except TemplateSyntaxError as error:
        where = f"Line {error.lineno} of {what}" if remedy in (AS_IT_STANDS, IN_A_LINE) else f"In {what}"
        is_name = has_row and any(one in str(error.message) for one in _OF_NAMES)
        odd = _UNEXPECTED.match(str(error.message))
        help = (odd and advice_on(literal_eval(odd[1]))) or COMPUTE
        help = f"{help} {SPACED}" if is_name else help
        raise _refused(f"{where}: {error.message}", f"{help} {remedy}") from None
    except UndefinedError as error:
        message = str(error).replace("self_of_method", "self")
        owner = getattr(error, "owner", None)
        if isinstance(owner, Mapping) and type(owner).__module__.startswith(f"{__package__.partition('.')[0]}."):
            message = f"the row has no column {getattr(error, 'name', '')!r}"
        help = how_to_define(getattr(error, "name", None), names, owner, has_row=has_row)
        if message.startswith("'None' has no attribute"):
            help = OF_NONE.format(f"[{getattr(error, 'name', '')!r}]")
        if IS_COLUMN in help and what.startswith("the option"):
            help = (
                f"{help} For another value in each row of a map, write it in the cell's text: an option has one value."
            )
        help = f"{help} {remedy}".strip() if help in ("", DEFINE) else help
        raise _refused(f"{_line(error, what)}: {message}", help) from None
    except InferenceError as error:
        raise _refused(f"{_line(error, what)}: {error.what} {error.why}".strip(), error.remedy) from None
    except users_failures() as error:
        why = quoted(describe_exception(error))
        raise _refused(f"{_line(error, what)}: an expression raised {why}", "Try it in a cell of its own.") from None


def how_to_define(name: Any, names: Mapping[str, Any], owner: Any = None, *, has_row: bool = False) -> str:
    """Return what to do about a name that is undefined among `names`, or not in `owner`; empty if nothing is known."""
    if not isinstance(name, str):
        return ""
    if owner is not None:
        labels = labels_of(owner)
        near = labels or (dir(owner) if type(owner).__module__ != "builtins" else [])
        call = f"Write {name}()." if inspect.isroutine(getattr(owner, name, None)) else ""
        others = "" if call else _nearest(name, near, in_row=has_row and owner is names.get("row"))
        return others or f"{call} {_listed('It has', labels)}".strip()
    if not has_row and (message := _column_of(name, names, least=1)):
        return message
    known = [one for one in names if not one.startswith("_") and one not in _OF_IPYTHON]
    if message := _nearest(name, known, in_row=has_row):
        return message
    if has_row:
        return f"{_listed('The columns are', labels_of(names['row']))} {DEFINE}"
    return _column_of(name, names, least=0.6) or DEFINE


def _nearest(name: str, known: Iterable[str], *, in_row: bool) -> str:
    """Return the names that were probably meant, and how a template writes them where that differs."""
    near = near_names(name, known)
    unlike = [written for one in near if (written := in_template(one)) != one] if in_row else ()
    message = f"Did you mean {' or '.join(map(visible, near))}?" if near else ""
    return f"{message} Write {' or '.join(f'{{{{ {one} }}}}' for one in unlike)}." if unlike else message


def in_template(name: str) -> str:
    """Return how a template writes a column of its row: by its name, or as a part of `row` if Jinja2 takes no such."""
    is_name = name.isidentifier() and not iskeyword(name) and name.lower() not in ("true", "false", "none")
    return name if is_name else f"row[{json.dumps(name, ensure_ascii=False)}]"


def _column_of(name: str, names: Mapping[str, Any], *, least: float) -> str:
    """Return how a column like `name` of one of the frames in `names` is written; empty if there is none."""
    for owner, value in list(names.items()):
        if not owner.startswith("_") and (columns := get_close_matches(name, columns_of(value), n=1, cutoff=least)):
            written = f"{owner}.{columns[0]}" if columns[0].isidentifier() else f"{owner}[{columns[0]!r}]"
            return f"{shortened(columns[0])} {IS_COLUMN} {owner}: write {written}."
    return ""


def _listed(head: str, labels: Sequence[str]) -> str:
    if not labels:
        return ""
    more = ", ..." if len(labels) > MAX_LISTED else ""
    # The name of a column of several levels has commas.
    shown = (f'"{label}"' if "," in label else label for label in map(shortened, labels[:MAX_LISTED]))
    return f"{head} {', '.join(map(visible, shown))}{more}."


def _line(error: BaseException, what: str) -> str:
    """Return the name of the template line that was being rendered."""
    frames = traceback.extract_tb(error.__traceback__)
    # Jinja2 finds the line of the template for an Exception only.
    lines = [one.lineno for one in frames if one.filename == _TEMPLATE and isinstance(error, Exception)]
    # A single expression has one line, but is compiled into a template with more lines.
    return f"Line {lines[-1]} of {what}" if lines and not what.startswith("--") else f"In {what}"


def _refused(problem: str, remedy: str) -> InferenceError:
    return InferenceError(f"{problem.rstrip('.')}. Nothing was sent.", remedy=remedy)
