"""`dpc train` on images, from a store on disk to a checkpoint that is evaluated."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffusion_controller.commands.main import main
from diffusion_controller.data import ArraySpec, ReplayBuffer
from diffusion_controller.envs import PushTRenderer, initial_state
from diffusion_controller.policy import load_policy
from tests.policy.published_resnet import PublishedResNet18, with_lived_in_norms

CAMERA = "policy.encoder.encoders.camera"
NARROW = (f"{CAMERA}.width=8", f"{CAMERA}.num_keypoints=4", "policy.network.channels=[8,16]")
SHORT = ("training.num_steps=2", "training.batch_size=4", "evaluation.episodes=0")


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes at rest, seen by the camera of Push-T, in the published layout."""
    path = tmp_path_factory.mktemp("images") / "demos.zarr"
    specs = {
        "img": ArraySpec((96, 96, 3), np.uint8),
        "state": ArraySpec((5,), np.float32),
        "action": ArraySpec((2,), np.float32),
    }
    buffer = ReplayBuffer.create(path, specs, metadata={"control_hz": 10.0})
    renderer = PushTRenderer(96)
    for seed in (1_000_000, 1_000_001):
        state = initial_state(seed)
        buffer.append_episode(
            {
                "img": np.stack([renderer.draw(state)] * 20),
                "state": np.tile(state.astype(np.float32), (20, 1)),
                "action": np.tile(state[2:4].astype(np.float32), (20, 1)),
            },
            seed=seed,
        )
    return path


def _train(demonstrations: Path, out: Path, *words: str) -> int:
    return main(["train", f"data={demonstrations}", f"out={out}", *NARROW, *SHORT, *words])


@pytest.mark.parametrize(
    ("experiment", "condition_dim", "names"),
    [("pusht_image", 16, {"image"}), ("pusht_image_agent", 20, {"image", "agent"})],
)
def test_an_image_policy_is_trained_and_evaluated(
    demonstrations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    experiment: str,
    condition_dim: int,
    names: set[str],
) -> None:
    words = (f"experiment={experiment}", f"policy.network.condition_dim={condition_dim}")
    assert _train(demonstrations, tmp_path / "run", *words) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert warned == [
        "warning: in use, crop [84, 84] shows 77 % of image [96, 96]; its outer 12 rows and 12 "
        "columns, half of them on each side, are not seen; if it matters, set crop=null and padding"
    ]
    policy = load_policy(tmp_path / "run")
    assert set(policy.observation_shapes) == names
    stored = json.loads((tmp_path / "run" / "best" / "normalizer.json").read_text())
    assert isinstance(stored["channels"]["image"]["scale"], float)  # not one for each pixel
    few = ("episodes=2", "max_steps=8", "num_workers=0", "video=0", "num_inference_steps=2")
    assert main(["evaluate", f"policy={tmp_path / 'run'}", f"out={tmp_path / 'e'}", *few]) == 0


def test_a_training_begins_with_the_weights_of_a_file_and_a_checkpoint_needs_it_no_more(
    demonstrations: Path, tmp_path: Path
) -> None:
    file = tmp_path / "resnet18.safetensors"
    published = with_lived_in_norms(PublishedResNet18(width=8))
    save_file(published.state_dict(), file)
    words = (
        "experiment=pusht_image",
        "policy.network.condition_dim=16",
        f"{CAMERA}.norm=folded",
        f"encoder_weights={file}",
        "training.learning_rate=1e-9",
    )
    assert _train(demonstrations, tmp_path / "run", *words) == 0
    file.unlink()
    weights = load_policy(tmp_path / "run").state_dict()
    norm, convolution = published.bn1, published.conv1.weight
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    name = "_encoder.encoders.camera.cameras.image.network.stem.conv"
    torch.testing.assert_close(weights[f"{name}.bias"], norm.bias - norm.running_mean * factor)
    ratio = weights[f"{name}.weight"] / (convolution * factor[:, None, None, None])
    deviation = torch.tensor((0.229, 0.224, 0.225))
    torch.testing.assert_close(ratio[0, :, 0, 0], 1 / (2 * deviation), rtol=1e-3, atol=0)
    assert main(["train", f"resume={tmp_path / 'run'}"]) == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{CAMERA}.crop=[97,84]", "crop is [97, 84], larger than image of [96, 96] px"),
        (f"{CAMERA}.images.image=[128,128,3]", "in the demonstrations it has shape (96, 96, 3)"),
        (f"{CAMERA}.width=12", "width is 12; it must be a multiple of 8"),
        (f"{CAMERA}.norm=batch", "norm is 'batch'; expected one of group, folded"),
        ("task.observations.image.array=video", "no array data/video"),
        ("encoder_weights=nowhere.pth", "norm=group, for which these weights were not trained"),
        (f"{CAMERA}.color_jitter=0.1", "color_jitter is 0.1; expected null or"),
        ("task.normalization.image.range=null", "images need mode: min_max and a range"),
    ],
)
def test_an_image_training_that_cannot_be_is_refused(
    demonstrations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    override: str,
    message: str,
) -> None:
    words = ("experiment=pusht_image", "policy.network.condition_dim=16", override)
    assert _train(demonstrations, tmp_path / "run", *words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dpc: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_file_of_other_weights_is_refused(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"linear.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    words = (
        "experiment=pusht_image",
        "policy.network.condition_dim=16",
        f"{CAMERA}.norm=folded",
        f"encoder_weights={tmp_path / 'other.safetensors'}",
    )
    assert _train(demonstrations, tmp_path / "run", *words) == 2
    assert "other.safetensors lacks conv1.weight; expected the" in capsys.readouterr().err
