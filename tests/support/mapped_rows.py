"""What maps of tests send and receive."""

from __future__ import annotations

from service import Answer, Service, completion

FRAME = "import pandas as pd\ndf = pd.DataFrame({'text': list('abcd'), 'n': [1, 2, 3, 4]}, index=[3, 3, 9, 1])"


def prompt_of(one: Answer) -> str:
    return str(one.received.body["messages"][-1]["content"])


def prompts(service: Service) -> list[str]:
    return [chat.body["messages"][-1]["content"] for chat in service.chats]


def echo(one: Answer) -> None:
    completion(f"<{prompt_of(one)}>")(one)


SCRIPT = """\
import sys
from wandb_inference_magic import map_prompts
print(len(map_prompts([str(number) for number in range(int(sys.argv[1]))], "{{ text }}", concurrency=4)))
"""


def variables_for(environment: dict[str, str], service: Service) -> dict[str, str]:
    """Return an environment with the service, its key and a model."""
    return environment | service.environment | {"WANDB_INFERENCE_API_KEY": "a-key"}
