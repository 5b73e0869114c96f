"""`dpc data download`: fetch published demonstrations, with resume and checksum."""

import re

from omegaconf import DictConfig
from tqdm import tqdm

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.data.download import download_dataset


def run(config: DictConfig) -> int:
    """Fetch, check, and say how to go on."""
    if config.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", str(config.sha256)):
        raise CommandError(f"sha256={config.sha256}; give 64 hexadecimal digits")
    if config.timeout <= 0:
        raise CommandError(f"timeout={config.timeout}; give a time above 0 s")
    with tqdm(unit="B", unit_scale=True, desc=config.dataset) as progress:

        def report(done: int, total: int | None) -> None:
            progress.total = total
            progress.update(done - progress.n)

        path = download_dataset(
            config.dataset,
            config.out,
            sha256=config.sha256,
            timeout=config.timeout,
            report=report,
        )
    print(f"{path} is whole")
    print(f"look at it:      dpc data inspect {path}")
    print(f"check it:        dpc data validate {path}")
    print(f"learn from it:   dpc train data={path}")
    return 0
