"""What the documents point at exists."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "commands").is_dir(), reason="needs a checkout of the repository"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    broken = [
        target
        for target in targets
        if target and "://" not in target and not (document.parent / target).exists()
    ]
    assert not broken, broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", document.read_text(encoding="utf-8")))
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in REPOSITORY.glob("tests/**/*.py")
    )
    missing = {name for name in named if f"def {name}(" not in sources}
    assert not missing, missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_shown_is_a_command(document: Path) -> None:
    from diffusion_controller.commands.table import find_command

    text = document.read_text(encoding="utf-8")
    shown = re.findall(r"(?:^|`)\s*dpc ((?:[a-z]+ ?)+)", text, flags=re.MULTILINE)
    unknown = [words for words in shown if find_command(words.split()) is None and words != "data "]
    assert not unknown, unknown
