"""Test models and prompts on rows with known answers, and say what the rows tell and what they do not.

An evaluation needs nearly all modules, so they are not imported lazily.
"""

from __future__ import annotations

from .judge import estimate_judge as estimate_judge
from .result import NOT_PUBLISHED as NOT_PUBLISHED, PUBLISHED as PUBLISHED, Evaluation as Evaluation
from .run import (
    PreparedEvaluation as PreparedEvaluation,
    asked_of as asked_of,
    known_rows as known_rows,
    named_prompts as named_prompts,
    notices_of as notices_of,
)
from .scorers import SCORERS as SCORERS, scorer_of as scorer_of
from .spec import EvaluationSpec as EvaluationSpec
