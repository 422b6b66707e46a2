"""Which names a prompt sees: those of the place where the magic is called."""

from __future__ import annotations

import textwrap
import types
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from kernels import SharedKernel
from versions import BEFORE_3_11, NO_HISTORY

from wandb_inference_magic.frontend import names_in_scope

CASES = {
    "function": """
        def ask(txt):
            reply = %wbchat --once Say {{ txt }} {{ other }}
            return reply
        ask("inner")
    """,
    "result of a function": """
        def ask(txt): return %wbchat --once Say {{ txt }} {{ other }}
        ask("inner").text
    """,
    "changed variable": """
        def ask():
            txt = "first"
            txt = "inner"
            %wbchat --once Say {{ txt }} {{ other }}
        ask()
    """,
    "function inside a function": """
        def outer(txt):
            def ask():
                %wbchat --once Say {{ txt }} {{ other }}
            ask()
        outer("inner")
    """,
    "closure that has the name": """
        def outer(txt):
            def ask():
                len(txt)
                %wbchat --once Say {{ txt }} {{ other }}
            return ask
        outer("inner")()
    """,
    "caller of the function": """
        def ask():
            %wbchat --once Say {{ inner }} {{ other }}
        def caller():
            txt = "the caller's"
            ask()
        inner = "inner"
        caller()
    """,
    "method": """
        class Asker:
            txt = "the class's"
            def ask(self, txt):
                %wbchat --once Say {{ txt }} {{ self.other }}
            other = "outer"
        Asker().ask("inner")
    """,
    "comprehension": """
        def ask():
            return [get_ipython().run_line_magic("wbchat", "--once Say {{ txt }} {{ other }}") for txt in ["inner"]]
        ask()
    """,
    "comprehension that uses a name of the function": """
        def ask(txt):
            return [get_ipython().run_line_magic("wbchat", "--once Say {{ txt }} {{ other }}") for _ in range(1)]
        ask("inner")
    """,
    "lambda": """
        (lambda txt: get_ipython().run_line_magic("wbchat", "--once Say {{ txt }} {{ other }}"))("inner")
    """,
    "generator": """
        def ask(txt):
            yield get_ipython().run_line_magic("wbchat", "--once Say {{ txt }} {{ other }}")
        list(ask("inner"))
    """,
    "coroutine": """
        async def ask(txt):
            %wbchat --once Say {{ txt }} {{ other }}
        await ask("inner")
    """,
    "cell magic": """
        def ask(txt):
            get_ipython().run_cell_magic("wbchat", "--once", "Say {{ txt }} {{ other }}")
        ask("inner")
    """,
    "option": """
        def ask(txt, how):
            %wbchat --once --max-tokens {{ how }} Say {{ txt }} {{ other }}
        ask("inner", 5)
    """,
    "timed": """
        def ask(txt):
            %time get_ipython().run_line_magic("wbchat", "--once --quiet Say {{ txt }} {{ other }}")
        ask("inner")
    """,
    "magic as a function": """
        chat = get_ipython().find_line_magic("wbchat")
        def ask(txt):
            return chat("--once Say {{ txt }} {{ other }}")
        ask("inner")
    """,
    "map": """
        def label(rows, txt):
            get_ipython().run_cell_magic("wbmap", "rows --no-cache", "{{ text }} {{ txt }} {{ other }}")
        label(["Say"], "inner")
    """,
    "module": """
        import types
        module = types.ModuleType("module")
        exec('''
        from IPython import get_ipython
        txt = "inner"
        def ask():
            get_ipython().run_line_magic("wbchat", "--once Say {{ txt }} {{ other }}")
        '''.replace("\\n        ", "\\n"), vars(module))
        module.ask()
    """,
    "notebook": """
        before, txt = txt, "inner"
        %wbchat --once Say {{ txt }} {{ other }}
        txt = before
    """,
}


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_sees_the_names_of_the_place_where_it_is_sent(shared: SharedKernel, case: str) -> None:
    shared.kernel.run("txt = 'the notebook\\'s'; other = 'outer'; rows = ['wrong']")
    run = shared.kernel.run(textwrap.dedent(CASES[case]).strip())
    assert run.ok, run.error
    assert [chat.body["messages"][-1]["content"] for chat in shared.service.chats] == ["Say inner outer"]


def test_a_variable_that_has_no_value_yet_is_undefined(shared: SharedKernel) -> None:
    shared.kernel.run("txt = 'the notebook\\'s'")
    run = shared.kernel.run("def ask():\n    %wbchat --once Say {{ txt }}\n    txt = 'later'\nask()")
    assert "'txt' is undefined" in run.error
    assert shared.service.chats == []


@pytest.mark.skipif(BEFORE_3_11, reason="code does not know in which function it is")
def test_a_name_of_a_function_that_has_ended_is_not_taken_from_outside(shared: SharedKernel) -> None:
    shared.kernel.run("txt = 'the notebook\\'s'")
    inner = "    def ask():\n        %wbchat --once Say {{ txt }}\n    return ask"
    run = shared.kernel.run(f"def outer(txt):\n{inner}\nouter('inner')()")
    assert "'txt' is undefined" in run.error
    assert shared.service.chats == []


def test_a_class_does_not_lend_its_names_to_its_methods(shared: SharedKernel) -> None:
    shared.kernel.run("txt = 'the notebook\\'s'")
    method = "    def ask(self):\n        %wbchat --once Say {{ txt }}"
    assert shared.kernel.run(f"class Asker:\n    txt = 'the class\\'s'\n{method}\nAsker().ask()").ok
    assert shared.service.last.body["messages"][-1]["content"] == "Say the notebook's"


def test_a_function_of_ipython_is_no_name_unless_it_is_called_or_replaced(shared: SharedKernel, tmp_path: Path) -> None:
    run = shared.kernel.run
    (tmp_path / "a.txt").write_text("a file")
    run("import pandas as pd\nprices = pd.DataFrame({'Open': [4], 'exits': [5], 'count': [6]})")
    assert (
        "'open' is undefined. Nothing was sent.\nWhat to do: Did you mean Open?"
        in run("%%wbmap prices\n{{ open }}").error
    )
    for name in ("exits", "count"):
        said = run(f"%wbchat --once How many? {{{{ {name} }}}}").error
        assert f"{name} is a column of prices: write prices.{name}." in said
    assert shared.service.chats == []
    assert run(f"%wbchat --once Read {{{{ open('{tmp_path}/a.txt').read() }}}} {{{{ In | length > 1 }}}}").ok
    assert run("open = 'at nine'\n%wbchat --once {{ open }}").ok
    assert run("del open").ok
    assert [chat.body["messages"][-1]["content"] for chat in shared.service.chats] == ["Read a file True", "at nine"]


def test_a_shell_embedded_in_a_function_has_the_names_of_its_module_too() -> None:
    module = types.ModuleType("module")
    vars(module).update(outer="the module's", inner="hidden")
    names = names_in_scope(InteractiveShell(config=NO_HISTORY, user_module=module, user_ns={"inner": "the function's"}))
    assert (names["outer"], names["inner"]) == ("the module's", "the function's")
