"""torch 2.13.0, NAdam over float64 parameters: saving and loading changes the steps that follow.

The running product of momenta is a float32 tensor, and load_state_dict turns it into the parameters' float64. Found as
OC405 restore-mismatch: optconform audit torch.optim:NAdam --expect l2
"""

import copy

import torch


def walk(load_before: int | None) -> tuple[torch.Tensor, torch.dtype]:
    """Return the parameters after six steps, and the dtype of the product; the state is loaded anew on the way."""
    theta = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = torch.optim.NAdam([theta], lr=0.05)
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        if step == load_before:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = torch.optim.NAdam([theta], lr=0.05)
            optimizer.load_state_dict(saved)
        theta.grad = torch.randn(3, dtype=torch.float64, generator=generator)
        optimizer.step()
    return theta.detach(), optimizer.state[theta]["mu_product"].dtype


(straight, kept), (interrupted, loaded) = walk(None), walk(3)
print(f"mu_product is {kept}, and after load_state_dict {loaded}")
print(f"distance after six steps: {(straight - interrupted).abs().max().item():.2g}, expected 0")
