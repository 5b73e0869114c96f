"""From a map of features to the places where they are."""

import torch
from torch import Tensor, nn

from .shapes import FeatureMap


class SpatialSoftmax(nn.Module):
    """The expected place of each of some learned features: Finn et al. (2016), section V.

    A 1 × 1 convolution makes one map per keypoint, a softmax over its places a probability,
    and the keypoint is the mean place.
    """

    def __init__(self, *, in_channels: int, num_keypoints: int) -> None:
        """Build the layer.

        Args:
            in_channels: Of the feature map.
            num_keypoints: Keypoints to find.
        """
        super().__init__()
        self.conv = nn.Conv2d(in_channels, num_keypoints, 1)

    def forward(self, features: FeatureMap) -> Tensor:
        """Keypoints (x, y), from (−1, −1) top left to (1, 1) bottom right.

        Returns:
            Shape (pictures, num_keypoints, 2).
        """
        return expected_places(self.conv(features))


def expected_places(logits: FeatureMap) -> Tensor:
    """Mean place (x, y) under the softmax of each map. Shape (pictures, maps, 2)."""
    height, width = logits.shape[-2:]
    probability = logits.flatten(2).float().softmax(dim=-1).view(*logits.shape[:2], height, width)
    x = torch.linspace(-1, 1, width, device=logits.device)
    y = torch.linspace(-1, 1, height, device=logits.device)
    return torch.stack((probability.sum(dim=2) @ x, probability.sum(dim=3) @ y), dim=-1)
