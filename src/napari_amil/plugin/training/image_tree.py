"""A tree of class, patient, sample and image, filled and sorted by dragging; no file is moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from qtpy.QtCore import QMimeData, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp"})
CLASS, PATIENT, SAMPLE, IMAGE = "class", "patient", "sample", "image"
_LEVELS = (CLASS, PATIENT, SAMPLE)
_KIND = Qt.ItemDataRole.UserRole
_PATH = Qt.ItemDataRole.UserRole + 1
_MOST_LEVELS = 3


class ImageTree(QTreeWidget):
    """Images below their sample, patient and class."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderLabels(["Class, patient, sample, image", "Images"])
        self.setAccessibleName("Images by class, patient and sample")
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setDragEnabled(True)
        self.setAcceptDrops(True)
        self.setDropIndicatorShown(True)
        header = self.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.itemChanged.connect(self._on_renamed)

    def placed(self) -> list[tuple[str, str, str, str]]:
        """Return path, class, patient and sample of every image, in the order of the tree."""
        found = []
        for item in self._all(self.invisibleRootItem()):
            if _kind(item) == IMAGE:
                names = _names(item)
                found.append((str(item.data(0, _PATH)), *(names.get(level, "") for level in _LEVELS)))
        return [(path, label, patient, sample) for path, label, patient, sample in found]

    def add_paths(self, paths: Iterable[Path], target: QTreeWidgetItem | None = None) -> int:
        """Put images, and all images below folders, where they were dropped; return how many are new.

        On nothing a folder becomes a class, the folders in it its patients, those in these samples;
        on a class it becomes a patient; on a patient its images become those of the patient.
        """
        known = {path for path, *_ in self.placed()}
        before = self._names_of(target)
        n_added = 0
        for dropped in paths:
            for image in _images(dropped):
                if str(image) in known:
                    continue
                folders = _folders(dropped, image)
                names = (before + folders)[:_MOST_LEVELS] if len(before) < 2 else before
                self._insert(image, _complete(names, image))
                known.add(str(image))
                n_added += 1
        self._recount()
        return n_added

    def move_items(self, items: Sequence[QTreeWidgetItem], target: QTreeWidgetItem | None) -> None:
        """Move images to a class, patient or sample; the images of a group that is moved go with it."""
        before = self._names_of(target)
        for item in items:
            for image in [each for each in (item, *self._all(item)) if _kind(each) == IMAGE]:
                own = _names(image)
                names = before or [own[CLASS]]
                if len(names) == 1:
                    names = [*names, own[PATIENT], *([own[SAMPLE]] if SAMPLE in own else [])]
                path = Path(str(image.data(0, _PATH)))
                _detach(image, self)
                self._insert(path, names)
        self._recount()

    def add_group(self, level: str) -> QTreeWidgetItem | None:
        """Add an empty class, or a patient to the chosen class; its name can be typed at once."""
        names = self._names_of(self.currentItem())
        if level == PATIENT and not names:
            return None
        wanted = [] if level == CLASS else names[:1]
        parent = self._group(wanted) if wanted else self.invisibleRootItem()
        taken = {child.text(0) for child in _children(parent)}
        name = next(text for n in range(1, len(taken) + 2) if (text := f"{level} {n}") not in taken)
        item = self._group([*wanted, name])
        self.setCurrentItem(item)
        self._recount()
        return item

    def remove_chosen(self) -> None:
        """Remove the chosen rows from the tree; the files stay."""
        for item in self.selectedItems():
            _detach(item, self)
        self._recount()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802
        """Take own items, and files."""
        self._accept(event)

    def dragMoveEvent(self, event: QDragMoveEvent | None) -> None:  # noqa: N802
        """Accept the drag where it can be dropped."""
        self._accept(event)

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802
        """Put files or own items where they are dropped."""
        if event is None:
            return
        target = self.itemAt(event.position().toPoint())
        if event.source() is self:
            self.move_items(self.selectedItems(), target)
        else:
            self.add_paths(_local(event.mimeData()), target)
        event.acceptProposedAction()

    def _accept(self, event: QDragEnterEvent | QDragMoveEvent | None) -> None:
        if event is not None and (event.source() is self or _local(event.mimeData())):
            event.acceptProposedAction()

    def _names_of(self, item: QTreeWidgetItem | None) -> list[str]:
        """Return the names of the group that ``item`` is or lies in, from the class down."""
        if item is None:
            return []
        names = _names(item)
        return [names[level] for level in _LEVELS if level in names]

    def _insert(self, image: Path, names: list[str]) -> None:
        item = QTreeWidgetItem([image.name])
        item.setData(0, _KIND, IMAGE)
        item.setData(0, _PATH, str(image))
        item.setToolTip(0, str(image))
        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsDropEnabled)
        self._group(names).addChild(item)

    def _group(self, names: list[str]) -> QTreeWidgetItem:
        """Return the class, patient or sample of these names, made if need be."""
        group = self.invisibleRootItem()
        assert group is not None
        for level, name in zip(_LEVELS, names, strict=False):
            known = (c for c in _children(group) if c.text(0) == name and _kind(c) == level)
            found = next(known, None)
            if found is None:
                found = QTreeWidgetItem([name])
                found.setData(0, _KIND, level)
                found.setToolTip(0, f"{level}: press F2 to rename it")
                found.setFlags(found.flags() | Qt.ItemFlag.ItemIsEditable)
                group.addChild(found)
                found.setExpanded(level == CLASS)
            group = found
        return group

    def _all(self, item: QTreeWidgetItem | None) -> list[QTreeWidgetItem]:
        return [each for child in _children(item) for each in (child, *self._all(child))]

    def _recount(self) -> None:
        """Show the number of images of each group, and emit the change."""
        self.blockSignals(True)
        for item in self._all(self.invisibleRootItem()):
            if _kind(item) != IMAGE:
                item.setText(1, str(sum(_kind(each) == IMAGE for each in self._all(item))))
        self.blockSignals(False)
        self.changed.emit()

    def _on_renamed(self, item: QTreeWidgetItem, column: int) -> None:
        if column == 0 and _kind(item) in _LEVELS:
            self.changed.emit()


