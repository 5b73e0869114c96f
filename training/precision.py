"""How precisely a training multiplies."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from .settings import Precision, TrainingSettingsError


@contextmanager
def float32_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Products of float32 matrices on a GPU as asked for, until the context is left.

    TF32 rounds their factors to 10 bits of mantissa. torch allows it for convolutions unless told
    otherwise; here `fp32` means float32 for these too.

    Raises:
        TrainingSettingsError: If TF32 is asked for where it does not exist.
    """
    if device.type != "cuda":
        if precision == "tf32":
            raise TrainingSettingsError(
                f"precision is tf32, which the device {str(device)!r} does not have; choose fp32"
            )
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _allow_tf32("high" if precision == "tf32" else "highest", convolutions=precision == "tf32")
    try:
        yield
    finally:
        _allow_tf32(before[0], convolutions=before[1])


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Where forward passes run: `bf16` multiplies in bfloat16 and keeps weights in float32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def _allow_tf32(products: str, *, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
