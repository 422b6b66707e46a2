"""The line of a magic: first options, then text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from wandb_inference_magic.arguments.line import Options, read_line, trailing_options
from wandb_inference_magic.arguments.option_values import PARAMETER
from wandb_inference_magic.arguments.options import ChatOptions, ConfigOptions, MapOptions, ModelsOptions, ThreadOptions
from wandb_inference_magic.arguments.reference import MAGICS, OPTIONS, help_text
from wandb_inference_magic.errors import HelpRequested, InferenceError
from wandb_inference_magic.text.invisible import INVISIBLE, UNSEEN, visible_only

pytestmark = pytest.mark.short


def chat(line: str) -> tuple[ChatOptions, str]:
    return read_line(ChatOptions, "%wbchat", line, text="rest")


def test_options_come_before_the_text() -> None:
    options, text = chat("-t 0.2 --max-tokens=50 what's the -t option for?")
    assert options == ChatOptions(temperature=0.2, max_tokens=50)
    assert text == "what's the -t option for?"


@pytest.mark.parametrize(
    "line",
    ["it's 5 o'clock", '"quoted" words', "a = {b} $c \\d %e", "-5 degrees?", "- a dash", "a -m b", "x\ty  z"],
)
def test_text_is_not_changed(line: str) -> None:
    assert chat(line) == (ChatOptions(), line)


def test_two_dashes_end_the_options() -> None:
    assert chat("--once -- --new is an option") == (ChatOptions(once=True), "--new is an option")


def test_a_line_end_ends_a_reply() -> None:
    assert chat(r"--stop '\n' --stop '\n\n###' hi")[0].stop == ("\n", "\n\n###")
    # A command of LaTeX is none, nor is an escaped backslash.
    assert chat(r"--stop '\newpage' --stop '\\n' hi")[0].stop == (r"\newpage", r"\\n")


def test_the_beginning_of_an_option_is_answered_with_it() -> None:
    for flag, option in (("--end", "--endpoint"), ("--timeo", "--timeout"), ("--budg", "--budget")):
        with pytest.raises(InferenceError, match=f"Did you mean {option}"):
            read_line(ConfigOptions, "%wbconfig", f"{flag} 1")


@pytest.mark.parametrize(
    ("flag", "setting"), [("--temp", "temperature"), ("--max-tokens", "max_tokens"), ("--system", "system")]
)
def test_a_setting_without_an_option_is_set_with_config(flag: str, setting: str) -> None:
    with pytest.raises(InferenceError, match=f"Set it with %config WandbInference.{setting} = "):
        read_line(ConfigOptions, "%wbconfig", f"{flag} 1")


def test_a_name_is_what_python_makes_of_it() -> None:
    given = [chat(f"-o {name}")[0].output for name in ("結果１", "ﾃﾞｰﾀ", "cafe\u0301")]
    assert given == ["結果1", "データ", "caf\u00e9"]
    assert chat("--thread cafe\u0301")[0].thread == chat("--thread caf\u00e9")[0].thread


def test_a_quoted_value_may_contain_spaces() -> None:
    options, text = chat("""-s "You are brief." --stop '"' --stop 'a b' hi""")
    assert (options.system, options.stop, text) == ("You are brief.", ('"', "a b"), "hi")


@pytest.mark.parametrize(
    ("line", "system"),
    [
        (r'-s "Say \"yes\" or no." hi', 'Say "yes" or no.'),
        (r"-s 'It\'s late.' hi", "It's late."),
        (r"-s 'C:\notes\' hi", "C:\\notes\\"),
        (r"-s C:\notes\a.txt hi", r"C:\notes\a.txt"),
        (r"""-s '\"both\"' hi""", r"\"both\""),
    ],
)
def test_a_backslash_makes_the_quote_that_follows_a_part_of_the_text(line: str, system: str) -> None:
    options, text = chat(line)
    assert (options.system, text) == (system, "hi")


@pytest.mark.parametrize("separator", [" ", "="])
@pytest.mark.parametrize(
    "value",
    ['plots["a b"]', "plots['a'][0]", 'figure_of("a", 1)', "plots.first[0]", "photo(1)", "photo.png", 'परिणाम["a b"]'],
)
def test_an_image_may_be_an_expression_with_quotes(separator: str, value: str) -> None:
    options, text = chat(f"--image{separator}{value} -t 1 What is it?")
    assert (options.image, options.temperature, text) == ((value,), 1, "What is it?")


@pytest.mark.parametrize(
    ("line", "system"),
    [
        ("-s {{ who }} hi there", "{{ who }}"),
        ("--system={{ who }} hi there", "{{ who }}"),
        ("-s={{ who['a b'] }}! hi there", "{{ who['a b'] }}!"),
        ("-s {{ who }}-{{ where }} hi there", "{{ who }}-{{ where }}"),
        ("--system=Mr.{{ who }} hi there", "Mr.{{ who }}"),
    ],
)
def test_template_braces_in_a_value_may_contain_spaces(line: str, system: str) -> None:
    assert chat(line) == (ChatOptions(system=system), "hi there")
    assert chat("--param name=a{{ 2 }} hi") == (ChatOptions(param=(("name", "a{{ 2 }}"),)), "hi")


def test_parameters_are_json_or_text() -> None:
    options, _ = chat("""--param top_k=20 --param name=abc --param 'a={"b": [1, 2]}' hi""")
    assert options.param == (("top_k", 20), ("name", "abc"), ("a", {"b": [1, 2]}))


@pytest.mark.parametrize("value", ["abc", "a{b}", "x[0]", 'say "x"', "true-ish", "(1, 2)", "None of it", "-", "", " "])
def test_a_parameter_may_be_any_other_text(value: str) -> None:
    assert chat(f"--param 'name={value}' hi")[0].param == (("name", value),)


def test_a_text_that_begins_like_json_is_given_as_json() -> None:
    assert chat("""--param 'name="{x"' hi""")[0].param == (("name", "{x"),)


@pytest.mark.parametrize(
    "line",
    [
        '--param response_format={"type": "json_object"} hi',
        '--param response_format={"type":"json_object"} hi',
        '--param=response_format={"type": "json_object"} hi',
        "--param response_format={'type': 'json_object'} hi",
        '--param response_format={ "type": "json_object" } hi',
        "--param response_format={",
        "--param 'response_format={type: json_object}' hi",
        """--param 'response_format= {"type": "json_object"]' hi""",
        """--param 'response_format={"type": "json_object"' hi""",
    ],
)
def test_a_value_that_has_lost_its_quotation_marks_is_refused(line: str) -> None:
    with pytest.raises(InferenceError) as caught:
        chat(line)
    assert "the value of response_format looks like JSON, but is not" in caught.value.what
    assert """--param 'response_format={"key": "value"}'""" in caught.value.remedy


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", "[1, NaN]"])
def test_a_number_that_json_does_not_have_is_refused(value: str) -> None:
    with pytest.raises(InferenceError, match=r"the value of x is .*, which is not a JSON number") as caught:
        chat(f"--param 'x={value}' hi")
    assert caught.value.cause == "option"


@pytest.mark.parametrize(
    ("value", "example"), [('["a", "b"]', '["value"]'), ("[1, 2]", '["value"]'), ("[x]", '["value"]')]
)
def test_a_list_that_has_lost_its_quotation_marks_is_refused(value: str, example: str) -> None:
    with pytest.raises(InferenceError) as caught:
        chat(f"--param name={value} hi")
    assert f"--param 'name={example}'" in caught.value.remedy


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("True", True),
        ("False", False),
        ("None", None),
        ("{'enable_thinking': False}", {"enable_thinking": False}),
        ('{"a": True}', {"a": True}),
        ("[None, 1.5]", [None, 1.5]),
        ("""{'a': "it's"}""", {"a": "it's"}),
        ("{'a': (1, 2)}", {"a": [1, 2]}),
        ('{"a": 1,}', {"a": 1}),
    ],
)
def test_pythons_form_of_a_value_is_refused_and_its_json_is_shown(given: str, meant: object) -> None:
    with pytest.raises(InferenceError) as caught:
        PARAMETER.read(f"name={given}")
    (option,) = re.findall(r"--param '.*'(?=\.)", caught.value.remedy)
    # The option that the message shows is accepted.
    assert chat(f"{option} hi") == (ChatOptions(param=(("name", meant),)), "hi")


def test_a_value_may_be_negative() -> None:
    assert chat("--seed -3 hi")[0].seed == -3


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--temprature 1 hi", ["--temprature", "Did you mean --temperature"]),
        ("--temp 1 hi", ["--temp", "Did you mean --temperature"]),
        ("-x hi", ["no option -x"]),
        ("-t 0.1 -t 0.2 hi", ["--temperature is given twice"]),
        ("-t hot hi", ["--temperature", "'hot'", "a number from 0 to 2"]),
        ("-t nan hi", ["a number from 0 to 2"]),
        ("-t 3 hi", ["a number from 0 to 2"]),
        ("--max-tokens 0 hi", ["a whole number above 0"]),
        ("--max-tokens 1.5 hi", ["a whole number above 0"]),
        ("--seed 1" + "0" * 400 + " hi", ["a whole number that fits in 64 bits"]),
        ("-t", ["--temperature needs a value", "a number"]),
        ("-t --new hi", ["--temperature needs a value"]),
        ("--new=yes hi", ["--new takes no value"]),
        ("--key abc hi", ["no option --key, and no key is accepted in a cell", "%wbconfig --key alone"]),
        ("-o 2x hi", ["--output", "a variable's name"]),
        ("-s ' ' hi", ["--system", "a text in quotes"]),
        ("-s 'open hi", ["quotation mark is not closed"]),
        ("-s 'It's wet' hi", ["An apostrophe ends the text", "double quotes"]),
        ("--format markdwon hi", ["'markdwon' is not one of", "Did you mean markdown"]),
        ("--param top_k hi", ["a name and a value"]),
        ("--param messages=[] hi", ["messages is not set with --param"]),
        ("--param temperature=1 hi", ["Use -t"]),
        ("-m '' hi", ["--model"]),
    ],
)
def test_the_error_names_the_problem(line: str, expected: list[str]) -> None:
    with pytest.raises(InferenceError) as caught:
        chat(line)
    assert caught.value.cause == "option"
    for fragment in expected:
        assert fragment in str(caught.value)


def test_wbmodels_takes_search_text_between_options() -> None:
    read = read_line(ModelsOptions, "%wbmodels", "qwen --table image -o found", text="words")
    assert read == (ModelsOptions(table=True, output="found"), "qwen image")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--tools w v", "found 'v'. Put the prompt"),
        ("-m 'a/b c/d'", "'a/b c/d' is not a model id. To compare several models, give the option again for each"),
        ("-m a/b Tell me more", "found 'Tell me more'. Put the prompt"),
        ("-t 1 more", "found 'more'. Put the prompt"),
        ("--once more", "found 'more'. Put the prompt"),
    ],
)
def test_a_second_value_of_an_option_is_refused(line: str, says: str) -> None:
    with pytest.raises(InferenceError) as caught:
        read_line(ChatOptions, "%%wbchat", line)
    assert says in str(caught.value)


def test_a_frame_may_come_after_an_option_and_in_parts() -> None:
    assert read_line(MapOptions, "%%wbmap", "-m a/b df or other", text="expression")[1] == "df or other"


def test_the_id_of_a_model_may_have_blanks() -> None:
    assert read_line(ChatOptions, "%%wbchat", "-m 'Llama 3 8B Instruct'")[0].model == ("Llama 3 8B Instruct",)


def test_text_on_the_cell_magics_line_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"options only; found 'Tell me'.*lines below"):
        read_line(ChatOptions, "%%wbchat", "-t 1 Tell me")


@pytest.mark.parametrize("line", ["--model a/b # cheap", "model=openai/gpt-oss-20b", "--endpoint http://x y", "foo"])
def test_what_is_too_short_for_a_key_is_not_taken_for_one(line: str) -> None:
    with pytest.raises(InferenceError, match="takes options only: its line cannot have other text") as caught:
        read_line(ConfigOptions, "%wbconfig", line)
    assert "key" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "text"), [("main  # back again", "main"), ("# all", ""), ("plan #2", "plan #2"), ("a --undo # b", "a")]
)
def test_a_comment_after_words_is_none_of_them(line: str, text: str) -> None:
    assert read_line(ThreadOptions, "%wbthread", line, text="words")[1] == text


@pytest.mark.parametrize("line", ["--key 0123456789abcdef", "--key=0123456789abcdef"])
def test_a_key_in_a_cell_is_refused_and_never_quoted(line: str) -> None:
    with pytest.raises(InferenceError) as caught:
        read_line(ConfigOptions, "%wbconfig", line)
    assert "no key is accepted in a cell" in str(caught.value)
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("declared", OPTIONS.values())
def test_every_flag_is_declared_once_and_has_help(declared: type[Options]) -> None:
    flags = [flag for one in declared.declared for flag in one.flags]
    assert len(flags) == len(set(flags))
    assert all(one.help.endswith(".") for one in declared.declared)
    assert vars(declared()) == {one.field: one.default for one in declared.declared}


@example("?")
@example("-\u200bh")
@given(st.text())
def test_any_line_is_read_or_refused_with_a_message(line: str) -> None:
    try:
        options, text = chat(line)
    except HelpRequested:
        assert "-h" in visible_only(line) or "?" in line
    except InferenceError as error:
        assert error.cause == "option"
        assert str(error)
    else:
        assert isinstance(options, ChatOptions)
        assert line.strip().endswith(text)


@given(
    st.text(alphabet=st.characters(blacklist_categories=("Cs",)), min_size=1).filter(
        lambda t: t.strip() == t and not t.lstrip(UNSEEN).startswith("-") and t.strip(UNSEEN) != ""
    )
)
def test_text_after_an_option_is_not_changed(text: str) -> None:
    assert chat(f"-t 1 {text}") == (ChatOptions(temperature=1.0), text)


@pytest.mark.parametrize("line", ["-h", "--help", "-t 1 --help", "--help what", "-h -t", "?", "??"])
def test_help_is_an_option_of_every_magic(line: str) -> None:
    for options, text in MAGICS.values():
        given = line if options is ChatOptions else line.removeprefix("-t 1 ")
        with pytest.raises(HelpRequested):
            read_line(options, "%magic", given, text=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Explain it. -t 0.2", "-t 0.2"),
        ("Explain it -t 0.2 --max-tokens=5", "-t 0.2 --max-tokens=5"),
        ("Explain it --new", "--new"),
        ("Explain -t of tar", ""),
        ("Explain it -t hot", ""),
        ("What does --raw do", ""),
        ("A dash - or two -- at the end --", ""),
        ("--new at the front", ""),
        ("It's -5 degrees -t 1", "-t 1"),
    ],
)
def test_trailing_options_the_text_are_found(text: str, expected: str) -> None:
    assert trailing_options(ChatOptions, text) == expected


@pytest.mark.parametrize(
    ("line", "options", "text"),
    [
        ("\u2014once hi", {"once": True}, "hi"),
        ("\u2013once hi", {"once": True}, "hi"),
        ("-\u2013once hi", {"once": True}, "hi"),
        ("\u2212t 0.2 hi", {"temperature": 0.2}, "hi"),
        ("\u2014max-tokens=50 hi", {"max_tokens": 50}, "hi"),
        ("--system \u201cBe brief\u201d hi", {"system": "Be brief"}, "hi"),
        ("--system=\u201eBe brief\u201c hi", {"system": "Be brief"}, "hi"),
        ("--system \xabBe brief\xbb hi", {"system": "Be brief"}, "hi"),
        ("--system \u2018Don\u2019t be long\u2019 hi", {"system": "Don\u2019t be long"}, "hi"),
        ("--system \u201c{{ who }} is here\u201d hi", {"system": "{{ who }} is here"}, "hi"),
        ("-t\xa00.2 hi", {"temperature": 0.2}, "hi"),
    ],
)
def test_what_word_processors_make_of_an_option_is_read_as_typed(line: str, options: dict[str, Any], text: str) -> None:
    assert chat(line) == (ChatOptions(**options), text)


@pytest.mark.parametrize(
    "line", ["\u2014Bonjour, dit-il.", "\u201cquoted\u201d words", "\u2014 a dash", "a \u2013once b", "x\xa0y"]
)
def test_typography_in_the_text_is_not_changed(line: str) -> None:
    assert chat(line) == (ChatOptions(), line)


def test_trailing_options_the_text_are_found_whatever_their_dashes() -> None:
    assert trailing_options(ChatOptions, "hi \u2014once") == "\u2014once"


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("--schema name, age int Bob is 4", 'Put the whole value in quotes: --schema "name, ..."'),
        ("--system Hello, you", 'Put the whole value in quotes: --system "Hello, ..."'),
        ("--schema=name, age int Bob is 4", 'Put the whole value in quotes: --schema "name, ..."'),
        *(
            (f"--schema {value} hi", f'--schema "{value} ...".')
            for value in ("名，", "名、", "اسم،", "label:", "标签：", "a|", "a｜")
        ),
        *(
            (f"--schema {value} hi", 'Put the whole value in quotes: --schema "label ...".')
            for value in (
                "label good| bad",
                "label good｜bad",
                "label good | bad",
                "label 'very good'|bad",
                "label |bad",
            )
        ),
        ("--system 你好， you", '--system "你好， ..."'),
        ("-m a, b hi", "-m A -m B"),
        ("-m a,b hi", "-m A -m B"),
    ],
)
def test_a_list_without_quotes_is_refused(line: str, remedy: str) -> None:
    with pytest.raises(InferenceError) as caught:
        chat(line)
    assert remedy in str(caught.value)


def test_a_comma_may_end_a_quoted_value_and_be_one() -> None:
    assert chat("--stop , --stop 'a,' hi") == (ChatOptions(stop=(",", "a,")), "hi")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Person", "What is a|b?"),
        ("Person", "$|x|$ is {{ a|upper }}"),
        ("Person", "{{ a|upper }}: -1"),
        ("note?", "hi, all"),
        ('"label: a|b"', "|x| = 1"),
        ("“label： a|b”", "|x| = 1"),
    ],
)
def test_bars_and_colons_of_the_text_are_not_those_of_a_schema(value: str, text: str) -> None:
    assert chat(f"--schema {value} {text}") == (ChatOptions(schema=value.strip('"“”')), text)
    assert chat(f"--schema Person --stop=| -s note: {text}")[0].system == "note:"


@pytest.mark.parametrize(
    ("line", "options", "text"),
    [
        ("Z--max-tokens 5 hi", {"max_tokens": 5}, "hi"),
        ("--onceZ hi", {"once": True}, "hi"),
        ("--onZce hi", {"once": True}, "hi"),
        ("--once ZZ --new Zhi", {"once": True, "new": True}, "Zhi"),
        ("-tZ Z0.Z5Z hi", {"temperature": 0.5}, "hi"),
        ("--seed=Z3Z hi", {"seed": 3}, "hi"),
        ("\u2014onceZ hi", {"once": True}, "hi"),
        ("Z-m Ztest/Zmodel-aZ hi", {"model": ("test/model-a",)}, "hi"),
        ("--format Zjson hi", {"format": "json"}, "hi"),
        ("-o Zanswer hi", {"output": "answer"}, "hi"),
        ("--tools Za,Zb hi", {"tools": "a,b"}, "hi"),
        ("--thread 'ZmyZ planZ' hi", {"thread": "myZ plan"}, "hi"),
        ('-s Z"Be brief"Z hi', {"system": "Be brief"}, "hi"),
        ("--system=\u201cBe briefZ\u201dZ hi", {"system": "Be brief"}, "hi"),
        ("-s Z{{ who }}Z hi", {"system": "{{ who }}"}, "hi"),
        ("--param topZ_kZ=Z20 hi", {"param": (("top_k", 20),)}, "hi"),
        ('--image Zplots["a b"]Z hi', {"image": ('plots["a b"]',)}, "hi"),
        ('--schema Z"a, b"Z hi', {"schema": "a, b"}, "hi"),
        ("--stop Z\u3002Z hi", {"stop": ("\u3002",)}, "hi"),
        ("Z", {}, ""),
        ("ZhiZ --once", {}, "ZhiZ --once"),
        ("-- Zhi", {}, "Zhi"),
    ],
)
def test_what_is_not_seen_is_no_part_of_options_and_stays_in_the_text(
    line: str, options: dict[str, Any], text: str
) -> None:
    for one in INVISIBLE:
        found, rest = chat(line.replace("Z", one))
        assert {name: getattr(found, name) for name in options} == {
            name: value.replace("Z", one) if isinstance(value, str) else value for name, value in options.items()
        }
        assert rest == text.replace("Z", one)


def test_words_and_expressions_have_no_edges_that_are_not_seen() -> None:
    assert read_line(ThreadOptions, "%wbthread", "\u200bwork\ufeff --undo\u00ad", text="words") == (
        ThreadOptions(undo=True),
        "work",
    )
    line = '\u200bframes["a\u200bb"]\u2060 --into \u202aans\u202c'
    assert read_line(MapOptions, "%%wbmap", line, text="expression") == (MapOptions(into="ans"), 'frames["a\u200bb"]')
    assert read_line(ChatOptions, "%%wbchat", "--once \u200b") == (ChatOptions(once=True), "")
    assert trailing_options(ChatOptions, "hi \u200b--once") == "\u200b--once"
    with pytest.raises(HelpRequested):
        chat("\u200b?")


def test_a_value_of_a_variable_keeps_what_is_not_seen() -> None:
    options, _ = read_line(MapOptions, "%%wbmap", "--into {{ name }}", render=lambda *_: "\ufeffid")
    assert options.into == "\ufeffid"


@pytest.mark.parametrize("line", ["--thread '\u200b' hi", "--into \u200b", "-m \u2060", "--stop '\u200b' hi"])
def test_a_value_of_which_nothing_is_seen_is_refused(line: str) -> None:
    with pytest.raises(InferenceError, match=r"needs a value|does not take|not a model id|no option"):
        chat(line)


def test_an_unknown_option_shows_what_is_not_seen() -> None:
    with pytest.raises(InferenceError, match=r"has no option '--nope\\x85'"):
        chat("--nope\x85 hi")


@pytest.mark.parametrize("columns", ["60", "200"])
def test_the_help_of_a_magic_fits_its_window(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """IPython would break longer lines within words. The usage of an option, and a formula, are one word."""
    monkeypatch.setenv("COLUMNS", columns)
    for declared in OPTIONS.values():
        text = help_text(declared).partition("\n\nExamples:\n")[0]
        below = [line for line in text.split("\n") if line.startswith(" " * 6) or not line.startswith(" ")]
        assert below
        assert [line for line in below if len(line) > min(int(columns), 72) and " " in line.strip()] == []
