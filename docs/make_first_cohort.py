"""The printed output on the page ``first-cohort.md``: ``python docs/make_first_cohort.py [--keep FOLDER]``.

The commands of the page run one after the other in an empty folder (``--keep`` names one that stays, and
goes on where it was), and what they print is written below each. Lines of single epochs are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("first-cohort.md")
_FENCE = re.compile(r"^```(bash|yaml|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EPOCH = re.compile(r"^\d+ of \d+: ")


def blocks(text: str) -> list[tuple[str, str]]:
    """Return kind and content of the blocks of a page: commands, settings files and output."""
    return _FENCE.findall(text)


def settings_file(content: str) -> str:
    """Return the name of a settings file, which stands in its first line."""
    return content.partition(":")[0].removeprefix("# ").strip()


def shown(printed: str) -> str:
    """Return what a command printed without its epochs."""
    return "".join(f"{line}\n" for line in printed.splitlines() if line and not _EPOCH.match(line))


def printed_by(commands: str, folder: Path) -> str:
    """Run the commands of a block and return what they print."""
    said = []
    for line in commands.splitlines():
        words = shlex.split(line)
        run = [sys.executable, "-m", "napari_amil", *words[1:]]
        done = subprocess.run(
            run,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        said.append(shown(done.stdout))
    return "".join(said)


def main() -> None:
    """Run the page and write it anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        text, printed = PAGE.read_text(encoding="utf-8"), ""

        def renewed(found: re.Match[str]) -> str:
            nonlocal printed
            kind, content = found.groups()
            if kind == "yaml":
                (folder / settings_file(content)).write_text(content, encoding="utf-8")
            elif kind == "bash":
                printed = printed_by(content, folder)
                sys.stdout.write(printed)
            elif printed:
                content, printed = printed, ""
            return f"```{kind}\n{content}```"

        PAGE.write_text(_FENCE.sub(renewed, text), encoding="utf-8")


if __name__ == "__main__":
    main()
