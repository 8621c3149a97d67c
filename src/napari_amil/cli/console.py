"""Output of the commands: progress bar or JSON lines, failures, results and exit codes."""

from __future__ import annotations

import enum
import json
import math
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_amil.cli.lazy import events, pipeline
from napari_amil.core.base.interrupts import INTERRUPTED, STOPPED
from napari_amil.core.base.locks import locked

if TYPE_CHECKING:
    from napari_amil.core.base.settings import RunSettings

SOME_FAILED = 1
"""Exit code when some inputs could not be used and the others are done."""
UNUSABLE = 2
"""Exit code when nothing could be done."""
UNEXPECTED = 3
"""Exit code of an error that the program does not know."""


class Style(enum.StrEnum):
    """Format of progress output."""

    bar = "bar"
    jsonl = "jsonl"


class Kind(enum.StrEnum):
    """Interpretation of the inputs: a cohort, loose images, or as they are laid out."""

    auto = "auto"
    cohort = "cohort"
    images = "images"


class Device(enum.StrEnum):
    """Device on which networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(enum.StrEnum):
    """Bits with which an encoder learns."""

    single = "32"
    bfloat = "bf16-mixed"
    half = "16-mixed"


CohortPath = Annotated[
    Path, typer.Argument(help="Cohort: a folder, a cell list or an image table (CSV).", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
As = Annotated[
    Kind,
    typer.Option("--as", help="Take the inputs for a cohort or loose images, whatever they look like."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what the inputs are understood as, then end.")]
EventStyle = Annotated[Style, typer.Option("--events", help="Show a progress bar, or speak JSON lines.")]
DeviceName = Annotated[Device, typer.Option("--device", help="Where the networks run.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of everything random.")]
BundleFile = Annotated[
    Path | None, typer.Option("--bundle", help="Model file; the starter bundle if not given.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help="Go on in spite of this kind of problem; may be given several times."),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--class", help="Name of the objects that are cells, in COCO and VOC; several may be given."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        help="Processes that work on images at the same time, one thread each; results are the same for any "
        "number. Without it one process uses all threads.",
    ),
]
DaskAddress = Annotated[
    str | None,
    typer.Option("--dask", help="Address of a Dask scheduler that works on the images, or 'local'."),
]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="YAML file with settings (run.yaml).")]
DiameterPx = Annotated[
    float | None,
    typer.Option("--diameter", help="Typical diameter of a red cell in pixels; estimated if not given."),
]


class Talk:
    """Shows events, keeps failures, and prints results.

    Parameters
    ----------
    style
        Bar or JSON lines.
    """

    latest: ClassVar[Talk | None] = None
    """Output of the current command; None before its arguments are read."""
    context: ClassVar[Any] = None
    """Arguments of the command that runs, as typer keeps them."""

    def __init__(self, style: Style) -> None:
        Talk.latest = self
        self.style = style
        self.failures: list[events.Failed] = []
        self._errors = Console(stderr=True, soft_wrap=True, highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}", markup=False),
        )
        quiet = not self._errors.is_terminal
        self._bar = Progress(*columns, console=self._errors, transient=True, disable=quiet)
        self._task: Any = None
        self._receipt: Any = None
        self._inputs: dict[str, Path] = {}

    def reads(
        self, source: pipeline.Source | list[Path], bundle: Path | None, *, starter: bool = True
    ) -> None:
        """Let a receipt be written beside the results, which names these files, or the starter, as inputs."""
        files = source if isinstance(source, list) else [path for path, _ in source.files.values()]
        self._inputs = {str(file.resolve()): file for file in [*files, *([bundle] if bundle else [])]}
        if bundle is None and starter:
            self._inputs[pipeline.STARTER] = pipeline.starter_path()

    def holds(self, out: Path) -> None:
        """Hold the folder of results as the one process that writes into it, until the command ends."""
        self.context.with_resource(locked(pipeline.make_folder(out)))

    def follow(self, work: Generator[events.Event, None, Any]) -> Any:  # noqa: ANN401
        """Run the work to its end and return its result; Ctrl-C closes it and leaves with a sentence."""
        self._receipt = self._receipt or pipeline.Receipt()
        try:
            with closing(work), nullcontext() if self.style is Style.jsonl else self._bar:
                return events.drain(work, self._on_event)
        except KeyboardInterrupt:
            say_stopped()
            raise typer.Exit(INTERRUPTED) from None

    def end(self, outcome: Literal["failed", "cancelled"], reason: str) -> None:
        """Write the reason why the command ends early into the JSON stream."""
        if self.style is Style.jsonl:
            sys.stdout.write(json.dumps(events.to_dict(events.Ended(outcome, one_line(reason)))) + "\n")
            sys.stdout.flush()

    @contextmanager
    def stopping(self, file: Path) -> Iterator[None]:
        """Let Ctrl-C ask work to stop by making ``file``, and a second Ctrl-C abort it."""

        def ask(*_: object) -> None:
            file.touch()
            # not ``before``: a program that a script starts in the background ignores Ctrl-C from birth
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._errors.print(
                "Stopping after this step or epoch with the best weights so far; Ctrl-C again aborts."
            )

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def result(self, text: str, **values: Any) -> None:  # noqa: ANN401
        """Print one result: a line of text, or a JSON line with its values."""
        if self.style is Style.jsonl:
            sentences = events.json_ready({"event": "Result", "text": text, **values})
            sys.stdout.write(json.dumps(sentences) + "\n")
        else:
            sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def finish(self, out: Path, name: str = "failures.csv") -> None:
        """Write the receipt and the table of failures; leave with the matching exit code."""
        if self._receipt is not None and self._inputs:
            self._receipt.command, files = _command()
            self._receipt.reads(self._inputs | {str(file.resolve()): file for file in files})
            self._receipt.write(out, name.replace("failures.csv", "receipt.json"))
        listed = out / name
        if not self.failures:
            listed.unlink(missing_ok=True)
            return
        pipeline.write_table(pipeline.failure_table(self.failures), listed)
        self.result(f"{len(self.failures)} inputs could not be used; see {listed}", failures=str(listed))
        raise typer.Exit(SOME_FAILED)

    def _on_event(self, event: events.Event) -> None:
        self._receipt.heard(event)
        if isinstance(event, events.Failed):
            self.failures.append(event)
        if self.style is Style.jsonl:
            sys.stdout.write(json.dumps(events.to_dict(event)) + "\n")
            sys.stdout.flush()
        elif isinstance(event, events.Step):
            self._show(event)
        elif isinstance(event, events.EpochReport):
            self._bar.console.print(_epoch_line(event), markup=False)
        elif isinstance(event, events.Understood):
            self._bar.console.print(event.message, markup=False)
        elif isinstance(event, events.Warned):
            self._bar.console.print(f"Note: {one_line(event.message)}", markup=False)
        elif isinstance(event, events.TrainingBegan) and event.total > 1:
            text = f"Training {event.number} of {event.total}: {event.name}"
            self._bar.console.print(text, markup=False)
        elif isinstance(event, events.Failed):
            self._bar.console.print(f"Failed: {one_line(event.reason)}", markup=False)

    def _show(self, step: events.Step) -> None:
        if self._task is None:
            self._task = self._bar.add_task(step.stage, now="")
        self._bar.update(
            self._task, description=step.stage, completed=step.done, total=step.total, now=step.message
        )


def _command() -> tuple[list[Any], list[Path]]:
    """Return the words of the command that runs, paths as records, and the files among its arguments."""
    words: list[Any] = []
    files: list[Path] = []
    context = Talk.context
    if context is None:
        return words, files
    words.append(context.info_name)
    for parameter in context.command.params:
        value, positional = context.params.get(parameter.name), parameter.param_type_name == "argument"
        if value is None or parameter.name in {"style", "dry_run"}:
            continue
        if not positional and value == parameter.get_default(context):
            continue
        if isinstance(value, bool):
            words += (parameter.opts if value else parameter.secondary_opts)[:1]
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [] if positional else parameter.opts[:1]
            if isinstance(one, Path):
                words.append({"path": str(one.resolve()), "is_out": parameter.name == "out"})
                files += [one] if one.is_file() and parameter.name != "out" else []
            else:
                words.append(str(one.value if isinstance(one, enum.Enum) else one))
    return words, files


def settings_for(
    bundle: Path | None, settings_file: Path | None = None, diameter_px: float | None = None
) -> RunSettings:
    """Return the settings of a bundle, changed by a file and a diameter, before a tensor is read."""
    run = pipeline.bundle_settings(bundle)
    if settings_file:
        run = pipeline.RunSettings.from_yaml(settings_file, run)
    return run if diameter_px is None else run.changed({"detection": {"cell_diameter_px": diameter_px}})


def say_stopped() -> None:
    """Report that Ctrl-C ended the command, in the JSON stream too."""
    sys.stderr.write(f"{STOPPED}\n")
    if Talk.latest is not None:
        Talk.latest.end("cancelled", STOPPED)


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def _epoch_line(report: events.EpochReport) -> str:
    """Return the losses and metrics of one epoch in words."""
    losses = {"training loss": report.train_loss, "validation": report.validation_loss}
    sentences = [f"{name} {value:.4f}" for name, value in losses.items() if not math.isnan(value)]
    sentences += [f"{name.replace('_', ' ')} {value:.3f}" for name, value in report.metrics.items()]
    return f"{report.epoch} of {report.n_epochs}: {', '.join(sentences)}"
