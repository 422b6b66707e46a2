"""Run `%wbjobs`, and start jobs in the background for other magics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..batch import Counts
from ..engine import prepare_request, run_chat
from ..errors import InferenceError, Interrupted, is_unsent
from ..frontend import describe_progress
from ..jobs import Job, Outcome, why_in_foreground
from ..rendering import line_bundle, name_of_model, reply_bundle, table_bundle
from ..replies import Listener
from ..session import JobEntry, JobRecord, unfinished
from ..text import duration, moment
from ..widgets import show_job

if TYPE_CHECKING:
    from ..arguments import JobsOptions
    from ..engine import ChatSpec
    from ..frontend import Canvas, MagicContext
    from ..replies import CallProgress

HEADINGS: Final = ("job", "what", "state", "done", "errors", "rate", "cost", "time left")
# The variable of a chat's job if none is named.
CHAT_JOB: Final = "_wbjob"
ACTIONS: Final = ("cancel", "pause", "resume", "result")


def start_chat(
    context: MagicContext, spec: ChatSpec, canvas: Canvas, *, format: str, name: str | None, quiet: bool
) -> Job:
    """Start a job for a chat, or run it here if no interactive front end is attached. Return the job.

    Raises
    ------
    InferenceError
        If it cannot start; from a job that runs here, for any failure.
    """
    command, name = context.command, name or CHAT_JOB
    # What can be refused is refused before the cell ends.
    request = prepare_request(command, spec)
    share = command.session.limiters.share(request.endpoint.url, request.model, in_background=True)

    def work(job: Job) -> Outcome:
        job.count(Counts(0, 1))
        try:
            reply = run_chat(command, spec, origin=context.cell.origin, listener=JobListener(job), share=share)
        except BaseException as error:
            job.count(_counts_of_failure(error))
            raise
        job.count(Counts(1, 1, 0, reply.cost))
        return Outcome(reply, reply_bundle(reply, format, command.settings.allow_images_from))

    what = f"%%wbchat {name_of_model(request.model, request.endpoint.name)}"
    job = Job(command, what, work, share=share, unit="reply", variable=name)
    begin(context, job, name, canvas, quiet=quiet)
    return job


def _counts_of_failure(error: BaseException) -> Counts:
    """Return how far a chat is that has no complete reply: one that was cancelled is not done."""
    # Without a partial reply, nothing was sent.
    partial = getattr(error, "partial", None)
    cost = 0.0 if partial is None or is_unsent(error) else partial.cost
    is_failed = not isinstance(error, KeyboardInterrupt)
    return Counts(int(is_failed), 1, int(is_failed), cost)


class JobListener(Listener):
    """Shows in the line of a job what has been received of its reply."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._progress: CallProgress | None = None

    def start(self, progress: CallProgress, *_: CallProgress) -> None:
        """Follow another call from now on."""
        self._progress = progress

    def redraw(self) -> None:
        """Draw the line of the job."""
        if self._progress is not None:
            self.doing(describe_progress(self._progress))

    def doing(self, text: str) -> None:
        """Show what is being done."""
        self._job.count(Counts(0, 1, cost=None, doing=text))
        self._job.draw()


def begin(context: MagicContext, job: Job, name: str, canvas: Canvas, *, quiet: bool = False) -> None:
    """Start a job in the background and show its line, or run it here if no interactive front end is attached.

    Parameters
    ----------
    context : MagicContext
    job : Job
    name : str
        The variable of the Job.
    canvas : Canvas
    quiet : bool
        Whether to show nothing.

    Raises
    ------
    InferenceError
        From a job that runs here.
    """
    why = why_in_foreground(context.command)
    if not why:

        def show(job: Job) -> None:
            canvas.discard()
            context.put(name, job)
            # What it waits for is not shown in the cell any more.
            context.command.listener = Listener()
            if not quiet:
                show_job(context.shell, job)

        with context.command.listener.waiting("preparing the prompts") as redraw:
            job.start(show, redraw)
        return
    context.put(name, job)
    job.start_in_foreground()
    if not quiet:
        canvas.show(job.last_bundle())
        canvas.append_below(line_bundle(why))
    job.wait()


