"""Several processes training one network (`torchrun`): each works on its part of every batch, gradients are summed.

    torchrun --nproc-per-node 2 -m leukoscope train CONFIG.toml --data DIR --out RUN

Sums go over the network's own parameters after each backward pass, so a loss may run the network as often as it
likes, and the result does not depend on how many processes there are (but for rounding, and for augmentation, which
each process draws itself).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

_BUCKET = 25_000_000  # numbers summed in one message


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among the others: rank 0 writes the run folder."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, rows):
        """This process's part of a batch's rows."""
        return rows[self.rank :: self.size]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over processes; a parameter without one counts as zero."""
        if self.size == 1:
            return
        bucket: list[torch.Tensor] = []
        held = 0
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            bucket.append(p.grad)
            held += p.grad.numel()
            if held >= _BUCKET:
                self._sum(bucket)
                bucket, held = [], 0
        self._sum(bucket)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The tensor summed over processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def same(self, value: float) -> float:
        """The first process's number, in all of them."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def agree(self, network: nn.Module) -> None:
        """Give every process the first one's weights, and the mean of what batch normalisation has counted."""
        if self.size == 1:
            return
        for p in network.parameters():
            dist.broadcast(p.data, 0)
        for b in network.buffers():
            if b.is_floating_point():
                dist.all_reduce(b)
                b /= self.size

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()

    def _sum(self, tensors: list[torch.Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        for t, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.copy_(part.view_as(t))


def join_processes() -> Processes:
    """This process as `torchrun`'s environment describes it; alone where there is none."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
    return Processes(rank, size, device)


def leave_processes() -> None:
    """Say goodbye to the others at the end of a command, so that none is left waiting."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
