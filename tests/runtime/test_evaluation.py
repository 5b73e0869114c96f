import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusion_controller.runtime import (
    ChunkError,
    EvaluationError,
    EvaluationResult,
    TrainingSeedError,
    WorkerError,
    chunk_seed,
    evaluate_policy,
)
from diffusion_controller.runtime.episode_slots import EnvironmentSpec, EpisodeSlots
from tests.runtime.doubles import ScriptedPolicy

SEEDS = tuple(range(100_000, 100_007))


def evaluate(seeds: Sequence[int] = SEEDS, **given: Any) -> EvaluationResult:
    arguments: dict[str, Any] = {"max_steps": 60, "batch_size": 4}
    return evaluate_policy(ScriptedPolicy(), seeds=seeds, **(arguments | given))


@pytest.fixture(scope="module")
def reference() -> EvaluationResult:
    return evaluate()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_do_not_depend_on_the_number_of_workers(
    reference: EvaluationResult, num_workers: int
) -> None:
    assert evaluate(num_workers=num_workers).episodes == reference.episodes


def test_the_result_of_a_start_does_not_depend_on_the_other_starts(
    reference: EvaluationResult,
) -> None:
    assert evaluate(SEEDS[:3]).episodes == reference.episodes[:3]
    assert evaluate(SEEDS[5:6]).episodes == reference.episodes[5:6]


def test_results_come_in_the_order_of_the_seeds(reference: EvaluationResult) -> None:
    backwards = evaluate(SEEDS[::-1])
    assert backwards.seeds == SEEDS[::-1]
    assert backwards.episodes == reference.episodes[::-1]


def test_another_sampling_seed_gives_other_episodes(reference: EvaluationResult) -> None:
    assert evaluate(sampling_seed=1).scores != reference.scores


def test_every_call_of_the_policy_has_the_same_number_of_rows() -> None:
    policy = ScriptedPolicy()
    result = evaluate_policy(policy, seeds=SEEDS, max_steps=20, batch_size=4)
    assert set(policy.batch_sizes) == {4}
    assert result.batch_latency.calls == len(policy.batch_sizes)


