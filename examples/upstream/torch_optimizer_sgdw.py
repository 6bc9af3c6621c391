"""torch_optimizer 0.3.0, SGDW: weight decay subtracts a constant, so that negative weights grow.

Found as OC105 wrong-decay-target: optconform audit torch_optimizer:SGDW
"""

import torch
from torch_optimizer import SGDW

theta = torch.nn.Parameter(torch.tensor([2.0, 1.0, -1.0, -2.0]))
optimizer = SGDW([theta], lr=0.1, weight_decay=0.5)
theta.grad = torch.zeros(4)
optimizer.step()

print("expected", [round(0.95 * value, 6) for value in (2.0, 1.0, -1.0, -2.0)], "= theta * (1 - lr * weight_decay)")
print("found   ", [round(value, 6) for value in theta.tolist()], "= theta - lr * weight_decay")
