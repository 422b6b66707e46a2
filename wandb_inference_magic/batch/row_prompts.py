"""The prompts of rows: rendered one by one as they are needed, or all before a job starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InferenceError, describe_exception, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..messages import Content
    from .rows import Row, Rows
    from .spec import BatchSpec


class RowPrompts:
    """The prompts of the rows of a run, in their order. To render one runs the user's code.

    Parameters
    ----------
    rows : Rows
    spec : BatchSpec
    """

    def __init__(self, rows: Rows, spec: BatchSpec) -> None:
        self._rows, self._spec = rows, spec
        self._prompts = self._rendered()
        self._all: Sequence[Content | InferenceError] = ()

    def next(self, number: int) -> Content | InferenceError | None:
        """Return the prompt of the next row, or why it has none; None if there are no more rows.

        Parameters
        ----------
        number : int
            The number of the row, from 1, for the message.

        Raises
        ------
        InferenceError
            If the row cannot be read.
        """
        try:
            return next(self._prompts, None)
        except Exception as error:  # noqa: BLE001 - the user's own code can raise anything
            raise not_drawn(error, number) from None

    def render_all(self, redraw: Callable[[], None]) -> None:
        """Read all rows and render their prompts now, in the calling thread. `redraw` is called for each.

        Raises
        ------
        InferenceError
            If a row cannot be read.
        """
        rendered: list[Content | InferenceError] = []
        while (prompt := self.next(len(rendered) + 1)) is not None:
            rendered.append(prompt)
            redraw()
        self._all, self._prompts = rendered, iter(rendered)

    def forget(self) -> None:
        """Keep the prompts no longer, because the run has ended."""
        self._all, self._prompts = (), iter(())

    def of(self, number: int, row: Row) -> Content:
        """Return the prompt of a row, as it was rendered if all were. The number is counted from 0.

        Raises
        ------
        InferenceError
            If it cannot be rendered.
        """
        prompt = self._all[number] if self._all else self._spec.prompts()(row)
        if isinstance(prompt, InferenceError):
            raise prompt
        return prompt

    def _rendered(self) -> Iterator[Content | InferenceError]:
        prompts = self._spec.prompts()
        for row in self._rows:
            try:
                prompt: Content | InferenceError = prompts(row)
            except InferenceError as error:
                prompt = error
            yield prompt


def not_drawn(error: Exception, number: int) -> InferenceError:
    """Return the error for a row that its source does not give."""
    said = quoted(describe_exception(error))
    return InferenceError(
        f"Row {number} cannot be read: the source of the rows raised {said}.",
        remedy="Fix it and run the cell again.",
        cause="option",
    )
