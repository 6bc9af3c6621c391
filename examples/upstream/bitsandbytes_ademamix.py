"""bitsandbytes 0.50.2, AdEMAMix32bit and PagedAdEMAMix32bit: no room for the second momentum.

AdEMAMix allocates a buffer of twice the parameter's size for its two momenta; the 32-bit classes derive from
Optimizer2State directly and allocate one of the parameter's size. On the CPU the step raises. Found as OC902
step-failed: optconform audit bitsandbytes.optim:AdEMAMix32bit --dtype float32
"""

import torch
from bitsandbytes.optim import AdEMAMix, AdEMAMix32bit, PagedAdEMAMix32bit

for optimizer_class in (AdEMAMix, AdEMAMix32bit, PagedAdEMAMix32bit):
    theta = torch.nn.Parameter(torch.ones(6, 4))
    theta.grad = torch.ones(6, 4)
    optimizer = optimizer_class([theta])
    try:
        optimizer.step()
        ending = "a step works"
    except RuntimeError as error:
        ending = f"a step raises: {error}"
    momenta = tuple(optimizer.state[theta]["state1"].shape)
    print(f"{optimizer_class.__name__}: momenta {momenta}, expected (2, 6, 4); {ending}")
