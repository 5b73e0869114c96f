"""The mirror symmetry of Push-T, for augmenting demonstrations.

The goal T stands at (256, 256), turned by π/4. The mirror image about its axis of symmetry,
(x, y) → (512 − y, 512 − x), leaves the goal and the field as they are and turns any solution
into another. Two deviations: the walls run from 5 to 506 px, so their mirror image lies 1 px
off; and the engine treats the shapes in turn, so mirrored rollouts agree closely, not to the
last digit.

The nine published keypoints are not symmetric in the body frame: no permutation maps them onto
their mirror image. `mirror_keypoints` gives the same nine body points on the mirrored block.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from diffusion_controller.envs.pusht import FIELD_SIZE
from diffusion_controller.envs.tee import KEYPOINTS


def mirror_action(action: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mirror image of target positions about the axis of the goal; its own inverse.

    Args:
        action: (x, y) in [px]; any point of the world frame will do. Shape (…, 2).

    Returns:
        (512 − y, 512 − x): a new array of the same shape and floating dtype.
    """
    return np.asarray(FIELD_SIZE - action[..., ::-1], dtype=action.dtype)


def mirror_state(state: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mirror image of states about the axis of the goal; its own inverse.

    Args:
        state: (agent x, agent y, block x, block y, block angle) in [px] and [rad].
            Shape (…, 5).

    Returns:
        A new array of the same shape and floating dtype; the angle is (π/2 − angle) mod 2π.
    """
    mirrored = np.empty_like(state)
    mirrored[..., 0:2] = mirror_action(state[..., 0:2])
    mirrored[..., 2:4] = mirror_action(state[..., 2:4])
    mirrored[..., 4] = (math.pi / 2 - state[..., 4]) % (2 * math.pi)
    return mirrored


def mirror_keypoints(keypoints: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The nine keypoints of the mirrored block, from those of the block; its own inverse.

    Equal to `keypoints_of_state(mirror_state(state))`, without the state: cos, sin, x and y of
    the block's pose are linear in the keypoints (least squares), and mirroring exchanges
    them: (cos, sin, x, y) → (sin, cos, 512 − y, 512 − x).

    Args:
        keypoints: In [px]. Shape (…, 9, 2).

    Returns:
        A new array of the same shape and floating dtype.
    """
    count = len(KEYPOINTS)
    design = np.zeros((2 * count, 4))  # keypoints = design @ (cos, sin, x, y)
    design[0::2] = np.stack(
        [KEYPOINTS[:, 0], -KEYPOINTS[:, 1], np.ones(count), np.zeros(count)], axis=-1
    )
    design[1::2] = np.stack(
        [KEYPOINTS[:, 1], KEYPOINTS[:, 0], np.zeros(count), np.ones(count)], axis=-1
    )
    flat = keypoints.reshape(*keypoints.shape[:-2], 2 * count).astype(np.float64)
    pose = flat @ np.linalg.pinv(design).T
    mirrored = np.stack(
        [pose[..., 1], pose[..., 0], FIELD_SIZE - pose[..., 3], FIELD_SIZE - pose[..., 2]], axis=-1
    )
    return np.asarray((mirrored @ design.T).reshape(keypoints.shape), dtype=keypoints.dtype)


def mirror_image(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mirror image of pictures about the axis of the goal; its own inverse.

    Row and column of a pixel are exchanged and counted from the other end. Equal to the picture
    of the mirrored state but along edges, where rasterizing is not symmetric.

    Args:
        image: Pictures as `PushTRenderer` draws them. Shape (…, size, size, channels).

    Returns:
        A new array of the same shape and dtype.
    """
    return np.array(image[..., ::-1, ::-1, :].swapaxes(-3, -2))


MIRROR_TRANSFORMS = {
    "action": mirror_action,
    "agent": mirror_action,
    "image": mirror_image,
    "keypoints": mirror_keypoints,
    "state": mirror_state,
}
"""How each observation of Push-T, and its action, is mirrored, by name."""
