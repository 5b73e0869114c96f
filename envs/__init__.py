"""Simulated tasks as Gymnasium environments."""


def register_environments() -> None:
    """Register this package's environments with Gymnasium."""
