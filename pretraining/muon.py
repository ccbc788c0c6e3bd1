"""Muon: momentum, orthogonalised by Newton-Schulz iterations (Jordan et al. 2024), scaled to Adam's
step size (Liu et al. 2025, eq. 4).

    M ← .95 M + .05 G,      W ← W − lr · .2 √max(rows, columns) · orthogonal(.95 M + .05 G)

For matrices and convolution kernels, read as [out, in · height · width]. What else a network has is
left to AdamW.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

# Twice as fast where the processor multiplies in bf16, eight times as slow where it does not.
# Weights, sums and norms stay in fp32.
BF16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: singular values go near 1 in five rounds


def orthogonal(m: Tensor, rounds: int = 5) -> Tensor:
    """The nearest matrices to m [..., rows, columns] with all singular values near 1 (between about
    .7 and 1.2).
    """
    a, b, c = QUINTIC
    half = BF16 or m.is_cuda
    x = (m / (m.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(
        torch.bfloat16 if half else m.dtype
    )  # exact enough, say Jordan et al.
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    for _ in range(rounds):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Each of several workers orthogonalises its share of the matrices; then they add up what they
    found.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None) -> None:
        rank, workers = (
            (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        )
        for group in self.param_groups:
            params, keep = group["params"], group["momentum"]
            owner = shares([cost(p) for p in params], workers)
            found = torch.zeros(sum(p.numel() for p in params))
            for p, of, out in zip(params, owner, found.split([p.numel() for p in params])):
                mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - keep)
                if of == rank:
                    flat = p.grad.lerp(mean, keep).flatten(1)
                    out.copy_((0.2 * max(flat.shape) ** 0.5 * orthogonal(flat)).flatten())
            if workers > 1:
                dist.all_reduce(found)
            for p, update in zip(params, found.split([p.numel() for p in params])):
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(
                    update.view(p.shape), alpha=-group["lr"]
                )


class Stacks(torch.optim.Optimizer):
    """The same in one process on a card, where every single product is dear: the matrices of one
    shape are one stack.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                alike.setdefault(p.shape, []).append(p)
            for shape, params in alike.items():
                grads = torch.stack([p.grad for p in params])
                mean = self.state[params[0]].setdefault("momentum", torch.zeros_like(grads))
                mean.lerp_(grads, 1 - group["momentum"])
                update = (
                    0.2
                    * max(shape) ** 0.5
                    * orthogonal(grads.lerp(mean, group["momentum"])).float()
                )
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(params, list(update.unbind()), alpha=-group["lr"])


def cost(p: nn.Parameter) -> int:
    return p.numel() * min(len(p), p.numel() // len(p))


def shares(costs: list[int], workers: int) -> list[int]:
    """Which worker takes which item: the dearest first, each to whoever has least to do."""
    load, owner = [0] * workers, [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        owner[i] = load.index(min(load))
        load[owner[i]] += costs[i]
    return owner
