"""The front end's view of Output widgets, by the rules of JupyterLab: they ignore updates of a display."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from kernels import Kernel, Message, Run, plain

WIDGET = "application/vnd.jupyter.widget-view+json"


class Screen:
    """The contents of a kernel's Output widgets. `elsewhere` has what was shown outside of them."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._names: dict[str, str] = {}
        self._contents: dict[str, list[dict[str, Any]]] = {}
        self._capturing: dict[str, list[str]] = defaultdict(list)
        self._request_of: dict[str, str] = {}
        self._clears_next: set[str] = set()
        self.elsewhere: list[Message] = []

    def run(self, code: str, *, cell_id: str | None = None) -> Run:
        request = self._kernel.start(code, cell_id=cell_id)
        run = Run()
        for message in self._kernel.messages(request):
            run.messages.append(message)
            self.take(request, message)
        run.reply = self._kernel.reply(request)
        return run

    def start_click(self, button: str) -> str:
        """Click the button with that name in the notebook, as a front end reports it, and return the request."""
        content = {
            "comm_id": self._kernel.value(f"{button}.model_id"),
            "data": {"method": "custom", "content": {"event": "click"}},
        }
        message = self._kernel.client.session.msg("comm_msg", content)
        self._kernel.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def click(self, button: str = "button") -> list[Message]:
        request = self.start_click(button)
        messages = list(self._kernel.messages(request))
        for message in messages:
            self.take(request, message)
        return messages

    def take(self, request: str, message: Message) -> None:
        """Process a message, as the front end does for this request."""
        content = message.content
        if message.type in ("comm_open", "comm_msg"):
            self._set(content["comm_id"], content["data"].get("state", {}))
        elif message.type in ("display_data", "execute_result", "stream", "error", "clear_output"):
            self._show(request, message)
        elif message.type == "update_display_data" and not self._capturing[request]:
            self.elsewhere.append(message)

    def _set(self, widget: str, state: dict[str, Any]) -> None:
        if "outputs" in state:
            self._contents[widget] = list(state["outputs"])
        if state.get("msg_id"):
            self._request_of[widget] = state["msg_id"]
            self._capturing[state["msg_id"]].append(widget)
        elif "msg_id" in state and widget in self._request_of:
            self._capturing[self._request_of.pop(widget)].remove(widget)

    def _show(self, request: str, message: Message) -> None:
        if not self._capturing[request]:
            self.elsewhere.append(message)
            return
        widget = self._capturing[request][-1]
        if message.type == "clear_output" and message.content["wait"]:
            self._clears_next.add(widget)
            return
        if message.type == "clear_output" or widget in self._clears_next:
            self._contents[widget].clear()
            self._clears_next.discard(widget)
        if message.type != "clear_output":
            self._contents[widget].append(message.content)

    def shown(self, output: str = "output") -> list[dict[str, str]]:
        """Return what the Output widget with that name shows, with the contents of its inner widgets in their place."""
        if output not in self._names:
            # Asked only once: a busy kernel does not answer.
            self._names[output] = self._kernel.value(f"{output}.model_id")
        return self.shown_by(self._names[output])

    def shown_by(self, widget: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        # A widget of another kind, such as a bar, has no outputs.
        for content in self._contents.get(widget, ()):
            data = content.get("data", {})
            if WIDGET in data:
                found += self.shown_by(data[WIDGET]["model_id"])
            elif "traceback" in content:
                found.append({"error": plain("\n".join(content["traceback"]))})
            else:
                found.append(data or {"stream": content["text"]})
        return found
