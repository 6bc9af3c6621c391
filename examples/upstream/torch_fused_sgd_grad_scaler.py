"""torch 2.13.0, SGD with momentum and fused=True: a first step that GradScaler skips leaves momentum unwritten.

The first step allocates the momentum buffers by empty_like, for the kernel to fill. Where an infinity was found the
kernel returns at once, and the next step, no longer the first, reads them: momentum begins with whatever lay in that
memory. Here PyTorch fills such memory with NaN, so that it shows. Found as OC413 option-without-effect: optconform gate
torch.optim:SGD --set momentum=0.9 --paths grad-scaler-fused --expect l2
"""

import math

import torch

torch.use_deterministic_algorithms(True)
torch.utils.deterministic.fill_uninitialized_memory = True

for fused in (False, True):
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([theta], lr=0.1, momentum=0.9, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    print(f"fused={fused}")
    for gradient in (math.inf, 1.0):
        theta.grad = scaler.scale(torch.full((3,), gradient))
        scaler.step(optimizer)
        scaler.update()
        momentum = optimizer.state[theta].get("momentum_buffer")
        kept = "none" if momentum is None else momentum.tolist()
        rounded = [round(value, 6) for value in theta.tolist()]
        print(f"  gradient {gradient}: parameters {rounded}, momentum {kept}")
print("expected: the same parameters")
