"""`dpc data inspect`: print what a set of demonstrations holds and draw its episodes."""

from omegaconf import DictConfig

from diffusion_controller.commands.json_file import write_json
from diffusion_controller.data import ReplayBuffer
from diffusion_controller.data.inspect import draw_episodes, format_summary, summarize


def run(config: DictConfig) -> int:
    """Print the table, then write the files that were asked for."""
    buffer = ReplayBuffer.open(config.path)
    summary = summarize(buffer)
    print(format_summary(summary))
    if config.json is not None:
        write_json(config.json, summary.to_json())
        print(f"table: {config.json}")
    if config.picture is not None:
        print(f"picture: {draw_episodes(buffer, config.picture)}")
    return 0
