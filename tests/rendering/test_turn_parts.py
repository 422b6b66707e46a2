"""What of a prompt is shown as code, as a frame or as text."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from wandb_inference_magic.markup import Untrusted, safe_document
from wandb_inference_magic.messages import Thread, Turn
from wandb_inference_magic.rendering import thread_parts

pytestmark = pytest.mark.short

FRAME = "DataFrame, 2 rows x 1 column:\nColumns: n (int64)\n\nindex,n\n0,1\n1,2"


def shown(prompt: Any) -> str:
    return safe_document(thread_parts(Thread("main", [Turn(prompt, "yes")])))


@pytest.mark.parametrize(
    ("prompt", "block"),
    [
        ("Look:\ndef f(x):\n    return x\n\nWhy?", "```python\ndef f(x):\n    return x\n```"),
        ("@cached\n@other\nasync def f(\n    x,\n):\n\n    return x", "async def f(\n    x,\n):\n\n    return x\n```"),
        ("class A:\n    pass\nand text", "```python\nclass A:\n    pass\n```"),
        (f"Read {FRAME.splitlines()[0]}\n{FRAME}\n\nWhy?", f"```text\n{FRAME}\n```"),
        ("```sql\nselect 1\n```\nand", "```sql\nselect 1\n```"),
    ],
)
def test_code_and_frames_are_blocks(prompt: str, block: str) -> None:
    assert block in shown(prompt)


@pytest.mark.parametrize(
    "prompt", ["class of 2024: who\n  was there?", "define x:\n  1", "a\n```\nnot closed", "3 rows:"]
)
def test_other_text_is_text(prompt: str) -> None:
    text = shown(prompt)
    assert "```python" not in text
    assert "```text" not in text


@pytest.mark.parametrize("code", ["- ```py\n  f()\n  ```", "1. ```\n   f()\n   ```", "a\n```inline```"])
def test_a_fence_without_an_end_makes_no_code_of_the_rest(code: str) -> None:
    """The closing fence of code in a list looks as if it opened some."""
    parts = thread_parts(Thread("main", [Turn(f"{code}\nthen *this*\n\ndef g():\n    return 1", "yes")]))
    texts = [part.text for part in parts if isinstance(part, Untrusted)]
    assert texts[0].endswith("then *this*")
    assert texts[1] == "```python\ndef g():\n    return 1\n```"


def test_a_fence_of_tildes_may_have_backticks_in_its_first_line() -> None:
    assert "```\ncode\n```\n\n*after*" in shown("~~~ `x`\ncode\n~~~\n*after*")


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}, "![image](data:image/png;base64,AAAA)"),
        ({"type": "image_url", "image_url": {}}, "[image]"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "[input_audio]"),
        ({"type": "file", "file": {"file_id": "x"}}, "[file]"),
    ],
)
def test_a_piece_of_any_kind_is_shown_as_what_it_is(piece: dict[str, Any], words: str) -> None:
    """An imported thread can have them."""
    text = shown([{"type": "text", "text": "Look"}, piece])
    assert "Look" in text
    assert words in text


@pytest.mark.parametrize(
    "lines",
    [
        ["@x"], ["def f(x):"], ["DataFrame, 3 rows:"], ["class a:" * 50], ["```", "~~~~", "a"],
        ["`" * number for number in range(60, 3, -1)], ["```py"], ["```py", "~~~~a"],
    ],
)  # fmt: skip
def test_blocks_are_found_in_linear_time(lines: list[str]) -> None:
    def seconds(count: int) -> float:
        text = "\n".join(lines * (count // len(lines)))
        start = process_time()
        thread_parts(Thread("main", [Turn(text, "yes")]))
        return process_time() - start

    # Other processes can disturb a measurement: one of six is enough.
    assert any(seconds(16_000) < 10 * max(seconds(4000), 0.03) for _ in range(6))


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ('{"a": [1, 2]}', '```json\n{\n  "a": [\n'),
        ("[1] See Smith (2020) for more.", "[1] See Smith (2020) for more."),
        ("{name} is [3]", "&#123;name} is [3]"),
        ('[x] done\n\n```json\n{"a": 1}\n```', "[x] done"),
    ],
)
def test_only_a_reply_that_is_json_is_shown_as_json(reply: str, shown: str) -> None:
    assert shown in safe_document(thread_parts(Thread("main", [Turn("hi", reply)])))
