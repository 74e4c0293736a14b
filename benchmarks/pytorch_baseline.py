"""ANP, NAD and a pruning curve in plain PyTorch, to compare speeds with.

Written for this comparison alone, in the way of the papers' scripts: float32,
NCHW, images augmented one by one, gradients for every weight, a state dict
loaded for each pruned neuron, a full evaluation for each threshold. `fast` is
what its users would change first: autocast to bfloat16, NHWC in memory, and
gradients for nothing but what is updated. Nothing else imports it.
"""

import random

import torch
import torch.nn.functional as F
from torch import nn

_RESNET18_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
_WIDE_RESNET_GROUPS = ((16, 1), (32, 2), (64, 2))
_BETAS = (500.0, 1000.0, 1000.0)
_CLASSES = 10


class MaskedNorm(nn.BatchNorm2d):
    """Batch normalisation with a mask and a perturbation of each neuron."""

    def __init__(self, channels):
        super().__init__(channels)
        self.neuron_mask = nn.Parameter(torch.ones(channels))
        self.scale_noise = nn.Parameter(torch.zeros(channels))
        self.offset_noise = nn.Parameter(torch.zeros(channels))
        self.perturbed = False

    def forward(self, x):
        scale, offset = self.neuron_mask, 1.0
        if self.perturbed:
            scale = scale + self.scale_noise
            offset = offset + self.offset_noise
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight * scale,
            self.bias * offset,
            self.training,
            self.momentum,
            self.eps,
        )


def _conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(
        inputs, outputs, size, stride, padding=size // 2, bias=False
    )


class _BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, norm):
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, outputs, 3, stride),
            norm(outputs),
            nn.ReLU(),
            _conv(outputs, outputs, 3),
            norm(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _conv(inputs, outputs, 1, stride), norm(outputs)
            )

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """CIFAR ResNet-18 (He et al. 2016), width as a factor."""

    def __init__(self, *, width=1.0, norm=nn.BatchNorm2d):
        super().__init__()
        channels = round(_RESNET18_STAGES[0][0] * width)
        layers = [_conv(3, channels, 3), norm(channels), nn.ReLU()]
        for outputs, stride in _RESNET18_STAGES:
            outputs = round(outputs * width)
            layers.append(_BasicBlock(channels, outputs, stride, norm))
            layers.append(_BasicBlock(outputs, outputs, 1, norm))
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, _CLASSES)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class _PreActivationBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.conv2 = _conv(outputs, outputs, 3)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = _conv(inputs, outputs, 1, stride)

    def forward(self, x):
        activated = F.relu(self.norm1(x))
        carried = x if self.shortcut is None else self.shortcut(activated)
        return carried + self.conv2(F.relu(self.norm2(self.conv1(activated))))


class WideResNet16(nn.Module):
    """WRN-16-1 (Zagoruyko & Komodakis 2016); also gives its group outputs."""

    def __init__(self):
        super().__init__()
        self.stem = _conv(3, 16, 3)
        self.groups = nn.ModuleList()
        channels = 16
        for outputs, stride in _WIDE_RESNET_GROUPS:
            self.groups.append(
                nn.Sequential(
                    _PreActivationBlock(channels, outputs, stride),
                    _PreActivationBlock(outputs, outputs, 1),
                )
            )
            channels = outputs
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, _CLASSES)

    def forward(self, x):
        x, taps = self.stem(x), []
        for group in self.groups:
            x = group(x)
            taps.append(x)
        return self.head(F.relu(self.norm(x)).mean((2, 3))), taps


def _prepared(network, fast):
    """The network with its weights in NHWC order, or as it is."""
    if fast:
        return network.to(memory_format=torch.channels_last)
    return network


def _called(network, images, fast):
    """Its outputs, in bfloat16 where autocast has it so."""
    if not fast:
        return network(images)
    images = images.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return network(images)


