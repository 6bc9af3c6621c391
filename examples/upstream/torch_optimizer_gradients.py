"""torch_optimizer 0.3.0: several optimizers add weight_decay * theta to the caller's own gradients.

Whoever accumulates gradients over steps, logs them, or hands the parameters to two optimizers gets the decay with them.
torch.optim leaves them as they are. Found as OC404 mutated-gradient: optconform audit torch_optimizer:AdaBelief
"""

import torch
import torch_optimizer

NAMES = ("AccSGD", "AdaBelief", "AggMo", "DiffGrad", "MADGRAD", "NovoGrad", "PID", "QHAdam", "QHM", "SWATS", "Shampoo")

for optimizer_class in (torch.optim.Adam, *(getattr(torch_optimizer, name) for name in NAMES)):
    theta = torch.nn.Parameter(torch.full((2, 2), 3.0))
    optimizer = optimizer_class([theta], lr=0.1, weight_decay=0.5)
    theta.grad = torch.ones(2, 2)
    optimizer.step()
    print(f"{optimizer_class.__name__:10} gradient 1.0 after the step: {theta.grad[0, 0].item():.4g}")
