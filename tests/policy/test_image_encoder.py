"""Cameras as observations of a policy."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion_controller.data import WindowBatch
from diffusion_controller.policy import (
    ColorJitter,
    ConcatEncoder,
    DiffusionPolicy,
    ImageEncoder,
    StateEncoder,
    load_policy,
    save_policy,
)
from diffusion_controller.policy.encoders import EncoderError
from tests.policy.image_policies import SIDE, image_batch, image_observation, image_policy

IMAGES = {"front": [SIDE, SIDE, 3], "wrist": [SIDE, SIDE, 3]}


def _encoder(**changes: Any) -> ImageEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ImageEncoder(
            **{"images": IMAGES, "crop": [40, 40], "width": 8, "num_keypoints": 4, **changes}
        )


def _seen(names: Iterable[str] = IMAGES) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (3, 2, SIDE, SIDE, 3)
    return {name: torch.rand(shape, generator=generator) * 2 - 1 for name in names}


def _draws(encoder: ImageEncoder | ConcatEncoder | DiffusionPolicy, size: int = 3) -> torch.Tensor:
    shape = (size, encoder.augmentation_dim)
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("is_shared", [False, True])
def test_each_camera_has_features_of_its_own_side_by_side(is_shared: bool) -> None:
    encoder, seen = _encoder(is_shared=is_shared), _seen()
    features = encoder(seen)
    assert features.shape == (3, 2, encoder.feature_dim) == (3, 2, 16)
    other = encoder({**seen, "wrist": -seen["wrist"]})
    assert torch.equal(other[..., :8], features[..., :8])
    assert not torch.allclose(other[..., 8:], features[..., 8:])


def test_a_shared_network_sees_every_camera_alike() -> None:
    encoder, seen = _encoder(is_shared=True), _seen()
    features = encoder({"front": seen["wrist"], "wrist": seen["front"]})
    torch.testing.assert_close(features.roll(8, dims=-1), encoder(seen), atol=1e-5, rtol=1e-4)
    own = sum(weight.numel() for weight in _encoder().parameters())
    assert 2 * sum(weight.numel() for weight in encoder.parameters()) == own


def test_each_time_step_is_encoded_alone() -> None:
    encoder, seen = _encoder(), _seen()
    reversed_in_time = {name: pictures.flip(1) for name, pictures in seen.items()}
    torch.testing.assert_close(
        encoder(reversed_in_time), encoder(seen).flip(1), atol=1e-5, rtol=1e-4
    )


def test_in_use_the_middle_is_seen_and_in_training_any_part() -> None:
    encoder, seen = _encoder(), _seen()
    framed = {name: torch.full_like(pictures, -1) for name, pictures in seen.items()}
    for name, pictures in seen.items():
        framed[name][:, :, 4:44, 4:44] = pictures[:, :, 4:44, 4:44]
    assert torch.equal(encoder(framed), encoder(seen))
    draws = _draws(encoder)
    assert not torch.allclose(encoder(framed, draws), encoder(seen, draws))


def test_the_same_draws_give_the_same_features_and_others_give_others() -> None:
    encoder = _encoder(color_jitter=ColorJitter())
    assert encoder.augmentation_dim == 2 * (2 + 3)
    seen, draws = _seen(), _draws(encoder)
    assert torch.equal(encoder(seen, draws), encoder(seen, draws))
    for column in range(encoder.augmentation_dim):
        changed = draws.clone()
        changed[:, column] = (changed[:, column] + 0.5) % 1
        moved = (encoder(seen, changed) != encoder(seen, draws)).any(dim=0).any(dim=0)
        assert moved[:8].any() == (column < 5)  # a camera has draws of its own
        assert moved[8:].any() == (column >= 5)


def test_without_crop_and_jitter_there_is_nothing_to_draw() -> None:
    encoder = _encoder(crop=None)
    assert encoder.augmentation_dim == 0
    assert torch.equal(encoder(_seen(), torch.empty(3, 0)), encoder(_seen()))


def test_a_shifted_picture_is_whole_in_use() -> None:
    encoder, whole = _encoder(crop=None, padding=4), _encoder(crop=None)
    assert encoder.augmentation_dim == 4
    assert torch.equal(encoder(_seen()), whole(_seen()))
    assert not torch.allclose(encoder(_seen(), _draws(encoder)), whole(_seen()))
    assert list(encoder.cut_off()) == []


def test_what_a_crop_cuts_off_is_told_in_figures() -> None:
    encoder = _encoder(images={"image": [96, 96, 3]}, crop=[84, 84])
    assert list(encoder.cut_off()) == [
        "in use, crop [84, 84] shows 77 % of image [96, 96]; its outer 12 rows and 12 columns, "
        "half of them on each side, are not seen"
    ]
    assert list(_encoder(crop=[SIDE, SIDE]).cut_off()) == []


def test_joined_encoders_are_each_given_their_draws() -> None:
    first, agent = _encoder(), StateEncoder(observations={"agent": [2]})
    third = _encoder(images={"side": [SIDE, SIDE, 3]}, color_jitter=ColorJitter())
    joined = ConcatEncoder(encoders={"first": first, "agent": agent, "third": third})
    seen = {**_seen([*IMAGES, "side"]), "agent": torch.rand(3, 2, 2)}
    assert joined.augmentation_dim == 4 + 0 + 5
    draws = _draws(joined)
    expected = (first(seen, draws[:, :4]), agent(seen), third(seen, draws[:, 4:]))
    assert torch.equal(joined(seen, draws), torch.cat(expected, dim=-1))
    assert torch.equal(joined(seen), torch.cat((first(seen), agent(seen), third(seen)), dim=-1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "images is empty"),
        ({"images": {"front": [SIDE, SIDE]}}, r"images.front is \[48, 48\]; expected height"),
        ({"crop": [49, 40]}, r"crop is \[49, 40\], larger than front of \[48, 48\] px"),
        ({"crop": [40]}, r"crop is \[40\]; expected height and width"),
        ({"crop": [40, 32]}, r"of front \[40, 32\] px are seen; more than 32 are needed each way"),
        ({"width": 12}, "width is 12; it must be a multiple of 8"),
        ({"num_keypoints": 0}, "num_keypoints is 0"),
        ({"padding": -1}, "padding -1"),
        ({"color_jitter": 0.1}, "color_jitter is 0.1; expected null or"),
        (
            {"images": {"depth": [SIDE, SIDE, 1]}, "color_jitter": ColorJitter()},
            "color_jitter needs RGB, pictures of 3 channels",
        ),
        (
            {"images": {"front": [48, 48, 3], "depth": [48, 48, 1]}, "is_shared": True},
            "one network for all cameras needs the same size and channels",
        ),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        _encoder(**changes)


def test_a_loss_of_pixels_learns_and_takes_its_augmentation_from_the_draws() -> None:
    policy, batch = image_policy().train(), image_batch()
    noise = torch.randn(4, 8, 2, generator=torch.Generator().manual_seed(0))
    given: dict[str, Any] = {"noise": noise, "timestep": torch.tensor([0, 10, 50, 99])}
    draws = _draws(policy, 4)
    loss = policy.loss(batch, **given, augmentation=draws)
    assert torch.equal(loss, policy.loss(batch, **given, augmentation=draws))
    assert not torch.equal(loss, policy.loss(batch, **given, augmentation=1 - draws))
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for _ in range(20):
        loss = policy.loss(batch, **given, augmentation=draws)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss < 0.5 * policy.loss(batch, **{**given, "noise": -noise})
    assert all(weight.grad is not None for weight in policy.parameters())


def test_pixels_are_normalized_where_the_policy_computes() -> None:
    policy, batch = image_policy(), image_batch()
    given: dict[str, Any] = {"noise": torch.zeros(4, 8, 2), "timestep": torch.zeros(4).long()}
    floats = WindowBatch({n: v.float() for n, v in batch.observation.items()}, batch.action)
    assert batch.observation["image"].dtype == torch.uint8
    assert torch.equal(policy.loss(batch, **given), policy.loss(floats, **given))
    normalized = policy.normalization.normalize("image", torch.tensor([0, 255]).byte())
    torch.testing.assert_close(normalized, torch.tensor([-1.0, 1.0]))


def test_the_shares_of_a_batch_are_augmented_as_the_whole() -> None:
    policy, batch = image_policy(), image_batch()
    draws, noise = _draws(policy, 4), torch.randn(4, 8, 2)
    timestep = torch.tensor([0, 10, 50, 99])
    whole = policy.loss(batch, noise=noise, timestep=timestep, augmentation=draws)
    shares = [
        policy.loss(
            WindowBatch({n: v[part] for n, v in batch.observation.items()}, batch.action[part]),
            noise=noise[part],
            timestep=timestep[part],
            augmentation=draws[part],
        )
        for part in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(whole, torch.stack(shares).mean())


@pytest.mark.parametrize(
    "camera",
    [
        {},
        {"color_jitter": {"_target_": "diffusion_controller.policy.ColorJitter"}},
        {"norm": "folded", "crop": None, "padding": 2},
        {"images": {"image": [SIDE, SIDE, 3], "wrist": [SIDE, SIDE, 3]}, "is_shared": True},
    ],
)
def test_a_saved_policy_of_images_plans_as_before(tmp_path: Path, camera: dict[str, Any]) -> None:
    policy, seen = image_policy(**camera), image_observation()
    seen["wrist"] = seen["image"][::-1]
    expected = policy.predict_chunk(seen, seeds=[1, 2, 3])
    loaded = load_policy(save_policy(policy, tmp_path / "policy", metrics={}))
    assert torch.equal(loaded.predict_chunk(seen, seeds=[1, 2, 3]), expected)
    assert loaded.augmentation_dim == policy.augmentation_dim


def test_a_picture_reaches_the_chunk() -> None:
    policy = image_policy()
    chunk = policy.predict_chunk(image_observation(), seeds=[1, 2, 3])
    other = {**image_observation(), "image": image_observation(seed=1)["image"]}
    assert not torch.allclose(chunk, policy.predict_chunk(other, seeds=[1, 2, 3]))
