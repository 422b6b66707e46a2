"""Test models and prompts on rows with known answers, and say what the rows tell and what they do not.

An evaluation needs nearly all modules, so they are not imported lazily.
"""

from __future__ import annotations

from .result import NOT_PUBLISHED as NOT_PUBLISHED, PUBLISHED as PUBLISHED, Evaluation as Evaluation
from .run import (
    PreparedEvaluation as PreparedEvaluation,
    named_prompts as named_prompts,
    start_dry_evaluation as start_dry_evaluation,
)
from .scorers import SCORERS as SCORERS, scorer_of as scorer_of
from .spec import EvaluationSpec as EvaluationSpec
