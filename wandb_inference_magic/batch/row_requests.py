"""The requests for the rows of a run, which differ in their prompts only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine import for_prompt, relax_response_format

if TYPE_CHECKING:
    from ..errors import InferenceError
    from ..messages import Content, PreparedRequest
    from ..schemas import Schema


class RowRequests:
    """Makes the requests for rows from that for the first one.

    Parameters
    ----------
    first : PreparedRequest
    schema : Schema or None
        What the answers must look like.
    """

    def __init__(self, first: PreparedRequest, schema: Schema | None) -> None:
        self._base = first
        self._schema = schema

    def request(self, prompt: Content) -> PreparedRequest:
        """Return the request for a row."""
        return for_prompt(self._base, prompt)

    def in_current_form(self, request: PreparedRequest) -> PreparedRequest:
        """Return the request for a row in the response format of now, which may be easier than when it was made."""
        return request if self._is_current(request) else self.request(request.messages[-1]["content"])

    def relax_following(self, refused: PreparedRequest, error: InferenceError) -> tuple[str, ...]:
        """Relax the response format for the following rows: the current one would be refused for each of them.

        Returns
        -------
        tuple of str
            The notices for the user.
        """
        # A row that was in flight may report the refusal of a format that is no longer requested.
        if not self._is_current(refused):
            return ()
        if (relaxed := relax_response_format(self._base, self._schema, error)) is None:
            return ()
        self._base = relaxed
        return tuple(relaxed.notices)

    def _is_current(self, request: PreparedRequest) -> bool:
        return bool(request.body.get("response_format") == self._base.body.get("response_format"))
