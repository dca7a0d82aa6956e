"""Classification tasks of blobs in the plane, a network, and its training and accuracy."""

import torch
from torch import nn

CRITERION = nn.CrossEntropyLoss()


def task(number, samples=256):
    """Three blobs a task, at a different place of the plane for each task: (points, labels)."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(3, (samples,), generator=generator)
    angle = 2.1 * labels + 0.9 * number
    centre = torch.tensor([[6.0 * (number % 3), 4.0 * (number // 3)]])
    places = centre + torch.stack([angle.cos(), angle.sin()], dim=1)
    return places + 0.1 * torch.randn(samples, 2, generator=generator), labels


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05)


def learn(model, optimizer, data, steps, generator):
    inputs, labels = data
    for _ in range(steps):
        batch = torch.randint(len(labels), (16,), generator=generator)
        optimizer.zero_grad()
        CRITERION(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()


def accuracy(model, data):
    with torch.no_grad():
        return float((model(data[0]).argmax(1) == data[1]).double().mean())
