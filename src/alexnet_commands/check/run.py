"""The work of `alexnet check`. torch is loaded only to look for CUDA devices."""

from __future__ import annotations

from pathlib import Path

from alexnet_cli.device_names import parse_devices
from alexnet_cli.errors import UsageError
from alexnet_cli.options import CODECS, require_one_of, require_precision
from alexnet_cli.recipes.read import load_recipe
from alexnet_commands.check.config import CheckConfig


def run(config: CheckConfig) -> None:
    """Raise UsageError or ResourceError for the first thing that is invalid or missing."""
    if config.data is not None:
        require_pictures(config.data)
    if not 0 < config.holdout < 1:
        raise UsageError(f"--holdout {config.holdout:g}: must lie between 0 and 1, such as 0.1")
    require_one_of("--codec", config.codec, CODECS)
    for recipe in config.recipe:
        load_recipe(recipe)
    require_devices(config.devices, config.precision)


def require_pictures(data: Path) -> None:
    """UsageError unless this is a folder of train/ and val/ (or validation/), or holds neither and is one source."""
    if not data.exists():
        raise UsageError(f"{data}: no such folder or archive: check the path")
    parts = [name for name in ("train", "val", "validation") if (data / name).is_dir()]
    if parts == ["train"]:
        raise UsageError(
            f"{data}: holds train/ and no val/ or validation/: add it, or give {data / 'train'}, of which a part is "
            "held out"
        )
    if parts and "train" not in parts:
        raise UsageError(f"{data}: holds {parts[0]}/ and no train/: add it, or give the folder with both")
    if not parts and data.is_dir() and all(entry.name.startswith(".") for entry in data.iterdir()):
        raise UsageError(f"{data}: is empty: it must hold train/<class>/ and val/<class>/, or <class>/ alone")


def require_devices(devices: str, precision: str) -> None:
    """UsageError if devices or precision are invalid, ResourceError if a device isn't there."""
    if parse_devices(devices).kind != "cuda" and precision != "tf32":
        require_precision(precision, "cpu")
        return
    from alexnet_cli.devices import choose_device

    require_precision(precision, choose_device(devices).type)
