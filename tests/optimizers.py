"""Small optimisers that torch does not have, with the interfaces of the packages that do."""

import torch


class AdamWScheduleFree(torch.optim.Optimizer):
    """The step of schedulefree.AdamWScheduleFree (Defazio and others, 2024): y in training, x in evaluation."""

    def __init__(self, params, lr=0.0025, betas=(0.9, 0.999), eps=1e-8, warmup_steps=0):
        settings = {"lr": lr, "betas": betas, "eps": eps, "warmup_steps": warmup_steps, "r": 0.0, "k": 0}
        super().__init__(params, {**settings, "weight_lr_power": 2.0, "weight_sum": 0.0, "lr_max": -1.0})

    @torch.no_grad()
    def swap(self, share):
        """Move the weights of the model to (1 - share) of themselves and a share of z."""
        for group in self.param_groups:
            for p in group["params"]:
                if "z" in self.state[p]:
                    p.lerp_(self.state[p]["z"], share(group["betas"][0]))

    def eval(self):
        self.swap(lambda beta: 1 - 1 / beta)

    def train(self):
        self.swap(lambda beta: 1 - beta)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            (beta, second), k = group["betas"], group["k"]
            lr = group["lr"] * min(1.0, (k + 1) / max(group["warmup_steps"], 1))
            group["scheduled_lr"], group["lr_max"] = lr, max(lr, group["lr_max"])
            weight = (k + 1) ** group["r"] * group["lr_max"] ** group["weight_lr_power"]
            group["weight_sum"] += weight
            share = weight / group["weight_sum"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["z"], state["exp_avg_sq"] = p.clone(), torch.zeros_like(p)
                state["exp_avg_sq"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
                divisor = (state["exp_avg_sq"] / (1 - second ** (k + 1))).sqrt_().add_(group["eps"])
                gradient = p.grad.div_(divisor)  # the package overwrites the gradients too
                p.lerp_(state["z"], share).add_(gradient, alpha=lr * (beta * (1 - share) - 1))
                state["z"].sub_(gradient, alpha=lr)
            group["k"] = k + 1


class Lion(torch.optim.Optimizer):
    """The step of lion_pytorch.Lion (Chen and others, 2023): the sign of a mean of gradients."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                mean = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.add_((first * mean + (1 - first) * p.grad).sign_(), alpha=-group["lr"])
                mean.lerp_(p.grad, 1 - second)