def _kind(item: QTreeWidgetItem) -> str:
    return str(item.data(0, _KIND))


def _children(item: QTreeWidgetItem | None) -> list[QTreeWidgetItem]:
    if item is None:
        return []
    return [child for i in range(item.childCount()) if (child := item.child(i)) is not None]


def _names(item: QTreeWidgetItem) -> dict[str, str]:
    """Return ``level -> name`` of the groups that an item is and lies in."""
    names: dict[str, str] = {}
    at: QTreeWidgetItem | None = item
    while at is not None:
        if _kind(at) in _LEVELS:
            names[_kind(at)] = at.text(0).strip()
        at = at.parent()
    return names


def _detach(item: QTreeWidgetItem, tree: QTreeWidget) -> None:
    parent = item.parent() or tree.invisibleRootItem()
    if parent is not None:
        parent.removeChild(item)


def _images(dropped: Path) -> list[Path]:
    """Return an image, or all images below a folder, in their order."""
    files = sorted(dropped.rglob("*")) if dropped.is_dir() else [dropped]
    return [file for file in files if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]


def _folders(dropped: Path, image: Path) -> list[str]:
    """Return the names of the folders from the one that was dropped down to the image."""
    if not dropped.is_dir():
        return []
    return [dropped.name, *image.relative_to(dropped).parts[:-1]]


def _complete(names: list[str], image: Path) -> list[str]:
    """Return at least a class and a patient: the folder of the image stands in for either."""
    folder = image.parent.name or "images"
    if not names:
        return [folder, image.stem]
    return names if len(names) > 1 else [*names, image.stem if names[0] == folder else folder]


def _local(data: QMimeData | None) -> list[Path]:
    urls = data.urls() if data is not None else []
    return [Path(url.toLocalFile()) for url in urls if url.toLocalFile()]
