"""pytorch_optimizer 4.1.0, Adan: maximize=True over g is not maximize=False over -g.

The previous gradient is kept before the sign is turned, so that the first difference of gradients is 2g instead of 0.
Found as OC401 maximize-asymmetry: optconform audit pytorch_optimizer:Adan
"""

import torch
from pytorch_optimizer import Adan


def walk(sign: float, *, maximize: bool) -> list[float]:
    """Return the parameters after five steps over the same gradients, times `sign`."""
    theta = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = Adan([theta], lr=0.05, maximize=maximize)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        theta.grad = sign * torch.randn(3, dtype=torch.float64, generator=generator)
        optimizer.step()
    return [round(value, 6) for value in theta.tolist()]


print("minimize over -g:", walk(-1.0, maximize=False))
print("maximize over  g:", walk(1.0, maximize=True), "expected to be the same")
