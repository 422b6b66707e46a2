"""`--think`: the parameters that make a model think, not think, or think harder, depending on its catalog entry.

The parameters are those of the service (2026-10-07): `chat_template_kwargs` switches thinking on and off,
`reasoning_effort` sets its level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, did_you_mean

if TYPE_CHECKING:
    from .models import Model

LEVELS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
THINK: Final = ("on", "off", *LEVELS)

_SWITCHED: Final = ("toggle-on", "toggle-off")


def thinking_parameters(think: str, model: str, known: Model | None) -> dict[str, Any]:
    """Return the parameters that make a model think as requested.

    Parameters
    ----------
    think : str
        `on`, `off` or one of LEVELS.
    model : str
        The model's id, for messages.
    known : Model or None
        What is known about the model. If its reasoning is not known, what is requested is sent.

    Returns
    -------
    dict
        Empty if the model already does what is requested.

    Raises
    ------
    InferenceError
        If `think` has another value, or if the model is known not to support it.
    """
    if think not in THINK:
        raise InferenceError(
            f"{think!r} is not one of {', '.join(THINK)}. Nothing was sent.",
            remedy=did_you_mean(think, THINK) or "Choose one of them.",
        )
    reasoning = known.reasoning if known else "unknown"
    efforts = known.reasoning_efforts if known else ()
    if think in LEVELS:
        return _level(think, model, reasoning, efforts)
    is_on = think == "on"
    if reasoning in _SWITCHED or reasoning == "unknown":
        return {"chat_template_kwargs": {"enable_thinking": is_on}}
    if is_on == (reasoning == "always") and reasoning != "adaptive":
        return {}
    if not is_on and "none" in efforts:
        return {"reasoning_effort": "none"}
    raise _cannot(think, model, reasoning, efforts)


def _level(think: str, model: str, reasoning: str, efforts: tuple[str, ...]) -> dict[str, Any]:
    has_none = reasoning == "none" or (reasoning in _SWITCHED and not efforts)
    if has_none or (efforts and think not in efforts):
        raise _cannot(think, model, reasoning, efforts)
    return {"reasoning_effort": think}


def _cannot(think: str, model: str, reasoning: str, efforts: tuple[str, ...]) -> InferenceError:
    # Not imported above: the options of the magics name the levels whenever the extension is loaded.
    from .models import describe_reasoning

    remedy = f"Leave --think out. How {model} thinks: {describe_reasoning(reasoning)}."
    if levels := [effort for effort in efforts if effort in LEVELS]:
        remedy = f"Its levels are: {', '.join(levels)}."
    elif reasoning in _SWITCHED:
        remedy = "It can be switched with --think on and --think off."
    elif reasoning == "always":
        remedy = "It always thinks. --think low makes many models think less."
    elif reasoning == "none":
        remedy = "It does not think. %wbmodels shows which models do."
    return InferenceError(f"{model} does not take --think {think}. Nothing was sent.", remedy=remedy)
