"""An error that a service reports in place of a reply."""

from __future__ import annotations


class ServiceError(Exception):
    """An error that the service sent in a response whose status was 200.

    `body` is the object that reports it. `has_begun` tells whether parts of a reply came before it.
    """

    def __init__(self, body: object, *, has_begun: bool) -> None:
        super().__init__("The service sent an error.")
        self.body = body
        self.has_begun = has_begun
