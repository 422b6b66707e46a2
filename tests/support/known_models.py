"""Models as W&B lists and describes them, for tests of what is known about a model."""

from __future__ import annotations

from service import Wandb, listing

MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "openai/gpt-oss-20b", "Qwen/Qwen3.8-27B", "zai-org/GLM-5.3-Flash")


def feed_entry(id: str, context: int, *kinds: str, price: float = 1.0, **facts: object) -> dict[str, object]:
    """Return a model as in W&B's public feed. `price` is USD per million input tokens, output costs half of it."""
    return {
        "id": id,
        "limit": {"context": context},
        "modalities": {"input": ["text", *kinds]},
        "cost": {"input": price, "output": price / 2},
        **facts,
    }


TOGGLE, EFFORTS = {"type": "toggle"}, {"type": "effort", "values": ["low", "high"]}
KNOWN_MODELS = (
    feed_entry("test/small", 300, reasoning=False),
    feed_entry("test/eyes", 100_000, "image", reasoning=True, reasoning_options=[TOGGLE]),
    feed_entry("test/thinker", 100_000, reasoning=True, reasoning_options=[EFFORTS]),
)


def serve_known_models(wandb: Wandb) -> None:
    """Let W&B's hosts list and describe KNOWN_MODELS."""
    models = {str(one["id"]): one for one in KNOWN_MODELS}
    wandb.api.listing = listing(*models)
    wandb.feed.documents["/inference/modelsdev/models"] = {"wandb": {"models": models}}


def known_model_environment(wandb: Wandb) -> dict[str, str]:
    """Return variables for a process that uses W&B's endpoint with KNOWN_MODELS, `test/thinker` as the default."""
    serve_known_models(wandb)
    return wandb.environment | {"WANDB_API_KEY": "a-key", "WANDB_INFERENCE_MODEL": "test/thinker"}
