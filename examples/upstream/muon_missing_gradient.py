"""muon 0.1.0 (muon-optimizer), SingleDeviceMuon: a parameter without a gradient raises TypeError.

torch.optim skips such parameters. Found as OC403 missing-gradient: optconform audit muon:SingleDeviceMuon
"""

import torch
from muon import SingleDeviceMuon

used, unused = (torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2))
optimizer = SingleDeviceMuon([used, unused])
used.grad = torch.ones(3, 2)
try:
    optimizer.step()
    print("a step in which one parameter has no gradient works, as expected")
except TypeError as error:
    print("a step in which one parameter has no gradient raises: TypeError:", str(error).split(" - ")[0])