def manage(context: MagicContext, options: JobsOptions, text: str) -> None:
    """Run `%wbjobs` with its options.

    Raises
    ------
    InferenceError
        For a job that does not exist, and for more than one action at once.
    Interrupted
        When the user interrupts: following ends, and the job goes on.
    """
    canvas, session = context.canvas(), context.session
    chosen = [action for action in ACTIONS if getattr(options, action)]
    if len(chosen) > 1:
        raise InferenceError("%wbjobs does one thing at a time.", remedy="Give one option.")
    if not text:
        if chosen:
            raise InferenceError(f"--{chosen[0]} needs the number of a job.", remedy="%wbjobs shows them.")
        canvas.show(jobs_table(list(session.jobs), unfinished()))
        return
    job = session.jobs.get(_number(text))
    if not isinstance(job, Job):
        if chosen != ["cancel"]:
            raise InferenceError(
                f"Job {job.id} ({job.what}) runs in a callback, a subshell or a thread of yours: the code that "
                "started it gets the result.",
                remedy=f"To end it: %wbjobs {job.id} --cancel",
            )
        job.cancel()
        canvas.show(line_bundle(f"Job {job.id} is being cancelled. The results so far are kept."))
    elif not chosen:
        follow(canvas, job)
    else:
        canvas.show(_act(context, chosen[0], job, options))


def _number(text: str) -> int:
    if text.isdecimal():
        return int(text)
    raise InferenceError(f"{text!r} is not the number of a job.", remedy="%wbjobs shows them.")


def _act(context: MagicContext, action: str, job: Job, options: JobsOptions) -> dict[str, Any]:
    if action == "result":
        is_whole = job.state == "done"
        context.put(options.result or "", _result(job))
        so_far = "" if is_whole else f", as far as it got ({job.state})" if job.is_over else ", so far"
        return line_bundle(f"{options.result} has the result of job {job.id}{so_far}.")
    if job.is_over:
        return line_bundle(f"Job {job.id} has ended already: {job.state}.")
    if action == "cancel":
        job.cancel()
        return line_bundle(f"Job {job.id} is being cancelled. What was answered is kept.")
    if job.cancelled.is_set():
        return line_bundle(f"Job {job.id} is being cancelled.")
    if action == "pause":
        job.pause()
        return line_bundle(f"Job {job.id} sends no more requests. To go on: %wbjobs {job.id} --resume")
    job.resume()
    return line_bundle(f"Job {job.id} goes on.")


def _result(job: Job) -> Any:
    """Return the result of a job, also of one that ended early, or the frame so far."""
    if job.is_over:
        try:
            return job.wait()
        except Exception as error:  # noqa: BLE001 - whatever ended it
            if (partial := getattr(error, "partial", None)) is not None:
                return partial
    return job.frame()


def follow(canvas: Canvas, job: Job) -> None:
    """Show how far a job is until it has ended.

    Raises
    ------
    Interrupted
        When the user interrupts. The job goes on.
    """
    try:
        while not job.is_over:
            canvas.status(job.describe())
            job.join(1.0)
    except KeyboardInterrupt:
        canvas.discard()
        raise Interrupted(f"Job {job.id} goes on. To end it: %wbjobs {job.id} --cancel") from None
    canvas.show(job.last_bundle())
    job.mark_as_seen()


def jobs_table(jobs: Sequence[JobEntry], left: Sequence[JobRecord]) -> dict[str, Any]:
    """Return the jobs of this session, and those that a kernel left unfinished, as a MIME bundle."""
    below = " ".join(_describe_left(one) for one in left)
    if not jobs:
        return line_bundle(below or "There are no jobs. %%wbmap, %%wbeval and %%wbchat start one with --bg.")
    return table_bundle(HEADINGS, [_row(job) for job in jobs], below=below)


def _row(job: JobEntry) -> tuple[str, ...]:
    if not isinstance(job, Job):
        return (str(job.id), job.what, "running", *[""] * (len(HEADINGS) - 3))
    total, left, rate = job.total, job.seconds_left, job.rate
    return (
        str(job.id),
        job.what,
        job.state,
        f"{job.done:,}" if total is None else f"{job.done:,} of {total:,}",
        f"{job.errors:,}" if job.errors else "",
        f"{rate:.1f}/s" if rate and not job.is_over else "",
        job.counts.shown_cost if job.done or job.is_over else "",
        duration(round(left)) if left is not None and not job.is_over else "",
    )


def _describe_left(one: JobRecord) -> str:
    variable = f" ({one.variable})" if one.variable else ""
    cell = f" in cell [{one.execution}]" if one.execution else ""
    notebook = f" of {Path(one.notebook).name}" if one.notebook else ""
    ended = "its kernel ended"
    if one.total:
        ended = f"at least {one.done:,} of {one.total:,} {one.unit} done when {ended}"
    remedy = (
        "Run that cell again to go on."
        if one.keeps_answers
        else "No answers were kept on disk: if you run that cell again, it asks for everything."
    )
    return f"Unfinished: {one.what}{variable}, started {moment(one.started)}{cell}{notebook}: {ended}. {remedy}"