def anp_iteration(*, width=1.0, epsilon=0.4, alpha=0.2, fast=False):
    """A function of (images, labels) that makes one ANP iteration."""
    network = ResNet18(width=width, norm=MaskedNorm).train()
    network = _prepared(network, fast)
    norms = [m for m in network.modules() if isinstance(m, MaskedNorm)]
    noises = [p for m in norms for p in (m.scale_noise, m.offset_noise)]
    masks = [m.neuron_mask for m in norms]
    optimizer = torch.optim.SGD(masks, lr=0.2, momentum=0.9)
    if fast:
        network.requires_grad_(False)
        for parameter in (*noises, *masks):
            parameter.requires_grad_(True)

    def loss(images, labels, *, perturbed):
        for norm in norms:
            norm.perturbed = perturbed
        outputs = _called(network, images, fast)
        return F.cross_entropy(outputs.float(), labels)

    def iterate(images, labels):
        with torch.no_grad():
            for noise in noises:
                noise.uniform_(-epsilon, epsilon)
        network.zero_grad()
        loss(images, labels, perturbed=True).backward()
        with torch.no_grad():
            for noise in noises:
                noise += epsilon * noise.grad.sign()
        network.zero_grad()
        perturbed = loss(images, labels, perturbed=True)
        clean = loss(images, labels, perturbed=False)
        (alpha * clean + (1.0 - alpha) * perturbed).backward()
        optimizer.step()
        with torch.no_grad():
            for mask in masks:
                mask.clamp_(0.0, 1.0)

    return iterate


def nad_step(*, fast=False):
    """A function of (images, labels) that makes one NAD step on WRN-16-1."""
    student = _prepared(WideResNet16().train(), fast)
    teacher = _prepared(WideResNet16().eval(), fast)
    if fast:
        teacher.requires_grad_(False)
    optimizer = torch.optim.SGD(
        student.parameters(), lr=0.1, momentum=0.9, nesterov=True,
        weight_decay=1e-4,
    )  # fmt: skip

    def normalised_attention(features):
        attention = features.float().abs().pow(2.0).sum(1)
        norm = attention.norm(dim=(1, 2), keepdim=True)
        return attention / (norm + 1e-6)

    def step(images, labels):
        outputs, student_taps = _called(student, images, fast)
        _, teacher_taps = _called(teacher, images, fast)
        loss = F.cross_entropy(outputs.float(), labels)
        for beta, mine, theirs in zip(_BETAS, student_taps, teacher_taps):
            difference = normalised_attention(mine) - normalised_attention(
                theirs.detach()
            )
            loss = loss + beta * difference.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def repeated(step, count, batch_size, *, cutout_length=0):
    """A function that makes `count` such steps on random images.

    Each batch is augmented as in the papers' scripts, image by image: crop
    from 4 pixels of padding, flip, and Cutout where it has a length.
    """
    images = torch.rand(count * batch_size, 3, 32, 32)
    labels = torch.randint(_CLASSES, (count * batch_size,))

    def steps():
        for order in torch.randperm(len(images)).split(batch_size):
            batch = [_augmented(images[i], cutout_length) for i in order]
            step(torch.stack(batch), labels[order])

    return steps


def _augmented(image, cutout_length, padding=4):
    size = image.shape[-1]
    top, left = (random.randint(0, 2 * padding) for _ in range(2))
    image = F.pad(image, (padding,) * 4)
    image = image[:, top : top + size, left : left + size]
    if random.random() < 0.5:
        image = image.flip(-1)
    if cutout_length:
        image = image.clone()
        rows, columns = (_span(size, cutout_length) for _ in range(2))
        image[:, rows, columns] = 0.0
    return image


def _span(size, length):
    first = random.randrange(size) - length // 2
    return slice(max(0, first), first + length)


def pruning_curve(clean, triggered, thresholds, *, width=1.0, batch_size=256):
    """Scores a ResNet-18 with random masks at each threshold.

    Args:
        clean: pair of images `(count, 3, 32, 32)` and labels.
        triggered: the same, of triggered images.
        thresholds: floats in rising order.
        width: float, of the network.
        batch_size: int > 0.

    Returns:
        For each threshold the pair of clean and triggered accuracy.
    """
    network = ResNet18(width=width).eval()
    generator = torch.Generator().manual_seed(0)
    neurons = sorted(
        (float(torch.rand((), generator=generator)), name, channel)
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for channel in range(module.num_features)
    )
    curve, pruned = [], 0
    for threshold in thresholds:
        while pruned < len(neurons) and neurons[pruned][0] <= threshold:
            _, name, channel = neurons[pruned]
            state = network.state_dict()
            state[f"{name}.weight"][channel] = 0.0
            network.load_state_dict(state)
            pruned += 1
        curve.append(
            tuple(
                _accuracy(network, *images, batch_size)
                for images in (clean, triggered)
            )
        )
    return curve


@torch.no_grad()
def _accuracy(network, images, labels, batch_size):
    correct = 0
    for start in range(0, len(images), batch_size):
        stop = start + batch_size
        predictions = network(images[start:stop]).argmax(1)
        correct += int((predictions == labels[start:stop]).sum())
    return correct / len(images)
