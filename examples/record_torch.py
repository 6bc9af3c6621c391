"""Record a PyTorch training loop; then ask whether the run kept to its rule, and audit the optimizer on its gradients.

python examples/record_torch.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

import optconform


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 40) -> float:
    """Fit the digits in batches of 64; return the last loss."""
    images, labels = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
    images = images.float() / 16
    for step in range(steps):
        batch = torch.arange(64 * step, 64 * (step + 1)) % len(images)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    return loss.item()


def main() -> None:
    """Train, record, audit."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-3, weight_decay=1e-2)

    with optconform.record(optimizer, "run.trace", sample=128, snapshots=True, overwrite=True) as recording:
        loss = train(model, optimizer)
    print(f"loss {loss:.2f} after {recording.n_steps} recorded steps")

    run = optconform.audit_run("run.trace")
    print(f"this run: {run.verdict}, since {run.reason}")

    audited = optconform.audit(
        torch.optim.AdamW, lr=1e-3, weight_decay=1e-2, dtype="float32", traces=["run.trace"], metamorphic=False
    )
    print(f"AdamW on these gradients: {audited.verdict}, since {audited.reason}")


if __name__ == "__main__":
    main()
