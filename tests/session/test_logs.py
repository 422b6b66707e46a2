"""What libraries log while they work for this package."""

from __future__ import annotations

import logging
from types import ModuleType

import pytest
from kernels import Kernel
from service import Service, completion

from wandb_inference_magic.markup import page_parser, safe_document, split_finished
from wandb_inference_magic.rendering.reply import markdown_to_html
from wandb_inference_magic.session.session import LOGGERS

pytestmark = pytest.mark.short

LIBRARIES = (*LOGGERS, "markdown_it")


def test_the_details_of_our_own_requests_are_not_logged_and_those_of_the_user_are(
    api: ModuleType, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    caplog.set_level(logging.DEBUG)
    api.chat("hi")
    service.always = completion("Yes.")
    api.map_prompts(["a", "b"], "{{ text }}", cache=False)
    assert [(one.name, one.getMessage()) for one in caplog.records] == []
    api.client().chat.completions.create(model="test/model-a", messages=[{"role": "user", "content": "hi"}])
    assert {"openai", "httpcore2", "httpcore"} & {one.name.partition(".")[0] for one in caplog.records}
    assert {name: logging.getLogger(name).level for name in LIBRARIES} == levels
    assert not any(logging.getLogger(name).disabled for name in LIBRARIES)


def test_the_end_of_a_session_leaves_no_filter(api: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.chat("hi")
    from wandb_inference_magic.session import current_session

    current_session().close()
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    assert len(known) > 10
    assert not any("wandb_inference_magic" in getattr(each, "__module__", "") for one in known for each in one.filters)


def test_a_chat_in_a_notebook_that_logs_everything_shows_no_log(kernel: Kernel) -> None:
    kernel.run("import logging\nlogging.basicConfig(level=logging.DEBUG, force=True)")
    run = kernel.run("%wbchat hi")
    assert run.ok
    assert run.of("stream") == []


def test_parsing_a_reply_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    markdown = "# A\n\n- b\n- c\n\n> d\n\n| e |\n|---|\n| f |\n\n$x$ and ```code```\n" * 20
    safe_document([markdown])
    split_finished(markdown)
    page_parser().render(markdown)
    markdown_to_html(markdown)
    assert caplog.records == []
    logging.getLogger("markdown_it").debug("the user's own")
    assert len(caplog.records) == 1
