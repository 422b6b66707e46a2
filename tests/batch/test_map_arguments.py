"""What `map_prompts` takes and refuses."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from answered_rows import Numbered
from service import Service, completion

from wandb_inference_magic import InferenceError, InferenceWarning


@pytest.mark.parametrize("value", [0, -1, 1001, 2.5, "4", True, float("nan")])
def test_a_concurrency_that_is_no_whole_number_above_zero_is_refused(
    api: ModuleType, service: Service, value: object
) -> None:
    for call in (api.map_prompts, api.evaluate):
        more = {"truth": "text", "models": ["test/model-a"]} if call is api.evaluate else {}
        with pytest.raises(InferenceError, match="concurrency is"):
            call(["a"], "{{ text }}", concurrency=value, **more)
    assert service.chats == []


@pytest.mark.parametrize("value", [-1, 2.5, "4", True])
def test_a_limit_that_is_no_number_of_rows_is_refused(api: ModuleType, service: Service, value: object) -> None:
    for call in (api.map_prompts, api.evaluate):
        more = {"truth": "text", "models": ["test/model-a"]} if call is api.evaluate else {}
        with pytest.raises(InferenceError, match="limit is"):
            call(["a"], "{{ text }}", limit=value, **more)
    assert service.chats == []


def test_numpy_numbers_are_whole_numbers_too(api: ModuleType, service: Service) -> None:
    import numpy as np

    service.always = Numbered()
    assert len(api.map_prompts(list("abc"), "{{ text }}", concurrency=np.int64(2), limit=np.int32(2))) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"prompt": None}, "prompt"),
        ({"model": 5}, "model"),
        ({"model": ["a", None]}, "model"),
        ({"into": ""}, "into"),
        ({"into": 3}, "into"),
        ({"names": ["x"]}, "names"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused(
    api: ModuleType, service: Service, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InferenceError, match=f"{expected} is"):
        api.map_prompts(["a"], **({"prompt": "{{ text }}"} | arguments))
    assert service.chats == []


def test_what_has_rows_elsewhere_says_where(api: ModuleType, service: Service) -> None:
    service.always = completion("yes")
    with pytest.warns(InferenceWarning, match="the job ran in the foreground"):
        job = api.map_prompts(["a"], "{{ text }}", background=True)
    with pytest.raises(InferenceError, match=r"A value of type Job has no rows\..* \.wait\(\) when it has ended"):
        api.map_prompts(job, "{{ text }}")
    found = api.evaluate([{"text": "a", "right": "yes"}], "{{ text }}", truth="right")
    with pytest.raises(InferenceError, match=r"A value of type Evaluation has no rows\..* \.rows"):
        api.map_prompts(found, "{{ text }}")
