"""The demonstrations that come with the package."""

from importlib.resources import as_file, files

import numpy as np

from diffusion_controller.data import ReplayBuffer
from diffusion_controller.envs import PushTSimulation
from diffusion_controller.envs.pusht import SUCCESS_COVERAGE


def test_the_embedded_demonstrations_succeed_when_they_are_replayed() -> None:
    resource = files("diffusion_controller.data") / "embedded" / "pusht_scripted.zarr.zip"
    with as_file(resource) as path:
        buffer = ReplayBuffer.open(path)
        assert path.stat().st_size < 3_000_000
    seeds = buffer.metadata["seeds"]
    assert buffer.num_episodes == len(seeds) == 200
    assert min(seeds) >= 1_000_000
    simulation = PushTSimulation()
    final_coverage = []
    for index in range(0, buffer.num_episodes, 10):
        simulation.reset(seeds[index])
        for action in buffer.episode(index)["action"]:
            simulation.step(action)
        final_coverage.append(simulation.coverage)
    # Actions are stored in float32; a contact may amplify that.
    assert np.mean(np.array(final_coverage) > SUCCESS_COVERAGE - 0.01) >= 0.9
