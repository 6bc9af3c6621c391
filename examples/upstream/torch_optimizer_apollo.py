"""torch_optimizer 0.3.0, Apollo: with weight decay, its state holds an autograd graph.

The step adds weight_decay * theta outside no_grad, so the graph grows with every step, and a step after saving and
loading raises. Found as OC405 restore-mismatch: optconform audit torch_optimizer:Apollo
"""

import io

import torch
from torch_optimizer import Apollo

theta = torch.nn.Parameter(torch.ones(3))
optimizer = Apollo([theta], lr=0.1, weight_decay=0.1)
for _ in range(3):
    theta.grad = torch.ones(3)
    optimizer.step()

state = {name: value for name, value in optimizer.state[theta].items() if torch.is_tensor(value)}
print("state that requires a gradient, expected none:", [name for name, value in state.items() if value.requires_grad])

saved = io.BytesIO()
torch.save(optimizer.state_dict(), saved)
saved.seek(0)
theta = torch.nn.Parameter(theta.detach().clone())
restored = Apollo([theta], lr=0.1, weight_decay=0.1)
restored.load_state_dict(torch.load(saved))
theta.grad = torch.ones(3)
try:
    restored.step()
    print("a step after saving and loading works, as expected")
except RuntimeError as error:
    print("a step after saving and loading raises:", error)
