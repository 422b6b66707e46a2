"""`%wbchat --error`: the last exception of the notebook, as sent to the service."""

from __future__ import annotations

import pytest
from kernels import Kernel
from service import Service, refused
from versions import TIME_OF_IPYTHON_8


def sent(service: Service) -> str:
    return str(service.last.body["messages"][-1]["content"])


@pytest.mark.short
def test_the_failing_cell_and_its_traceback_are_sent(kernel: Kernel, service: Service) -> None:
    kernel.run("def half(x):\n    return x / 0\n")
    kernel.run("numbers = [1, 2]\nhalf(numbers[1])")
    assert kernel.run("%wbchat --error").ok
    prompt = sent(service)
    assert prompt.startswith("Explain this error, and how to fix it.\n\nThe cell:\n\n```python\nnumbers = [1, 2]\n")
    assert "return x / 0" in prompt
    assert prompt.rstrip("`\n").endswith("ZeroDivisionError: division by zero")
    assert "The cell, line 2, in <module>" in prompt
    assert "Another cell, line 2, in half" in prompt
    for noise in ("In[", "\x1b", "ipykernel", "interactiveshell.py", "run_code"):
        assert noise not in prompt


def test_the_user_can_ask_another_question_about_the_error(kernel: Kernel, service: Service) -> None:
    kernel.run("{}['key']")
    kernel.run("who = 'a child'\n%wbchat --error -t 0 Explain it to {{ who }}?")
    assert sent(service).startswith("Explain it to a child?\n\nThe cell:")
    kernel.run("%%wbchat --error\nIn one word.\n")
    assert sent(service).startswith("In one word.\n\nThe cell:")
    assert "KeyError: 'key'" in sent(service)


@pytest.mark.parametrize("cell", ["x = 1\nfor in y:\n    pass", "   x = 1\n  y = 2", "return 5"])
def test_a_syntax_error_is_sent_without_frames_of_ipython(kernel: Kernel, service: Service, cell: str) -> None:
    kernel.run(cell)
    kernel.run("%wbchat --error")
    assert f"```python\n{cell}\n```" in sent(service)
    assert "```text\nThe cell, line" in sent(service)
    assert "Error: " in sent(service)


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ("name in ('__qualname__', '__module__')", ("The cell, line 6, in <module>", "\nOdd: x")),
        # IPython shows another error in its place, which has this one as its context.
        ("True", ("The cell, line 3, in __getattribute__", "\nRuntimeError: meta")),
    ],
)
def test_an_exception_whose_class_cannot_be_described_is_sent_with_its_frames(
    kernel: Kernel, service: Service, refused: str, expected: tuple[str, str]
) -> None:
    kernel.run(
        "class Meta(type):\n    def __getattribute__(cls, name):\n"
        f"        if {refused}: raise RuntimeError('meta')\n        return type.__getattribute__(cls, name)\n"
        "class Odd(Exception, metaclass=Meta): pass\nraise Odd('x')"
    )
    assert kernel.run("%wbchat --error").ok
    for part in expected:
        assert part in sent(service)


def test_chained_exceptions_are_sent_without_rendering_their_braces(kernel: Kernel, service: Service) -> None:
    kernel.run("try:\n    {}['{{ x }}']\nexcept KeyError as e:\n    raise ValueError('{% bad') from e")
    assert kernel.run("%wbchat --error").ok
    assert "KeyError: '{{ x }}'" in sent(service)
    assert "ValueError: {% bad" in sent(service)


def test_a_failed_chat_does_not_replace_the_users_error(kernel: Kernel, service: Service) -> None:
    kernel.run("int('seven')")
    service.then(refused(401, "Invalid Authentication"))
    assert "asks for a key" in kernel.run("%wbchat --error").error
    assert kernel.run("%wbchat --error").ok
    assert "ValueError: invalid literal for int() with base 10: 'seven'" in sent(service)


