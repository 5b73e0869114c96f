"""`dpc data validate`: name every defect of a set of demonstrations; exit 1 when there is one."""

from omegaconf import DictConfig

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.json_file import write_json
from diffusion_controller.data.validate import validate_buffer


def run(config: DictConfig) -> int:
    """Print the defects and count them; the status is 1 if one of them is an error."""
    for key in ("idle_steps", "limit"):
        if config[key] < 1:
            raise CommandError(f"{key}={config[key]}; give at least 1")
    defects = validate_buffer(
        config.path,
        action_range=_range(config),
        idle_steps=config.idle_steps,
        idle_tolerance=config.idle_tolerance,
    )
    for defect in defects[: config.limit]:
        print(defect)
    if len(defects) > config.limit:
        print(f"… and {len(defects) - config.limit} more; limit={len(defects)} shows them")
    errors = sum(defect.severity == "error" for defect in defects)
    print(f"{errors} errors, {len(defects) - errors} warnings in {config.path}")
    if config.json is not None:
        content = [defect.to_json() for defect in defects]
        write_json(config.json, {"path": config.path, "errors": errors, "defects": content})
    return 1 if errors else 0


def _range(config: DictConfig) -> tuple[float, float] | None:
    if config.action_range is None:
        return None
    try:
        low, high = (float(value) for value in config.action_range)
    except (TypeError, ValueError) as error:
        raise CommandError(
            f"action_range={config.action_range}; give [lowest,highest], for instance [0,512]"
        ) from error
    if not low < high:
        raise CommandError(f"action_range={config.action_range}; give the lower number first")
    return low, high
