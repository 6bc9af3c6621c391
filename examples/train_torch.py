"""A PyTorch training script that knows nothing of optconform.

optconform trace record --output run.trace --snapshots -- python examples/train_torch.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

torch.manual_seed(0)
images, labels = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
images = images.float() / 16
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
for _ in range(100):
    batch = torch.randint(len(images), (64,))
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
    schedule.step()
print(f"loss {loss.item():.2f}")
