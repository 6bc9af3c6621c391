"""dadaptation 3.2, DAdaptSGD: gradients of zeros in the first step raise ZeroDivisionError.

The step divides by the norm of the first gradient. Found as OC409 non-finite: optconform audit dadaptation:DAdaptSGD
"""

import torch
from dadaptation import DAdaptSGD

theta = torch.nn.Parameter(torch.ones(3))
optimizer = DAdaptSGD([theta])
theta.grad = torch.zeros(3)
try:
    optimizer.step()
    print("a step over zeros works, as expected")
except ZeroDivisionError as error:
    print("a step over zeros raises: ZeroDivisionError:", error)
