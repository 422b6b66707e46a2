"""What users press in a notebook: the picker of models, the review of an evaluation, lines of jobs with Stop buttons.

With `frontend`, the only layer below the commands that uses ipywidgets and anywidget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .job_line import ShownJob, show_job, stop_button
    from .picker import show_models
    from .review import review_bundle

__getattr__ = lazy_exports(__name__)
