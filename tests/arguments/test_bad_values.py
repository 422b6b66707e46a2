"""Every option of every magic refuses a value that it does not accept, with an explanation, before anything is sent."""

from __future__ import annotations

import pytest

from wandb_inference_magic.arguments.line import Option, Options, read_line
from wandb_inference_magic.arguments.reference import MAGICS
from wandb_inference_magic.catalog.thinking import THINK
from wandb_inference_magic.config.settings import WandbInference
from wandb_inference_magic.errors import InferenceError

# Invalid texts for each kind of value. The tests below fail for a kind that is missing here.
BAD: dict[str, list[str]] = {
    "NUMBER": ["x", "''", "nan", "inf", "-1", "2.5", "1,5", "0x1"],
    "N": ["x", "''", "1.5", "nan", "1e99"],
    "TOKENS": ["x", "''", "-1", "128g", "128k+", "1e3", "k"],
    "price|context|name|newest": ["''", "cost", "Price"],
    "SECONDS": ["x", "0", "-1", "nan", "inf", "''"],
    "TEXT": ["''", "'  '"],
    "NAME": ["1x", "a-b", "a.b", "''", "'a b'", "class", "get_ipython", "In", "Ｉｎ"],
    "NAME=VALUE": ["x", "=1", "1x=2", "model=x", "messages=[]", "stream=true", "''", "a=True", "a={b", '"a=[1"'],
    "ID": ["''", "'a\tb'", "wandb-artifact:///x", "wandb-artifact://a/b/c"],
    "TEAM/PROJECT": ["team", "a/b/c", "'a b/c'", "''", "/"],
    "wandb|local|URL": ["wandbb", "ftp://x", "http://", "'http://a b'", "http://u:p@h/v1", "''"],
    "markdown|text|json|html": ["md", "''", "Markdown"],
    "first|all": ["''", "none", "ALL"],
    "show|clear": ["''", "empty", "Show"],
    "record|replay|auto|off": ["''", "play", "Record"],
    "recorded|at-once": ["''", "fast"],
    "TEAM/PROJECT|off": ["team", "a/b/c", "''", "on"],
    "USD": ["''", "free", "-1", "nan"],
    "COLUMN": ["''"],
    "FIELD": ["''"],
    "SCORER": ["''"],
    "|".join(THINK): ["''", "hard", "On"],
}
# These accept any text. Whether it names something is checked later, when it is looked up.
ANY_TEXT = (
    "--thread",
    "--fork",
    "--schema",
    "--tools",
    "--image",
    "--models-like",
    "--export",
    "--import",
    "--budget-file",
    "--cassette",
    "--prompt",
)
DECLARED = tuple(dict.fromkeys(declared for declared, _ in MAGICS.values()))

CASES = [
    (declared, one, bad)
    for declared in DECLARED
    for one in declared.declared
    if one.value is not None
    for bad in (["''"] if one.name in ANY_TEXT else BAD[one.value.name])
]


@pytest.mark.parametrize(("declared", "one", "bad"), CASES, ids=lambda value: getattr(value, "name", None))
def test_a_bad_value_is_refused(declared: type, one: Option, bad: str) -> None:
    for flag in one.flags:
        with pytest.raises(InferenceError) as caught:
            read_line(declared, "%magic", f"{flag}{' ' if one.alone is None else '='}{bad}", text="rest")
        assert caught.value.cause == "option"
        assert one.name in str(caught.value)
        assert caught.value.remedy


@pytest.mark.parametrize("declared", DECLARED)
def test_an_option_refuses_a_missing_and_an_unexpected_value(declared: type[Options]) -> None:
    for one in declared.declared:
        if one.alone is not None:
            continue
        with pytest.raises(InferenceError):
            read_line(declared, "%magic", one.name if one.value else f"{one.name}=x", text="rest")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("endpoint", "nowhere"),
        ("project", "team"),
        ("model", "a\tb"),
        ("temperature", 3),
        ("temperature", "hot"),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("timeout", -1),
        ("timeout", float("nan")),
        ("max_retries", 99),
        ("value_tokens", 0),
        ("refresh_per_second", 0),
        ("refresh_per_second", 60),
        ("allow_images_from", [3]),
        ("allow_images_from", ["https://a.org"]),
        ("allow_images_from", ["a.org", "b.org:443"]),
        ("allow_images_from", ["a.org/"]),
        ("allow_images_from", ["*.org"]),
        ("catalog", "yes"),
        ("debug", 3),
    ],
)
def test_a_setting_refuses_an_invalid_value_and_stays_as_it_was(name: str, bad: object) -> None:
    settings = WandbInference()
    before = settings.resolve({})
    with pytest.raises(InferenceError, match=name):
        settings.set(**{name: bad})
    assert settings.resolve({}) == before