def test_without_an_error_nothing_is_sent(kernel: Kernel, service: Service) -> None:
    assert "No cell of this notebook has failed so far." in kernel.run("%wbchat --error").error
    assert service.chats == []


def test_only_an_error_whose_message_says_what_to_do_is_not_sent(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat --temperature=99 Hi")
    assert "except those whose message says what to do" in " ".join(kernel.run("%wbchat --error").error.split())
    assert service.chats == []


def test_a_very_long_error_is_cut(kernel: Kernel, service: Service) -> None:
    kernel.run("raise ValueError('x' * 1_000_000)")
    assert kernel.run("%wbchat --error").ok
    assert len(sent(service)) < 50_000
    assert "left out" in sent(service)


def test_an_error_of_this_package_in_python_code_does_not_hide_the_one_before(kernel: Kernel, service: Service) -> None:
    for refused_cell in ("# a comment\n%%wbchat\nhi", "from wandb_inference_magic import chat\nchat('hi', modl='x')"):
        kernel.run("1 / 0")
        assert "Nothing was sent" in kernel.run(refused_cell).error
        kernel.run("%wbchat --once --error Why?")
        assert "ZeroDivisionError" in str(service.last.body["messages"])


def test_a_key_of_wandb_login_is_not_sent_to_another_endpoint(kernel: Kernel, service: Service) -> None:
    kernel.run("import netrc, os\nfrom pathlib import Path\nos.environ['NETRC'] = 'keys'")
    kernel.run("key = 'wb' * 20\nPath('keys').write_text(f'machine api.wandb.ai login user password {key}')")
    kernel.run("raise ValueError(netrc.netrc('keys').hosts)")
    assert kernel.run("%wbchat --error").ok
    assert "(hidden)" in sent(service)
    assert "wbwbwb" not in str(service.last.body)


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "OPENAI_API_KEY", "HF_TOKEN"])
def test_a_key_in_the_error_or_its_cell_is_not_sent(kernel: Kernel, service: Service, name: str) -> None:
    key = "wandbkey0123456789abcdef0123456789abcdef01"
    kernel.run(f"import os\nos.environ['{name}'] = '{key}'")
    kernel.run(f"raise ValueError('401 for https://svc.example/?k=' + '{key}')")
    run = kernel.run("%wbchat --error why")
    assert run.ok
    assert "ValueError: 401 for" in sent(service)
    assert key not in sent(service)
    kernel.run("%wbthread --export t.json")
    assert key not in kernel.value("open('t.json').read()")


@pytest.mark.parametrize(
    "cell", [pytest.param("%%time\n1 / 0", marks=TIME_OF_IPYTHON_8), "%nosuchmagic x\n1 / 0", "x = !exit 3\n1 / 0"]
)
def test_the_cell_is_sent_as_it_was_typed(kernel: Kernel, service: Service, cell: str) -> None:
    kernel.run(cell)
    assert kernel.run("%wbchat --error").ok
    assert f"```python\n{cell}\n```" in sent(service)


def test_the_same_error_is_the_same_prompt_after_other_cells_and_in_another_process(
    kernel: Kernel, service: Service
) -> None:
    failing = "import subprocess\nclass Odd: pass\nsubprocess.run([Odd()])"
    for other in ("", "1 + 1"):
        kernel.run(other)
        kernel.run(failing)
        assert kernel.run("%wbchat --once --error").ok
    kernel.run("import subprocess\ntry:\n    subprocess.run([object()])\nexcept TypeError as e:\n    caught = e")
    assert kernel.run("%wbchat --once {{ caught }}").ok
    first, second, value = [one.body["messages"][-1]["content"] for one in service.chats]
    assert first == second
    for text in (first, value):
        assert 'File "subprocess.py", line' in text
        assert "The cell, line 3" in text
        for noise in ("ipykernel", "0x", "/lib/python"):
            assert noise not in text
