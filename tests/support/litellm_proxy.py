"""LiteLLM's proxy, a third-party gateway, in its own process and Python environment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environments import clean_environment
from ports import free_port
from registries import running_server, tool_environment

# Half a gigabyte, so it is in no environment of this project.
REQUIREMENT = "litellm[proxy]==1.108.7"
MASTER_KEY = "sk-master-key-of-the-tests"


@contextmanager
def running_litellm(models: Mapping[str, dict[str, Any]], folder: Path) -> Iterator[str]:
    """Run the proxy in front of the upstreams of `models`, until the end of the block. Yields its base URL."""
    programs = tool_environment(REQUIREMENT)
    configuration = {
        "model_list": [{"model_name": name, "litellm_params": upstream} for name, upstream in models.items()],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"num_retries": 0},
        # Otherwise a model whose upstream fails is refused for a while.
        "router_settings": {"disable_cooldowns": True},
    }
    # JSON is YAML as well.
    (folder / "config.yaml").write_text(json.dumps(configuration))
    # Without this the proxy asks the network for prices at each start.
    environment = clean_environment(folder) | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    port = free_port()
    where = ("--host", "127.0.0.1", "--port", str(port))
    with running_server(
        programs / "litellm",
        *("--config", "config.yaml", *where),
        ready=f"http://127.0.0.1:{port}/health/liveliness",
        environment=environment,
        log=folder / "litellm.log",
    ):
        yield f"http://127.0.0.1:{port}/v1"
