"""The list of known runs, and the two pages (Prepare, Runs) of a panel that starts runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTabWidget,
    QWidget,
)

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import EVENTS_FILE
from napari_amil.plugin.training.detector_prepare import DetectorPage
from napari_amil.plugin.training.prepare import PreparePage
from napari_amil.plugin.training.run_commands import (
    ABLATION,
    DETECTOR,
    NETWORKS,
    TRAINING,
    DetectorCommand,
    NetworksCommand,
    TrainingCommand,
)
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.run_progress import progress
from napari_amil.plugin.training.run_view import RunView
from napari_amil.plugin.training.runs import Run
from napari_amil.plugin.window.panel import Panel, scrolling
from napari_amil.plugin.window.theme import wrapped

_POLL_MS = 250
_STATES = {
    "starting": "starting",
    "running": "running",
    "paused": "paused",
    "stopping": "ending",
    "finished": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
    "missing": "not found",
}
_MARKS = {"running": "▶", "paused": "‖", "finished": "✓", "failed": "✗", "interrupted": "!", "missing": "?"}
_MOST_ROWS = 3
_EMPTY = "No run yet: choose a cohort under Prepare and press Start training."


class RunList(QWidget):
    """A list of runs, and the chosen one in view.

    Parameters
    ----------
    viewer
        Viewer whose theme is followed.
    registry
        Which runs there are.
    kinds
        Of these the list shows those of some kinds.
    empty
        Text shown while there is none.
    """

    modelWanted = Signal(str)  # noqa: N815 - Qt's manner
    """The user wants to score with the model at this path."""

    def __init__(
        self,
        viewer: ViewerModel,
        registry: RunRegistry,
        kinds: frozenset[str] = frozenset({TRAINING, ABLATION, NETWORKS}),
        empty: str = _EMPTY,
    ) -> None:
        super().__init__()
        self._registry, self._kinds, self._empty = registry, kinds, empty
        self.runs: dict[Path, Run] = {}
        self._states: dict[Path, str] = {}
        self.list = QListWidget()
        self.list.setAccessibleName("Runs")
        self.notice = wrapped(empty)
        self.view = RunView(viewer)
        self._other = QPushButton("Open a run folder …")
        self._other.setToolTip("Show a training that another window or the command line started.")
        self.leave = QCheckBox("Go on when napari is closed")
        self.leave.setToolTip(
            "The trainings; the next window finds them. Else they end with it, and can be resumed."
        )
        self.leave.setChecked(True)
        layout = scrolling(self)
        head = QHBoxLayout()
        head.addWidget(QLabel("Runs"), 1)
        head.addWidget(self._other)
        layout.addLayout(head)
        parts: list[QWidget] = [self.list, self.notice, self.view, self.leave]
        for part in parts:
            layout.addWidget(part)
        layout.addStretch(1)
        self.list.currentItemChanged.connect(self._on_chosen)
        self._other.clicked.connect(self._on_open)
        self.view.modelWanted.connect(self.modelWanted)
        self.view.deleted.connect(self._on_deleted)
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self.poll)
        quit_choice = QuitChoice(self.runs)
        self.leave.toggled.connect(quit_choice.set_leave)
        application = QCoreApplication.instance()
        if application is not None:  # the panel may be gone by then, hence what is held here is not
            application.aboutToQuit.connect(lambda: quit_choice.apply())
        self._quit_choice = quit_choice
        self.reload()
        self._timer.start()

    def reload(self) -> None:
        """Take up the runs of the registry, those of other windows too."""
        for folder in self._registry.folders():
            if folder not in self.runs and (run := Run(folder)).kind in self._kinds:
                self._insert(run, self.list.count())
        if self.list.currentRow() < 0 and self.list.count():
            self.list.setCurrentRow(0)
        self._show_empty()

    def add(self, run: Run) -> None:
        """Put a run first and show it; its folder is remembered for the next window."""
        known = self.runs.get(run.folder)
        if known is None:
            self._insert(run, 0)
        self.choose(run.folder)
        self._show_empty()
        try:
            self._registry.add(run.folder)
        except AmilError as error:
            self.say(str(error))

    def say(self, text: str) -> None:
        """Show a sentence below the list, until another run is chosen."""
        self.notice.setText(text)
        self.notice.show()

    def choose(self, folder: Path) -> None:
        """Show the run in ``folder``."""
        for row in range(self.list.count()):
            item = self.list.item(row)
            if item is not None and item.data(Qt.ItemDataRole.UserRole) == str(folder):
                self.list.setCurrentItem(item)

    def chosen(self) -> Run | None:
        """Return the run in view."""
        item = self.list.currentItem()
        return self.runs.get(Path(item.data(Qt.ItemDataRole.UserRole))) if item is not None else None

    def n_alive(self) -> int:
        """Return the number of runs that are alive."""
        return sum(run.status().is_alive for run in self.runs.values())

    def poll(self) -> None:
        """Read the new events of the runs, and show them."""
        shown = self.chosen()
        for row in range(self.list.count()):
            item = self.list.item(row)
            if item is None:
                continue
            folder = Path(item.data(Qt.ItemDataRole.UserRole))
            run = self.runs[folder]
            try:
                changed = run.log.poll()
            except OSError:
                changed = False  # the status says that the folder is gone
            if changed or run is shown or self._states.get(folder) not in _SETTLED:
                self._show_state(item, run)
        if shown is not None and self.isVisible():
            self.view.refresh()

    def _show_state(self, item: QListWidgetItem, run: Run) -> None:
        status = run.status()
        self._states[run.folder] = status.state
        part = f", {_how_far(run)}" if status.is_alive else ""
        mark = _MARKS.get(status.state, "·")
        text = f"{mark}  {_name(run)}\n     {_STATES[status.state]}{part.removesuffix(', ')}"
        if item.text() != text:
            item.setText(text)
            item.setToolTip(f"{run.folder}\n{status.sentence}")

    def _insert(self, run: Run, row: int) -> None:
        self.runs[run.folder] = run
        item = QListWidgetItem()
        item.setData(Qt.ItemDataRole.UserRole, str(run.folder))
        item.setSizeHint(QSize(0, self._row_px()))
        self.list.insertItem(row, item)
        self._show_state(item, run)

    def _row_px(self) -> int:
        return int(2.6 * self.fontMetrics().lineSpacing())

    def _show_empty(self) -> None:
        is_empty = not self.list.count()
        rows = min(self.list.count(), _MOST_ROWS)
        self.list.setFixedHeight(rows * self._row_px() + 2 * self.list.frameWidth() + 4)
        self.list.setVisible(not is_empty)
        self.notice.setText(self._empty if is_empty else "")
        self.notice.setVisible(is_empty)

    def _on_chosen(self) -> None:
        self.view.show_run(self.chosen())
        self._show_empty()

    def _on_deleted(self, run: Run) -> None:
        self._registry.remove(run.folder)
        del self.runs[run.folder]
        for row in range(self.list.count()):
            item = self.list.item(row)
            if item is not None and item.data(Qt.ItemDataRole.UserRole) == str(run.folder):
                self.list.takeItem(row)
                break
        self._show_empty()

    def _on_open(self) -> None:
        dialog = QFileDialog(self, "Open a run folder")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.fileSelected.connect(self._open)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setModal(False)
        dialog.show()

    def _open(self, folder: str) -> None:
        path = Path(folder)
        if not any((path / name).exists() for name in (EVENTS_FILE, "run.yaml")):
            self.say(f"'{path}' is no run folder: it has neither {EVENTS_FILE} nor run.yaml.")
            return
        run = self.runs.get(path) or Run(path)
        if run.kind in self._kinds:
            self.add(run)
        else:
            self.say(f"'{path}' is a run of '{run.kind}', which another panel shows.")


class QuitChoice:
    """The choice to leave or to cancel running trainings when the application ends.

    Parameters
    ----------
    runs
        The runs of a list, which may grow.
    """

    def __init__(self, runs: dict[Path, Run]) -> None:
        self._runs = runs
        self._leave = True

    def set_leave(self, leave: bool) -> None:
        """Let them go on, or not."""
        self._leave = leave

    def apply(self) -> None:
        """End the trainings that are not to go on; their last whole epoch is kept."""
        for run in [] if self._leave else self._runs.values():
            with suppress(AmilError):  # another program's process is left alone
                run.cancel()


_SETTLED = {"finished", "failed", "cancelled", "interrupted"}


def _how_far(run: Run) -> str:
    """Return the progress of a living run in a few words; empty where it is not known."""
    if run.kind in {TRAINING, NETWORKS}:
        last = run.log.now.last if run.log.now is not None else None
        return f"epoch {last.epoch + 1} of {last.n_epochs}" if last is not None else ""
    done, total = progress(run)
    if run.kind == DETECTOR:
        return f"step {done} of {total}" if total else ""
    return f"training {min(done + 1, total)} of {total}" if total else ""


def _name(run: Run) -> str:
    return f"{run.folder.parent.name.removesuffix('-runs')} · {run.folder.name}"


class RunPages(Panel):
    """Prepare and Runs, one behind the other; a run that is alive is shown at once."""

    started = Signal(object)
    """A `Run`, once its process was started."""
    prepare: PreparePage | DetectorPage
    runs: RunList

    def _lay_out(self) -> None:
        """Put `prepare` and `runs` on their pages."""
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        bar = self.pages.tabBar()
        if bar is not None:
            bar.setDrawBase(False)
        self.pages.addTab(self.prepare, "Prepare")
        self.pages.addTab(self.runs, "Runs")
        self._frame.setContentsMargins(0, 4, 0, 0)
        self._show_content(self.pages)
        self.prepare.wanted.connect(self.start)
        self.pages.currentChanged.connect(self._on_page_changed)
        if self.runs.n_alive():
            self.pages.setCurrentWidget(self.runs)

    def start(self, plan: TrainingCommand | NetworksCommand | DetectorCommand) -> None:
        """Lay out the run folder, start its process and show it."""
        try:
            run = Run.from_command(plan)
            run.start()
        except AmilError as error:
            self.prepare.refuse(str(error))
            return
        self.runs.add(run)
        self.pages.setCurrentWidget(self.runs)
        self.started.emit(run)

    def _on_page_changed(self, _: int) -> None:
        if self.pages.currentWidget() is self.runs:
            self.runs.reload()


class TrainingPanel(RunPages):
    """The pages of a panel that trains models; other panels may choose its cohort."""

    TITLE = "Train a model"
    TERMS = (
        "Anomaly",
        "Attention",
        "Bag",
        "Calibration",
        "Cohort",
        "Control",
        "Embedding",
        "Encoder",
        "Epoch",
        "Fold",
        "Held out",
        "p-value",
    )
    prepare: PreparePage

    def use_cohort(self, path: Path | None) -> None:
        """Show a cohort on the page that prepares a training."""
        self.prepare.cohort.setValue(path)
        self.pages.setCurrentWidget(self.prepare)
