"""The models behind the cassettes of the examples: replies written by hand, served as a model would stream them.

A prompt is recognized by a part of its last message. After changing a question in `examples/`, change it here too
and record again: `uv run python tests/record_examples.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from service import Answer, Service, Streamed, calling, completion, listing, refused, usage

QUICK, CAREFUL, EYES = "stand-in/quick", "stand-in/careful", "stand-in/eyes"
# The model that the first cell of quickstart.ipynb names.
BY_HAND = "example/written-by-hand"
WORDS_PER_SECOND: Final = {QUICK: 60.0, CAREFUL: 30.0, EYES: 40.0, BY_HAND: 40.0}
# The average number of characters in a token of English text.
CHARACTERS_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class Written:
    """A reply written by hand: the prompt it belongs to, and its text or its tool calls."""

    to: str
    text: str = ""
    model: str = ""
    calls: tuple[tuple[str, str], ...] = ()

    def fits(self, message: str, model: str) -> bool:
        return self.to in message and self.model in ("", model)


def _json(to: str, model: str = "", **answer: Any) -> Written:
    return Written(to, json.dumps(answer), model)


WRITTEN: Final = (
    # quickstart.ipynb
    Written(
        "What does a p-value say?",
        "*An example, written by hand.*\n\n"
        "A p-value says **how surprising the data would be** if nothing were going on:\n\n"
        "$$p = P(\\text{data at least this extreme} \\mid H_0)$$\n\n"
        "| p | reads as | does not say |\n|---|---|---|\n"
        "| 0.40 | no surprise | that there is no effect |\n"
        "| 0.01 | a surprise | that the effect is large |\n\n"
        "In code:\n\n"
        "```python\nfrom scipy.stats import ttest_ind\n\nttest_ind(treated, control).pvalue\n```\n\n"
        "It is *not* the probability that the hypothesis is true.",
        BY_HAND,
    ),
    # exploring.ipynb
    Written(
        "What stands out in this data?",
        "Rides follow the temperature closely: from about 310 a day in January they climb to 1,240 in July and fall "
        "again. **October is out of line.** At 11 °C there were 340 rides a day, fewer than in April (760 at 10 °C) "
        "and in November (420 at 6 °C). Something other than the weather may have kept people away.",
    ),
    Written(
        "Which figure would you check first",
        "October's 340. I would look at three things:\n\n"
        "1. the days behind the mean: a few days without any record would pull it down,\n"
        "2. what happened then: repairs, a strike, a closed station,\n"
        "3. the digits: 340 stands in February too, and may have been copied.\n\n"
        "Compare rides for each degree in September, October and November: $\\frac{340}{11} \\approx 31$ is far below "
        "its neighbours.",
    ),
    Written(
        "Which point is out of line?",
        "The one at about 11 °C and 340 rides a day. The other points lie near a rising curve, which passes 11 °C "
        "at about 800 rides.",
        EYES,
    ),
    _json("Bike 214 at the station", bike=214, place="the station", problem="tyre", hours_lost=0.5),
    _json("The front brake of 88", problem="brakes", urgent=True),
    _json("App crashed", problem="app", urgent=True),
    _json("Flat tyre on 12", problem="tyre", urgent=True),
    _json("Thank you for the new bikes", problem="other", urgent=False),
    _json("214 has no air", problem="tyre", urgent=False),
    # comparing.ipynb
    Written("a bat and a ball", "The ball costs **0.10**: 1.10 less the 1.00 of the bat.", QUICK),
    Written(
        "a bat and a ball",
        "Let the ball cost $b$. Then the bat costs $b + 1.00$, and together:\n\n"
        "$$b + (b + 1.00) = 1.10$$\n\n"
        "So $2b = 0.10$: the ball costs **0.05**, the bat 1.05. Check: 1.05 + 0.05 = 1.10.",
        CAREFUL,
    ),
    _json("5 machines make 5 parts", QUICK, answer=100),
    _json("5 machines make 5 parts", CAREFUL, answer=5),
    _json("Lilies on a pond", QUICK, answer=24),
    _json("Lilies on a pond", CAREFUL, answer=47),
    _json("A farmer had 15 sheep", answer=8),
    _json("You overtake the runner", QUICK, answer=1),
    _json("You overtake the runner", CAREFUL, answer=2),
    # tools.ipynb: the last message is the user's, or the result of the tool.
    Written("Can I have two bells?", calls=(("stock", '{"item": "bell"}'),)),
    Written("And three wheels?", calls=(("stock", '{"item": "wheel"}'),)),
    Written(
        "KeyError: 'wheel'",
        "I do not know: the store has no item called “wheel”. Do you mean tyres? I can look those up.",
    ),
    Written(
        "What do four tyres cost",
        calls=(("price", '{"item": "tyre", "currency": "NOK"}'), ("stock", '{"item": "tyre"}')),
    ),
    Written("12", "Yes: there are 12 bells in the store, so two are no problem."),
    Written("40", "Four tyres cost 4 × 172.50 = **690 NOK**, and there are enough: 40 are in stock."),
)


class StandIn(Service):
    """The service of the stand-ins."""

    def __init__(self) -> None:
        super().__init__()
        self.listing = listing(QUICK, CAREFUL, EYES)
        self.always = answer


def answer(one: Answer) -> None:
    """Answer a request with the reply written for it. A request without one is refused."""
    body = one.received.body
    message, model = _text(body["messages"][-1]["content"]), body["model"]
    written = next((each for each in WRITTEN if each.fits(message, model)), None)
    if written is None:
        refused(400, f"tests/support/stand_in.py has no reply of {model} to: {message[:200]}")(one)
        return
    counted = usage(_tokens(json.dumps(body["messages"], ensure_ascii=False)), _tokens(written.text))
    if written.calls:
        calling(*written.calls, counted=counted)(one)
    elif body.get("stream"):
        pieces = re.findall(r"\S+\s*", written.text)
        Streamed(pieces, per_second=WORDS_PER_SECOND[model], counted=counted)(one)
    else:
        completion(written.text, counted=counted)(one)


def _text(content: Any) -> str:
    """Return the text of a message whose content is a text or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _tokens(text: str) -> int:
    return max(8, len(text) // CHARACTERS_PER_TOKEN)
