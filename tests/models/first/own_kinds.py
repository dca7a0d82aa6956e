"""Models of one's own: residual networks, recurrent networks, segmentation, distillation, several tasks, a detector."""

import torch
import torch.nn.functional as F
from torch import nn

from landscope.memory import EWC
from models.first.kind import Kind, M, mean_of, select_rows
from models.first.transformer_kinds import CLASSES, CROSS_ENTROPY, IMAGES, LABELS, MASK, TOKENS, seeded

GENERATOR = torch.Generator().manual_seed(2)
VECTORS = torch.randn(M, 5, generator=GENERATOR).double()
NUMBERS = torch.randn(M, 2, generator=GENERATOR).double()
IGNORED = 255


class Residual(nn.Module):
    """A convolution, one residual block, and a linear layer, with batch normalisation."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.norm1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = torch.relu(self.norm0(self.stem(x)))
        x = torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))
        return self.head(x.mean(dim=(2, 3)))


def residual():
    """With running statistics of some images, as after a training."""
    model = Residual().double().train()
    for _ in range(10):
        model(IMAGES)
    return model


class Tagger(nn.Module):
    """A class for each token, with classes on axis 1."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(7, 4), nn.LSTM(4, 4, batch_first=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, tokens):
        return self.head(self.lstm(self.embed(tokens))[0]).transpose(1, 2)


class PackedClassifier(nn.Module):
    """A class for each text, from its last state; padding is never read."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(7, 4), nn.LSTM(4, 4, batch_first=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, tokens, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return self.head(self.lstm(packed)[1][0][-1])


def tags(rows):
    """Tokens with a tag each, padded to the longest text of the batch."""
    longest = int(MASK[rows].sum(dim=1).max())
    tagged = (TOKENS[rows] % CLASSES).masked_fill(MASK[rows] == 0, -100)
    return TOKENS[rows][:, :longest], tagged[:, :longest]


def packed(rows):
    return TOKENS[rows], MASK[rows].sum(dim=1), LABELS[rows]


def tag_losses(model, batch):
    """Cross-entropy of every token that is no padding, one text after another without its padding."""
    tokens, tagged = batch
    losses = []
    for text, tags_of_text in zip(tokens, tagged, strict=True):
        n = int((tags_of_text != -100).sum())
        losses.append(F.cross_entropy(model(text[None, :n])[0].T, tags_of_text[:n], reduction="none"))
    return torch.cat(losses).sum(), len(torch.cat(losses))


@mean_of
def text_losses(model, batch):
    """Each text alone, without its padding."""
    return torch.stack([
        F.cross_entropy(model.head(model.lstm(model.embed(text[None, :n]))[0][:, -1]), label[None])
        for text, n, label in zip(*batch, strict=True)
    ])  # fmt: skip


class Segmentation(nn.Module):
    """A class for each pixel, in a dict of outputs, as in torchvision."""

    def __init__(self):
        super().__init__()
        self.backbone, self.classifier = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, CLASSES, 1)

    def forward(self, x):
        return {"out": self.classifier(torch.tanh(self.backbone(x)))}


PIXELS = torch.randint(0, CLASSES, (M, 8, 8), generator=GENERATOR)
PIXELS[torch.rand(M, 8, 8, generator=GENERATOR) < torch.linspace(0.1, 0.9, M)[:, None, None]] = IGNORED


def maps(rows):
    return IMAGES[rows], PIXELS[rows]


def pixel_losses(outputs, targets):
    """The losses of counted pixels, and one weight for each pixel."""
    losses = F.cross_entropy(outputs["out"], targets, ignore_index=IGNORED, reduction="none")
    return losses, targets != IGNORED


def pixel_mean(model, batch):
    """Torch's own mean over the counted pixels."""
    count = (batch[1] != IGNORED).sum()
    return F.cross_entropy(model(batch[0])["out"], batch[1], ignore_index=IGNORED) * count, count


def student():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, CLASSES))


def make_teacher():
    torch.manual_seed(3)
    return nn.Linear(5, CLASSES).double().requires_grad_(False)


TEACHER = make_teacher()


def with_teacher_logits(rows):
    return VECTORS[rows], {"label": LABELS[rows], "teacher": TEACHER(VECTORS[rows])}


def with_vectors(rows):
    return VECTORS[rows], {"label": LABELS[rows], "x": VECTORS[rows]}


def distilled(logits, labels, wanted):
    """Half the loss of the labels, and half the divergence from the teacher at temperature 2."""
    near = F.kl_div((logits / 2).log_softmax(1), (wanted / 2).log_softmax(1), log_target=True, reduction="none")
    return 0.5 * F.cross_entropy(logits, labels, reduction="none") + 0.5 * 4 * near.sum(dim=1)


def distillation(outputs, targets):
    return distilled(outputs, targets["label"], targets["teacher"])