class RowRemembering(ScriptedPolicy):
    """Notes in which row each noise seed was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, set[int]] = {}

    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> Any:
        for row, seed in enumerate(seeds or ()):
            self.rows.setdefault(seed, set()).add(row)
        return super().predict_chunk(observation, seeds=seeds)


def test_a_start_always_occupies_the_row_of_its_seed() -> None:
    for seeds in (SEEDS, SEEDS[3:], SEEDS[::-1]):
        policy = RowRemembering()
        evaluate_policy(policy, seeds=seeds, max_steps=20, batch_size=4)
        for seed in seeds:
            assert seed % 4 in policy.rows[chunk_seed(0, seed, 0)]


def test_the_score_is_the_largest_reward_and_success_is_a_score_of_one(
    reference: EvaluationResult,
) -> None:
    assert reference.mean_score == pytest.approx(np.mean(reference.scores))
    for episode in reference.episodes:
        assert episode.is_success == (episode.max_reward == 1.0)
        assert episode.steps == 60
        assert episode.final_coverage is not None
        assert episode.max_reward >= min(1.0, episode.final_coverage / 0.95)


def test_an_episode_ends_within_a_chunk_when_the_steps_are_used_up() -> None:
    assert {episode.steps for episode in evaluate(SEEDS[:2], max_steps=13).episodes} == {13}


def test_the_json_holds_what_is_needed_to_repeat_the_evaluation(
    reference: EvaluationResult, tmp_path: Path
) -> None:
    document = json.loads(reference.save(tmp_path / "new" / "evaluation.json").read_text())
    assert document["seeds"] == list(SEEDS)
    assert document["num_episodes"] == len(document["episodes"]) == 7
    assert document["environment"]["env_id"] == "diffusion_controller/PushT-v0"
    assert document["environment"]["max_steps"] == 60
    assert document["environment"]["arguments"] == {"observation": "keypoints"}
    assert document["environment"]["metadata"]["constants"]["success_coverage"] == 0.95
    assert document["policy"]["action_horizon"] == 8
    assert document["batch_latency"]["batch_size"] == 4
    assert {"torch", "pymunk", "diffusion-controller"} <= document["versions"].keys()
    low, high = document["mean_score_interval"]
    assert low <= document["mean_score"] <= high


def test_starts_of_the_demonstrations_are_refused_unless_allowed() -> None:
    seeds = (204, 205, 206)
    with pytest.raises(TrainingSeedError, match=r"2 of 3 starts, such as seed 204"):
        evaluate(seeds, training_seeds=range(206))
    allowed = evaluate(seeds, training_seeds=range(206), allow_training_seeds=True, max_steps=10)
    assert allowed.seeds == seeds


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_seeds_that_say_nothing_are_refused(seeds: tuple[int, ...]) -> None:
    with pytest.raises(EvaluationError, match="expected"):
        evaluate(seeds)


def test_progress_is_told_until_all_episodes_are_finished() -> None:
    told: list[tuple[int, int]] = []
    evaluate(max_steps=10, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)
    assert told == sorted(told)


class BrokenPolicy(ScriptedPolicy):
    """Answers with one number that is not finite."""

    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> Any:
        chunks = super().predict_chunk(observation, seeds=seeds)
        chunks[-1, 3, 1] = np.nan
        return chunks


def test_a_chunk_with_one_nan_is_refused_whole() -> None:
    with pytest.raises(ChunkError, match="action 3 of chunk 3 is nan in channel 1"):
        evaluate_policy(BrokenPolicy(), seeds=SEEDS, batch_size=4)


class ShortPolicy(ScriptedPolicy):
    """Answers with fewer actions than it promises."""

    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> Any:
        return super().predict_chunk(observation, seeds=seeds)[:, :-1]


def test_a_chunk_of_another_shape_is_refused() -> None:
    with pytest.raises(ChunkError, match=r"shape \(4, 7, 2\); expected \(4, 8, 2\)"):
        evaluate_policy(ShortPolicy(), seeds=SEEDS, batch_size=4)


class CameraPolicy(ScriptedPolicy):
    """Reads what Push-T does not have."""

    observation_shapes: Mapping[str, tuple[int, ...]] = {"wrist": (64, 64, 3)}


def test_an_environment_without_the_policys_observations_is_refused() -> None:
    with pytest.raises(EvaluationError, match="reads wrist of shape"):
        evaluate_policy(CameraPolicy(), seeds=SEEDS)


class SevenJointPolicy(ScriptedPolicy):
    """Has more actions than Push-T takes."""

    action_dim = 7


def test_an_environment_with_other_actions_is_refused() -> None:
    with pytest.raises(EvaluationError, match="actions have 7 numbers"):
        evaluate_policy(SevenJointPolicy(), seeds=SEEDS)


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(EvaluationError, match="cannot be made"):
        evaluate(env_id="diffusion_controller/PushU-v0")


def test_a_worker_that_fails_is_reported_with_its_error() -> None:
    with pytest.raises(WorkerError, match="unknown_option"):
        evaluate(num_workers=1, reset_options={"unknown_option": True})


class ImagePolicy(ScriptedPolicy):
    """Looks at pictures and keeps the agent where it is."""

    observation_shapes: Mapping[str, tuple[int, ...]] = {"image": (96, 96, 3), "agent": (2,)}

    def predict_chunk(
        self,
        observation: Mapping[str, Any],
        *,
        seeds: Sequence[int] | None = None,  # noqa: ARG002
    ) -> Any:
        assert observation["image"].dtype == np.uint8
        return np.repeat(np.asarray(observation["agent"])[:, -1:], 8, axis=1)


def test_images_are_only_drawn_for_policies_that_read_them() -> None:
    result = evaluate_policy(ImagePolicy(), seeds=SEEDS[:1], max_steps=10)
    assert result.environment["arguments"] == {"observation": "image"}


def test_the_history_before_the_start_repeats_the_first_observation() -> None:
    slots = EpisodeSlots(
        EnvironmentSpec("diffusion_controller/PushT-v0", {"observation": "keypoints"}),
        {0: [100_000]},
        obs_horizon=3,
        observation_names=["agent"],
    )
    agent = slots.begin().requests[0].observation["agent"]
    assert agent.shape == (3, 2)
    assert np.array_equal(agent[0], agent[1])
    assert np.array_equal(agent[1], agent[2])
    later = slots.advance({0: np.full((2, 2), 256.0)}).requests[0].observation["agent"]
    assert np.array_equal(later[0], agent[2])
    assert not np.array_equal(later[1], later[2])


def test_a_chunk_seed_is_decided_by_each_of_its_three_numbers() -> None:
    seeds = {chunk_seed(a, b, c) for a in range(3) for b in (0, 100_000) for c in range(5)}
    assert len(seeds) == 30
    assert all(0 <= seed < 2**63 for seed in seeds)
