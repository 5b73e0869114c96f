"""Which episodes are trained on, and which are kept to validate with."""

from dataclasses import dataclass

import numpy as np

from diffusion_controller.data.errors import NotEnoughEpisodesError


@dataclass(frozen=True)
class EpisodeSplit:
    """Episode indices, increasing and disjoint.

    Attributes:
        train: Episodes to learn from.
        validation: Episodes never learned from.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]


def split_episodes(
    num_episodes: int,
    *,
    validation_fraction: float,
    max_train_episodes: int | None = None,
    seed: int,
) -> EpisodeSplit:
    """Splits whole episodes at random.

    The validation episodes depend on `num_episodes`, the fraction and the seed only, and a
    smaller `max_train_episodes` selects a subset of what a larger one selects: learning curves
    over the number of demonstrations are nested.

    Args:
        num_episodes: Episodes there are.
        validation_fraction: In [0, 1). Above 0, at least one episode is kept, and at least one
            is left to train on.
        max_train_episodes: Train on this many; None trains on all that are left.
        seed: Of the permutation.

    Raises:
        NotEnoughEpisodesError: There are not as many episodes as asked for.
    """
    if not 0 <= validation_fraction < 1:
        raise NotEnoughEpisodesError(
            f"validation_fraction is {validation_fraction}; expected at least 0 and below 1"
        )
    num_validation = round(num_episodes * validation_fraction)
    if validation_fraction > 0:
        num_validation = max(1, min(num_validation, num_episodes - 1))
    available = num_episodes - num_validation
    wanted = available if max_train_episodes is None else max_train_episodes
    if not 1 <= wanted <= available:
        raise NotEnoughEpisodesError(
            f"{wanted} training episodes were asked for, but of {num_episodes} episodes "
            f"{num_validation} are kept for validation; expected 1 to {available}"
            if available > 0
            else f"of {num_episodes} episodes {num_validation} are kept for validation, which "
            "leaves none to train on; expected more episodes or validation_fraction=0"
        )
    order = np.random.default_rng(seed).permutation(num_episodes)
    validation, train = order[:num_validation], order[num_validation:][:wanted]
    return EpisodeSplit(
        train=tuple(sorted(map(int, train))), validation=tuple(sorted(map(int, validation)))
    )