class Teaching(nn.Module):
    """A criterion that holds the teacher."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher

    def forward(self, outputs, targets):
        return distilled(outputs, targets["label"], self.teacher(targets["x"]))


@mean_of
def taught(model, batch):
    """The divergence written out: sum of p (ln p - ln q), over samples."""
    x, targets = batch
    losses = []
    for row, label in zip(x, targets["label"], strict=True):
        logits, wanted = model(row), TEACHER(row)
        p, q = (wanted / 2).softmax(0), (logits / 2).softmax(0)
        losses.append(0.5 * -logits.log_softmax(0)[label] + 2 * (p * (p / q).log()).sum())
    return torch.stack(losses)


class Tasks(nn.Module):
    """One trunk, with a head for a class and one for two numbers."""

    def __init__(self):
        super().__init__()
        self.trunk, self.kind, self.place = nn.Linear(5, 4), nn.Linear(4, CLASSES), nn.Linear(4, 2)

    def forward(self, x):
        hidden = torch.tanh(self.trunk(x))
        return {"kind": self.kind(hidden), "place": self.place(hidden)}


def tasks(rows):
    return select_rows((VECTORS, {"kind": LABELS, "place": NUMBERS}), rows)


def both_tasks(outputs, targets):
    kind = F.cross_entropy(outputs["kind"], targets["kind"], reduction="none")
    return kind + 0.5 * (outputs["place"] - targets["place"]).square().mean(dim=1)


def both_means(model, batch):
    """The weighted sum of the two means that a training takes."""
    x, targets = batch
    outputs = model(x)
    mean = F.cross_entropy(outputs["kind"], targets["kind"]) + 0.5 * F.mse_loss(outputs["place"], targets["place"])
    return mean * len(x), len(x)


class Detector(nn.Module):
    """Returns a dict of losses in train mode and boxes in eval mode, as in torchvision."""

    def __init__(self):
        super().__init__()
        self.norm, self.box, self.score = nn.BatchNorm1d(5), nn.Linear(5, 4), nn.Linear(5, CLASSES)

    def forward(self, images, targets=None):
        x = torch.tanh(self.norm(torch.stack(images)))
        boxes, scores = self.box(x), self.score(x)
        if not self.training:
            return [{"boxes": box[None], "scores": score.softmax(0)} for box, score in zip(boxes, scores, strict=True)]
        wanted = torch.cat([target["boxes"] for target in targets])
        counts = [len(target["boxes"]) for target in targets]
        of_box = torch.repeat_interleave(torch.arange(len(images)), torch.tensor(counts))
        return {
            "loss_box": F.smooth_l1_loss(boxes[of_box], wanted),
            "loss_class": F.cross_entropy(scores, torch.stack([target["labels"][0] for target in targets])),
        }


def scenes(rows):
    """Lists of images and of targets, with one to three boxes in an image."""
    generator, targets = torch.Generator().manual_seed(4), []
    boxes = torch.randn(M, 3, 4, generator=generator).double()
    for row in rows.tolist():
        targets.append({"boxes": boxes[row, : 1 + row % 3], "labels": LABELS[row].expand(1 + row % 3)})
    return list(VECTORS[rows]), targets


def detector_losses(model, batch):
    return sum(model(*batch).values())


def detector_by_hand(model, batch):
    """Both losses from the layers, image by image; the statistics of the normalisation stay."""
    images, targets = batch
    x = (torch.stack(images) - model.norm.running_mean) / (model.norm.running_var + model.norm.eps).sqrt()
    x = torch.tanh(x * model.norm.weight + model.norm.bias)
    near = [(model.box(row) - box).abs() for row, target in zip(x, targets, strict=True) for box in target["boxes"]]
    near = torch.stack(near)
    box = torch.where(near < 1, near.square() / 2, near - 0.5).mean()
    scores = [-model.score(row).log_softmax(0)[target["labels"][0]] for row, target in zip(x, targets, strict=True)]
    return (box + torch.stack(scores).mean()) * len(images), len(images)


OWN = {
    "ResNet with batch normalisation": Kind(
        seeded(residual),
        lambda rows: (IMAGES[rows], LABELS[rows]),
        lambda model, batch: (F.cross_entropy(model(batch[0]), batch[1], reduction="sum"), len(batch[1])),
        CROSS_ENTROPY,
        method="ewc",
    ),
    "segmentation with ignored labels": Kind(
        seeded(Segmentation), maps, pixel_mean, pixel_losses, method=EWC("empirical")
    ),
    "LSTM, padded": Kind(seeded(Tagger), tags, tag_losses, CROSS_ENTROPY, method="ewc"),
    "LSTM, packed": Kind(seeded(PackedClassifier), packed, text_losses, CROSS_ENTROPY, method="mas"),
    "distillation, teacher logits in the data": Kind(
        seeded(student), with_teacher_logits, taught, distillation, method="kfac"
    ),
    "distillation, teacher in the criterion": Kind(
        seeded(student), with_vectors, taught, Teaching(TEACHER), method=EWC("empirical")
    ),
    "several tasks": Kind(seeded(Tasks), tasks, both_means, both_tasks, method=EWC("empirical")),
    "detector with losses in train mode": Kind(
        seeded(Detector),
        scenes,
        detector_by_hand,
        losses=detector_losses,
        options={"mode": "train", "count": lambda batch: len(batch[0])},
        method="ldc",
        batch_size=None,
    ),
}
