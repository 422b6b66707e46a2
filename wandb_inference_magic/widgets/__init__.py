"""What users press in a notebook: the picker of models, the review of an evaluation, lines of jobs with Stop buttons.

With `frontend`, the only layer below the commands that uses ipywidgets and anywidget.
"""

from __future__ import annotations

from .job_line import ShownJob as ShownJob, show_job as show_job, stop_button as stop_button
from .picker import show_models as show_models
from .review import review_bundle as review_bundle
