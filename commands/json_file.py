"""Numbers that a command produced, as a file for other programs."""

import json
from pathlib import Path
from typing import Any


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON values, indented; creates the folder where it is missing."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
