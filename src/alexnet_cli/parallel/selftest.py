"""Do bytes arrive as they were sent? Some machines deliver wrong data between GPUs, and say nothing (pytorch#84803)."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet_cli.errors import ResourceError


class BrokenCopiesError(ResourceError):
    """Copies between devices of this machine arrive changed."""


_BYTES = 1 << 22

Transfer = Callable[[Tensor, int, bool], None]
"""(buffer, peer, whether to send it to the peer or to receive it from there)."""


def transfer(buffer: Tensor, peer: int, sends: bool) -> None:
    """Send a buffer to a peer, or fill it with what the peer sends."""
    if sends:
        dist.send(buffer, peer)
    else:
        dist.recv(buffer, peer)


def require_true_copies(rank: int, world: int, device: torch.device, move: Transfer = transfer) -> None:
    """Send known bytes both ways between each pair of ranks; what every rank does at the start.

    ResourceError on a rank that receives other bytes than were sent. They are compared in host memory.
    """
    broken = ""
    for first, second in itertools.combinations(range(world), 2):
        for sender, receiver in ((first, second), (second, first)):
            known = _known_bytes(sender, receiver)
            if rank == sender:
                move(known.to(device), receiver, True)
            elif rank == receiver:
                arrived = torch.zeros(_BYTES, dtype=torch.uint8, device=device)
                move(arrived, sender, False)
                wrong = int((arrived.cpu() != known).sum())
                if wrong and not broken:
                    broken = (
                        f"bytes that rank {sender} sends to rank {receiver} ({device}) arrive changed ({wrong:,} bytes)"
                        ": peer-to-peer copies are broken here: set NCCL_P2P_DISABLE=1 to copy through host memory"
                    )
    if broken:  # only now: a peer may still wait for this rank's part
        raise BrokenCopiesError(broken)


def _known_bytes(sender: int, receiver: int) -> Tensor:
    """Bytes without a short period, different for each direction."""
    numbers = torch.arange(_BYTES, dtype=torch.int64)
    return ((numbers * 2654435761 + 97 * sender + 31 * receiver) >> 13).to(torch.uint8)
