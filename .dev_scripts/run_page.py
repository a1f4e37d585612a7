"""Run the commands of a Markdown page, as a reader would who pastes them one by one.

    python .dev_scripts/run_page.py docs/tutorial.md

Takes the blocks that are marked bash, in order, in one shell, from the folder at hand.
The first command that fails ends the run with its status.
"""

import argparse
import re
import subprocess
from pathlib import Path

_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands_of(page: str | Path) -> str:
    """The commands of a page as one script; empty if it has none."""
    return "\n".join(_BLOCK.findall(Path(page).read_text()))


def main() -> None:
    """Run them, and leave with their status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", help="Markdown page")
    script = commands_of(parser.parse_args().page)
    if not script:
        parser.error("the page has no commands")
    shell = ["bash", "-o", "errexit", "-o", "nounset", "-o", "pipefail", "-o", "xtrace"]
    raise SystemExit(subprocess.run([*shell, "-c", script], check=False).returncode)


if __name__ == "__main__":
    main()
