"""What several files of the repository state alike."""

import re

import yaml
from repository_root import REPOSITORY

from mmdet_lite import __version__


def test_the_version_has_a_section_in_the_changelog_and_is_cited():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d\S*)", changelog, re.MULTILINE)
    assert released[0] == __version__
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == __version__


def test_a_commit_is_checked_by_the_tested_ruff():
    tested = (REPOSITORY / "requirements" / "tested.txt").read_text().splitlines()
    settings = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    pins = {
        hook["id"]: hook["additional_dependencies"][0]
        for repository in settings["repos"]
        for hook in repository["hooks"]
        if "additional_dependencies" in hook
    }
    assert pins["ruff-check"] == pins["ruff-format"]
    assert pins["ruff-check"] in tested
