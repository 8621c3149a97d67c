"""How the documentation is built: ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

import napari_amil
import napari_amil.core
from napari_amil.core.base.presets import preset_table

project = "napari-amil"
author = "napari-amil contributors"
copyright = "2026, napari-amil contributors"
release = version = napari_amil.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_card.md", "_presets.md"]

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,
    "exclude-members": "model_config",
}
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False

html_math_renderer = "mathml"  # a script of another server would leave formulas raw without a network
html_theme = "furo"
html_title = "napari-amil"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8a1c4a", "color-brand-content": "#8a1c4a"},
    "dark_css_variables": {"color-brand-primary": "#f29bc1", "color-brand-content": "#f29bc1"},
}
copybutton_exclude = ".linenos, .gp, .go"

STEPS = [
    *("base", "images", "cohort", "encoders", "detection", "morphology", "mil", "anomaly", "model"),
    *(
        "training",
        "cell_types",
        "evaluation",
        "exchange",
        "instances",
        "studies",
        "report",
        "scoring",
        "pipeline",
    ),
]
API = Path(__file__).with_name("_api")


def setup(app: Any) -> None:  # noqa: ANN401 - Sphinx
    """Let every browser draw the formulas by itself, as MathML."""
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))


def _inline_formula(translator: Any, node: nodes.math) -> None:  # noqa: ANN401 - Sphinx
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _formula(translator: Any, node: nodes.math_block) -> None:  # noqa: ANN401 - Sphinx
    translator.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _write_api_pages() -> None:
    """Write one page for each name on the ladder, from the lowest step up."""
    package = napari_amil.core
    found = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for module in found:  # before autodoc, which imports them as if for a type checker
        importlib.import_module(module)
    API.mkdir(exist_ok=True)
    for old in API.glob("*.rst"):
        old.unlink()
    for name in STEPS:
        unit = f"{package.__name__}.{name}"
        modules = [module for module in found if module == unit or module.startswith(f"{unit}.")]
        if modules:
            lines = [name, "=" * len(name), ""]
            for module in modules:
                lines += _section(module, unit)
            API.joinpath(f"{name}.rst").write_text("\n".join(lines), encoding="utf-8")


def _section(module: str, unit: str) -> list[str]:
    """Return the lines of one file; the file or folder that names the page needs no heading."""
    title = module.removeprefix(f"{unit}.")
    heading = [title, "-" * len(title), ""] if module != unit else []
    return [*heading, f".. automodule:: {module}", ""]


_write_api_pages()
Path(__file__).with_name("_presets.md").write_text(preset_table(), encoding="utf-8")
card = napari_amil.load_model().describe()
Path(__file__).with_name("_card.md").write_text(f"```text\n{card}\n```\n", encoding="utf-8")
