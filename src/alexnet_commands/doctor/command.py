"""`alexnet doctor`: command line → DoctorConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.doctor.config import DoctorConfig


@command_from(DoctorConfig)
def command(config: DoctorConfig) -> None:
    """Show what this machine offers: versions, Pillow, cores, memory, CUDA devices, compiler, disk.

    Put its output into a bug report.

    Example: alexnet doctor
    """
    from alexnet_cli.console import print_facts, print_json
    from alexnet_commands.doctor.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
    else:
        print_facts("alexnet doctor", result.as_text())
