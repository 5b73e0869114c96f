"""Train on the embedded demonstrations, load the checkpoint, roll it out on held-out starts.

python examples/train_and_roll_out.py FOLDER OPTIMIZER_STEPS STARTS
"""

import sys
from pathlib import Path

from diffusers import DDPMScheduler

import diffusion_controller.data as data
from diffusion_controller.policy import (
    ConditionalUnet1d,
    DiffusionPolicy,
    StateEncoder,
    load_policy,
)
from diffusion_controller.runtime import evaluate_policy
from diffusion_controller.training import Run, TrainingSettings, train

folder, steps, starts = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

buffer = data.ReplayBuffer.open(data.EMBEDDED_DEMONSTRATIONS)
observations = {"keypoints": data.ArrayField("keypoint"), "agent": data.ArrayField("state", (0, 1))}
windows = data.load_windows(
    buffer, observations, data.ArrayField("action"), horizon=16, obs_horizon=2, action_horizon=8
)
arrays = {name: values.numpy() for name, values in windows.observations.items()}
arrays["action"] = windows.actions.numpy()
normalizer = data.Normalizer.fit(arrays, dict.fromkeys(arrays, "min_max"))

policy = DiffusionPolicy(
    encoder=StateEncoder(observations={"keypoints": (9, 2), "agent": (2,)}),
    network=ConditionalUnet1d(action_dim=2, condition_dim=40, channels=(32, 64), timestep_dim=64),
    noise_scheduler=DDPMScheduler(100, beta_schedule="squaredcos_cap_v2", prediction_type="sample"),
    normalizer=normalizer,
)
settings = TrainingSettings(num_steps=steps, batch_size=128, learning_rate=1e-3, warmup_steps=50)
train(policy, windows, settings, Run(directory=folder, provenance={"data": "embedded"}))

trained = load_policy(folder, sampler="ddim", num_inference_steps=10)
result = evaluate_policy(trained, seeds=range(100_000, 100_000 + starts))
low, high = result.mean_score_interval
print(f"mean score {result.mean_score:.3f}, 95 % interval {low:.3f} to {high:.3f}, {starts} starts")
