"""Losses that hold another model, draw random numbers, or compare the samples of a batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscope as ls
from models.second.kind import Kind

MADE = torch.Generator().manual_seed(5)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=MADE)


# 14: a generator. The discriminator is part of the loss.
DISCRIMINATOR = nn.Sequential(nn.Linear(2, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1))
with torch.no_grad():
    for parameter in DISCRIMINATOR.parameters():
        parameter.copy_(drawn(*parameter.shape))
LATENT, REAL = drawn(32, 3), torch.ones(32, 1)


def generator() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))


def fools(fakes: Tensor, real: Tensor) -> Tensor:
    return F.mse_loss(DISCRIMINATOR(fakes), real, reduction="none")


def fools_by_hand(model: nn.Module, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
    first, _, last = DISCRIMINATOR
    before = model(batch[0]) @ first.weight.double().T + first.bias.double()
    hidden = torch.where(before > 0, before, 0.2 * before)
    return (hidden @ last.weight.double().T + last.bias.double() - 1).square().flatten()


GAN = Kind(
    name="GAN", model=generator, batches=list(zip(LATENT.split(8), REAL.split(8), strict=True)), losses=fools_by_hand,
    train=lambda model, batch: 0.2 * fools(model(batch[0]), batch[1]).mean(),
    risk=lambda model: ls.EmpiricalRisk(model, fools, (LATENT, REAL)),
    noise=8, method="ewc", consolidate=lambda memory, _: memory.consolidate(fools, (LATENT, REAL)),
)  # fmt: skip


# 15: a variational autoencoder. The loss draws the noise of the latent variables.
class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        latent = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.decoder(latent), mean, log_variance


def evidence(model: nn.Module, x: Tensor) -> Tensor:
    answer, mean, log_variance = model(x)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
    return (answer - x).square().sum(dim=1) + divergence


def evidence_by_hand(model: nn.Module, x: Tensor, number: int) -> Tensor:
    noise = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(3 + number)).double()
    moments = x @ model.encoder.weight.T + model.encoder.bias
    mean, deviation = moments[:, :2], (moments[:, 2:] / 2).exp()
    prior, posterior = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(mean, deviation)
    answer = (mean + deviation * noise) @ model.decoder.weight.T + model.decoder.bias
    return (answer - x).square().sum(1) + torch.distributions.kl_divergence(posterior, prior).sum(1)


IMAGES = drawn(32, 4).split(8)
VAE = Kind(
    name="VAE", model=Variational, batches=list(IMAGES), losses=evidence_by_hand,
    train=lambda model, x: evidence(model, x).mean() / 4,
    risk=lambda model: ls.EmpiricalRisk.from_closure(model, evidence, IMAGES, seed=3),
    noise=8, method=ls.memory.EWC(fisher="empirical"),
)  # fmt: skip


# 16: a diffusion model. The loss draws times and noise.
class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.body(torch.cat([x, time[:, None]], dim=1))


def denoising(model: nn.Module, x: Tensor) -> Tensor:
    time, noise = torch.rand(len(x)), torch.randn_like(x)
    mixed = (1 - time)[:, None].sqrt() * x + time[:, None].sqrt() * noise
    return (model(mixed, time) - noise).square().mean(dim=1)


def denoising_by_hand(model: nn.Module, x: Tensor, number: int) -> Tensor:
    generator = torch.Generator().manual_seed(10 + number)
    time = torch.rand(len(x), generator=generator).double()
    noise = torch.randn(len(x), 2, generator=generator).double()
    losses = []
    for one, t, e in zip(x, time, noise, strict=True):
        answer = model((one * (1 - t) ** 0.5 + e * t**0.5)[None], t[None])[0]
        losses.append(((answer - e) ** 2).sum() / 2)
    return torch.stack(losses)


POINTS = (0.5 * drawn(32, 2)).split(8)
DIFFUSION = Kind(
    name="diffusion", model=Denoiser, batches=list(POINTS), losses=denoising_by_hand,
    train=lambda model, x: denoising(model, x).mean(),
    risk=lambda model: ls.EmpiricalRisk.from_closure(model, denoising, POINTS, seed=10),
    noise=None, ratio=1.5,
)  # fmt: skip


# 17: a contrastive loss. A sample is compared with all others of its batch.
def contrast(model: nn.Module, views: tuple[Tensor, Tensor]) -> Tensor:
    one, other = (F.normalize(model(view), dim=1) for view in views)
    return F.cross_entropy(one @ other.T / 0.5, torch.arange(len(one)), reduction="none")


def contrast_by_hand(model: nn.Module, views: tuple[Tensor, Tensor], number: int) -> Tensor:
    one, other = (model(view) for view in views)
    losses = []
    for row, anchor in enumerate(one):
        alike = torch.stack([anchor @ far / anchor.norm() / far.norm() / 0.5 for far in other])
        losses.append(alike.exp().sum().log() - alike[row])
    return torch.stack(losses)


FIRST = drawn(32, 4)
VIEWS = list(zip(FIRST.split(8), (FIRST + 0.3 * drawn(32, 4)).split(8), strict=True))
CONTRASTIVE = Kind(
    name="contrastive", model=lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), batches=VIEWS,
    losses=contrast_by_hand, train=lambda model, views: contrast(model, views).mean(),
    risk=lambda model: ls.EmpiricalRisk.from_closure(model, contrast, VIEWS),
    noise=None, ratio=1.2,
)  # fmt: skip

KINDS = [GAN, VAE, DIFFUSION, CONTRASTIVE]
