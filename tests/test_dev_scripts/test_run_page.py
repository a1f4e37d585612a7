"""The commands of a page run in order, and a page whose command fails is noticed."""

import subprocess
import sys

import pytest
from run_page import commands_of

PAGE = """# Title

```bash
WORD=first
echo "$WORD"
```

```python
raise SystemExit("no command of the shell")
```

```bash
echo second \\
    line
"""


@pytest.fixture
def run(repository, tmp_path):
    """Function that runs the commands of a page in a folder of their own."""

    def run(text):
        (tmp_path / "page.md").write_text(text)
        script = str(repository / ".dev_scripts" / "run_page.py")
        return subprocess.run(
            [sys.executable, script, "page.md"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_commands_run_in_order_in_one_shell(run):
    result = run(PAGE + "```\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "first\nsecond line\n"


def test_the_first_failure_ends_the_run(run):
    result = run(PAGE + "exit 3\necho third\n```\n")
    assert result.returncode == 3
    assert "third" not in result.stdout


def test_a_page_without_commands_is_refused(run):
    assert run("# Title\n").returncode == 2


def test_the_tutorial_has_commands(repository):
    assert "tools/train.py" in commands_of(repository / "docs" / "tutorial.md")
