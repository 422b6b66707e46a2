"""A test server in place of W&B's own, as the real Weave client sees them: projects and traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service import Answer, Service, refused


class TraceServer(Service):
    """Records what Weave posts. With `fails` it answers every request with an error."""

    fails = False

    @contextmanager
    def running(self) -> Iterator[TraceServer]:
        with super().running():
            yield self

    @property
    def environment(self) -> dict[str, str]:
        address = self.url.removesuffix("/v1")
        return {
            "WANDB_BASE_URL": address,
            "WF_TRACE_SERVER_URL": f"{address}/traces",
            "WANDB_API_KEY": "wandb-secret-0123456789-0123456789-01234",
        }

    def answer(self, answer: Answer) -> None:
        self.received.append(answer.received)
        path, body = answer.received.path, answer.received.body
        if self.fails:
            refused(500, "out of order")(answer)
        elif path.endswith("/server_info"):
            answer.json({"min_required_weave_python_version": "0.0.1", "trace_server_version": "99.0.0"})
        elif path.endswith("/graphql"):
            name = body.get("variables", {}).get("name", "")
            answer.json({"data": {"viewer": {"username": "me"}, "project": {"name": name}}})
        elif path.endswith("/create"):
            answer.json({"digest": "0123456789abcdef"})
        else:
            answer.json({})

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The complete calls that were traced, in the order in which they started."""
        batches = [one.body["batch"] for one in self.received if one.path.endswith("/calls/complete")]
        return sorted((call for batch in batches for call in batch), key=lambda call: str(call["started_at"]))

    def named(self, op: str) -> list[dict[str, Any]]:
        return [call for call in self.calls if f"/op/{op}:" in call["op_name"]]
