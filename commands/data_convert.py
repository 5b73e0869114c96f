"""`dpc data convert`: rewrite demonstrations in the format that training reads fastest."""

from omegaconf import DictConfig, ListConfig
from tqdm import tqdm

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.data.convert import convert_buffer


def run(config: DictConfig) -> int:
    """Convert with a progress bar, and say where the result is."""
    episodes = config.episodes
    if episodes is not None and not (
        isinstance(episodes, ListConfig) and all(type(index) is int for index in episodes)
    ):
        raise CommandError(f"episodes={episodes}; give a list of numbers, for instance [0,1,2]")
    with tqdm(unit="episode", desc="convert") as progress:

        def report(done: int, total: int) -> None:
            progress.total = total
            progress.update(done - progress.n)

        path = convert_buffer(
            config.path,
            config.out,
            drop=[str(name) for name in config.drop],
            episodes=None if episodes is None else list(episodes),
            allow_missing_chunks=config.allow_missing_chunks,
            report=report,
        )
    print(f"{progress.n} episodes: {path}")
    print(f"learn from them: dpc train data={path}")
    return 0
