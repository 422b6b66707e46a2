"""Test models and prompts on rows with known answers, and say what the rows tell and what they do not.

An evaluation needs nearly all modules, so they are not imported lazily.
"""

from __future__ import annotations

from .result import NOT_PUBLISHED, PUBLISHED, Evaluation
from .run import PreparedEvaluation, named_prompts
from .scorers import SCORERS, scorer_of
from .spec import EvaluationSpec
