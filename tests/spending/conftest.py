"""What tests of spending share."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from known_models import known_model_environment
from printing import printed_by
from service import Wandb


@pytest.fixture
def run(
    request: pytest.FixtureRequest, wandb: Wandb, start_api: Callable[..., ModuleType]
) -> Callable[[float, str], list[str]]:
    """Run a script at W&B's endpoint, with a budget unless it is 0, and return the lines that it prints.

    The script follows the module's `SCRIPT_START`, in a new session.
    """
    variables = known_model_environment(wandb)

    def script(budget: float, code: str) -> list[str]:
        start_api(**variables)
        return printed_by(request.module.SCRIPT_START + code, budget=budget)

    return script
