"""pytorch_optimizer 4.1.0, ApolloDQN: during warm-up (500 steps by default) the groups' learning rates are not read.

A scheduler has no effect, and groups of different learning rates move alike: the rate of the constructor is used for
all. Found as OC412 lr-change-ignored: optconform audit pytorch_optimizer:ApolloDQN
"""

import torch
from pytorch_optimizer import ApolloDQN

fast, slow = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
optimizer = ApolloDQN([{"params": [fast], "lr": 0.1}, {"params": [slow], "lr": 1e-4}], lr=0.1)
for _ in range(3):
    fast.grad = slow.grad = torch.tensor([1.0, 2.0, 3.0])
    optimizer.step()

print("group with lr=0.1 :", [round(value, 6) for value in fast.tolist()])
print("group with lr=1e-4:", [round(value, 6) for value in slow.tolist()], "expected to have moved far less")
