"""Fixtures that several folders use."""

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side; spinning worker threads would fight over the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def published_demonstrations() -> Path:
    """Path of the published Push-T demonstrations (a zip), or a skip that says why."""
    given = os.environ.get("DPC_PUSHT_ZIP")
    path = Path(given) if given else REPOSITORY.parent / "shared" / "data" / "pusht.zip"
    if not path.is_file():
        pytest.skip(f"the published demonstrations are not at {path}; set DPC_PUSHT_ZIP")
    return path
