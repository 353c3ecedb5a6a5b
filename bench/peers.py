"""The peers: installed beside callbridge, in an environment of their own, and never copied."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent.parent / ".venv-peers"
PYTHON: Final = FOLDER / "bin" / "python"

WANTED: Final = ("greenswitch==0.0.19", "genesis==2026.10.18")
"""What callbridge is measured against: the versions of these figures."""


def install() -> None:
    """Make the environment, unless it is there."""
    ready = FOLDER / "ready"
    wanted = "\n".join(WANTED)
    if ready.exists() and ready.read_text() == wanted:
        return
    print(f"installing {', '.join(WANTED)} into {FOLDER.name}", file=sys.stderr)
    venv.create(FOLDER, with_pip=True, clear=True, symlinks=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WANTED], check=True)
    ready.write_text(wanted)


if __name__ == "__main__":
    install()
