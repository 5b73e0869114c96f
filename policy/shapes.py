"""Names for the shapes that travel through the policy."""

from jaxtyping import Float, Int64
from torch import Tensor

ActionChunk = Float[Tensor, "batch horizon action_dim"]
"""Actions of consecutive control periods, the first at the time of the oldest observation."""

NoiseDraws = Float[Tensor, "draws batch horizon action_dim"]
"""Standard normal noise, drawn beforehand: the first starts the denoising."""

Timesteps = Int64[Tensor, " batch"]
"""Noise level of each chunk in a batch, from 0 (almost clean) to num_train_timesteps − 1."""

Features = Float[Tensor, "batch obs_horizon feature_dim"]
"""What an encoder makes of a history of observations."""

Modulation = Float[Tensor, "batch modulation_dim"]
"""What a network makes of timestep and condition, before it sees a chunk."""

TimeMajor = Float[Tensor, "time batch channels"]
"""Inside the network time comes first, so that a slab of consecutive time is one matrix."""

Draws = Float[Tensor, "batch draws"]
"""Numbers uniform in [0, 1) that decide an augmentation."""

History = Float[Tensor, "batch obs_horizon height width channels"]
"""Normalized pictures of one camera, oldest first."""

Pictures = Float[Tensor, "pictures channels height width"]
"""Normalized pictures, channels last in memory."""

FeatureMap = Float[Tensor, "pictures channels height width"]
"""What a convolutional network makes of them."""
