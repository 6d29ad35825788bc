"""The copy that is attacked computes the same function, and says what it changed."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairbench.models import build_model
from fairbench.models.attack_copy import attack_copy
from fairbench.models.few_channels import FewChannelConv, reads_few_channels


def trained(model):
    """Give batch norms statistics and weights as training would, so that folding has something to do."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.3, 2)
                if layer.affine:
                    layer.weight.data.uniform_(0.5, 1.5)
                    layer.bias.data.normal_(0, 0.2)
    return model.eval()


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def logits_and_gradient(model, x):
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    return logits.detach(), torch.autograd.grad(logits[:, 0].sum(), leaf)[0]


def assert_same_function(model, x, **options):
    """In float64, where folding rounds so little that no ReLU changes its mind."""
    twice, double = attack_copy(copy.deepcopy(model).double(), x.double(), **options), copy.deepcopy(model).double()
    expected, slope = logits_and_gradient(double, x.double())
    logits, gradient = logits_and_gradient(twice.network, x.double())
    assert torch.allclose(logits, expected, rtol=1e-9, atol=1e-9)
    assert torch.allclose(gradient, slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "folded"), [("resnet18", 20), ("preactresnet18", 8), ("mobilenetv2", 57)])
def test_registry_networks_are_folded(name, folded):
    model = trained(build_model(name, num_classes=10, shape=(3, 32, 32)))
    x = images(2, 3, 32, 32)
    made = attack_copy(model, x)
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert made.folded == folded
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in made.modules()) == norms - folded
    assert torch.allclose(made(x), model(x), rtol=1e-4, atol=1e-4)
    assert_same_function(model, x)


def test_folding_by_hand():
    """y = 2x + 1, then (y - 3) / sqrt(0.75 + 0.25) x 4 + 5 = 8x - 3."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.BatchNorm1d(1, eps=0.25)).eval()
    with torch.no_grad():
        for tensor, value in (
            (model[1].weight, 2.0), (model[1].bias, 1.0), (model[2].running_mean, 3.0), (model[2].running_var, 0.75),
            (model[2].weight, 4.0), (model[2].bias, 5.0),
        ):  # fmt: skip
            tensor.fill_(value)
    made = attack_copy(model, torch.rand(2, 1, 1, 1))
    assert made.folded == 1
    assert made.network[1].weight.item() == pytest.approx(8)
    assert made.network[1].bias.item() == pytest.approx(-3)
    assert made(torch.full((1, 1, 1, 1), 0.5)).item() == pytest.approx(1)


class Between(nn.Module):
    """A convolution whose output does not only go through the batch norm, or not untouched."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        y = self.conv(x)
        if self.kind == "in place":
            y = F.relu(y, inplace=True)
        out = self.norm(y)
        if self.kind == "skip":
            out = out + y
        elif self.kind == "detached skip":
            out = out + y.detach()
        elif self.kind == "twice":
            out = self.norm(self.conv(x) + out)
        elif self.kind == "weight":
            out = out * self.conv.weight.sum()
        return self.head(out.relu().mean((2, 3)))


@pytest.mark.parametrize("kind", ["in place", "skip", "detached skip", "twice", "weight"])
def test_what_cannot_be_folded_is_left_alone(kind):
    model = trained(Between(kind))
    x = images(3, 2, 6, 6)
    made = attack_copy(model, x)
    assert made.folded == 0
    assert isinstance(made.network.norm, nn.BatchNorm2d)
    assert torch.allclose(made(x), model(x), rtol=1e-5, atol=1e-6)
    assert attack_copy(trained(Between("none")), x).folded == 1


def test_without_affine_and_with_groups():
    model = trained(
        nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8, affine=False), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False),
            nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4, 5), nn.BatchNorm1d(5),
        )
    )  # fmt: skip
    x = images(3, 4, 6, 6)
    assert attack_copy(model, x).folded == 3
    assert_same_function(model, x)


def test_the_model_is_not_touched():
    model = trained(build_model("mobilenetv2", num_classes=10, shape=(3, 32, 32)))
    before = copy.deepcopy(model.state_dict())
    made = attack_copy(model, images(1, 3, 32, 32), precision="bf16")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in made.parameters())
    assert not made.training
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 1, 0), (4, 2, 1), (7, 2, 3), (1, 2, 0)])
def test_few_channels(channels, kernel, stride, padding):
    layer = nn.Conv2d(channels, 6, kernel, stride, padding, bias=kernel != 4).eval()
    x = images(3, channels, 11, 8)
    assert reads_few_channels(layer) is (channels < 8 or stride == 2)
    fast = FewChannelConv(layer)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        leaf, other = given.clone().requires_grad_(), given.clone().requires_grad_()
        out, expected = fast(leaf), layer(other)
        assert torch.allclose(out, expected, atol=1e-5)
        up = images(*out.shape)
        (gradient,), (slope,) = torch.autograd.grad(out, leaf, up), torch.autograd.grad(expected, other, up)
        assert torch.allclose(gradient, slope, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3), nn.Conv2d(2, 8, 3, dilation=2), nn.Conv2d(2, 8, 3, groups=2),
        nn.Conv2d(2, 8, 3, padding="same"), nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect"), nn.Linear(2, 2),
    ],
)  # fmt: skip
def test_other_layers_keep_their_own_code(layer):
    assert not reads_few_channels(layer)


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("float64", 1e-6), ("bf16", 0.03)])
def test_precisions(precision, error):
    model = trained(build_model("resnet18", num_classes=10, shape=(3, 32, 32)))
    x = images(2, 3, 32, 32)
    made = attack_copy(model, x, precision=precision)
    logits, gradient = logits_and_gradient(made, x)
    expected = copy.deepcopy(model).double()(x.double())
    assert logits.dtype == gradient.dtype == torch.float32
    assert (logits - expected).abs().max() / expected.abs().max() < error
    if precision == "bf16":
        assert (logits - expected).abs().max() / expected.abs().max() > 1e-5, "it did compute in bfloat16"


def test_layout():
    narrow = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 5)).eval()
    wide = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), nn.Flatten(), nn.Linear(32 * 16, 5)).eval()
    x = images(2, 3, 8, 8)
    assert attack_copy(narrow, x).memory_format is torch.contiguous_format
    made = attack_copy(wide, x)
    assert made.memory_format is torch.channels_last
    assert made.network[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(made(x), wide(x), atol=1e-5)
    assert attack_copy(wide, x, channels_last=False).memory_format is torch.contiguous_format
