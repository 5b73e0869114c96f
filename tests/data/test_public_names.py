import subprocess
import sys

import pytest

from diffusion_controller import data


@pytest.mark.parametrize("name", data.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(data, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ReplayBufer'"):
        _ = data.ReplayBufer


def test_importing_the_room_imports_neither_torch_nor_zarr() -> None:
    program = (
        "import sys, diffusion_controller.data;"
        "assert not {'torch', 'zarr', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
