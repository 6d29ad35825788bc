"""The contract of every registry entry, and the parameter names that checkpoints of the wild use."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairbench.data import DATASETS
from fairbench.errors import BadInput
from fairbench.models import MODELS, build_model
from fairbench.models.torchvision_models import torchvision_names

HEAVY = ("wrn-28-10", "wrn-34-10")
SHAPES = [(3, 16, 16), (1, 8, 8), (1, 28, 28), (3, 9, 13)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [name for name in MODELS if name not in HEAVY])
def test_pixels_in_and_logits_out(name: str, shape: tuple[int, int, int]) -> None:
    """Rows do not influence one another in eval mode, gradients reach the pixels, and a state dict fits strictly."""
    model = build_model(name, num_classes=7, shape=shape).eval()
    x = torch.rand(3, *shape, requires_grad=True)
    logits = model(x)
    assert logits.shape == (3, 7)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(model(x[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[0].sum(), x)
    assert float(gradient[0].abs().max()) > 0
    assert float(gradient[1:].abs().max()) == 0
    build_model(name, num_classes=7, shape=shape).load_state_dict(model.state_dict(), strict=True)


@pytest.mark.parametrize("name", list(MODELS))
def test_shapes_without_arithmetic(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, num_classes=11, shape=(3, 32, 32))
        assert model.eval()(torch.empty(2, 3, 32, 32)).shape == (2, 11)


#: Parameters with 10 classes and 3 channels, as the papers and released networks count them.
PARAMETERS = {
    "resnet18": 11_173_962, "preactresnet18-plain": 11_171_146, "preactresnet18": 11_172_170, "mobilenetv2": 2_296_922,
    "wrn-28-10": 36_479_194, "wrn-34-10": 46_160_474,
}  # fmt: skip


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_the_number_of_parameters_is_the_known_one(name: str, count: int) -> None:
    with torch.device("meta"):
        model = build_model(name, num_classes=10, shape=(3, 32, 32))
    assert sum(p.numel() for p in model.parameters()) == count


#: Some keys of released checkpoints with their shapes; a network without them cannot load those.
KEYS = {
    "resnet18": {
        "conv1.weight": (64, 3, 3, 3), "bn1.running_mean": (64,), "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.shortcut.0.weight": (128, 64, 1, 1), "layer2.0.shortcut.1.weight": (128,),
        "layer4.1.bn2.bias": (512,), "linear.weight": (10, 512),
    },
    "preactresnet18": {
        "conv1.weight": (64, 3, 3, 3), "layer1.0.bn1.weight": (64,), "layer2.0.shortcut.0.weight": (128, 64, 1, 1),
        "layer3.0.bn1.weight": (128,), "bn.weight": (512,), "linear.bias": (10,),
    },
    "mobilenetv2": {
        "conv1.weight": (32, 3, 3, 3), "layers.0.conv2.weight": (32, 1, 3, 3),
        "layers.0.shortcut.0.weight": (16, 32, 1, 1), "layers.16.bn3.bias": (320,),
        "conv2.weight": (1280, 320, 1, 1), "bn2.weight": (1280,), "linear.weight": (10, 1280),
    },
    "wrn-34-10": {
        "conv1.weight": (16, 3, 3, 3), "block1.layer.0.bn1.weight": (16,),
        "block1.layer.0.convShortcut.weight": (160, 16, 1, 1),
        "block3.layer.4.conv2.weight": (640, 640, 3, 3), "bn1.weight": (640,), "fc.weight": (10, 640),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(KEYS))
def test_parameter_names_are_those_of_released_checkpoints(name: str) -> None:
    with torch.device("meta"):
        state = build_model(name, num_classes=10, shape=(3, 32, 32)).state_dict()
    assert {key: tuple(state[key].shape) for key in KEYS[name]} == KEYS[name]
    assert all("downsample" not in key for key in state)


def test_the_plain_form_has_no_final_norm() -> None:
    plain = build_model("preactresnet18-plain", num_classes=10, shape=(3, 32, 32)).state_dict()
    full = build_model("preactresnet18", num_classes=10, shape=(3, 32, 32)).state_dict()
    assert {key for key in full if key not in plain} == {
        f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }


def test_a_residual_block_adds_its_input() -> None:
    """With the second batch norm of every block at zero, each block is ReLU of its shortcut: here the identity."""
    model = build_model("resnet18", num_classes=10, shape=(3, 32, 32)).eval()
    block = model.get_submodule("layer1.0")
    nn.init.zeros_(block.bn2.weight)  # type: ignore[arg-type]
    x = torch.rand(2, 64, 8, 8)
    assert torch.equal(block(x), x)
    wide = build_model("preactresnet18", num_classes=10, shape=(3, 32, 32)).eval().get_submodule("layer1.1")
    nn.init.zeros_(wide.conv2.weight)  # type: ignore[arg-type]
    y = torch.randn(2, 64, 8, 8)
    assert torch.equal(wide(y), y)


@pytest.mark.parametrize("spec", DATASETS.values(), ids=list(DATASETS))
def test_every_data_sets_default_model_takes_its_images(spec) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        model = build_model(spec.default_model, num_classes=spec.num_classes, shape=spec.shape)
        assert model.eval()(torch.empty(1, *spec.shape)).shape == (1, spec.num_classes)


def test_torchvision_by_full_and_by_plain_name() -> None:
    for name in ("torchvision:squeezenet1_1", "squeezenet1_1"):
        model = build_model(name, num_classes=5, shape=(3, 64, 64)).eval()
        assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    ours, theirs = (
        build_model(name, num_classes=5, shape=(3, 32, 32)).state_dict()
        for name in ("resnet18", "torchvision:resnet18")
    )
    assert "linear.weight" in ours
    assert "fc.weight" in theirs


#: These two alone take more memory than a test should.
GIANTS = ("regnet_y_128gf", "vit_h_14")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in torchvision_names() if name not in GIANTS])
def test_every_torchvision_classifier_can_be_built(name: str) -> None:
    side = 299 if name == "inception_v3" else 224
    model = build_model(f"torchvision:{name}", num_classes=3, shape=(3, side, side)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, side, side)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet81", (3, 32, 32), "unknown model 'resnet81'. Did you mean 'resnet18'"),
        ("torchvision:resnet81", (3, 32, 32), "Did you mean 'resnet18'"),
        ("torchvision:resnet18", (1, 28, 28), "cannot take 1x28x28"),
        ("torchvision:alexnet", (3, 8, 8), "cannot take 3x8x8"),
        ("torchvision:vit_b_16", (3, 30, 30), "cannot take 3x30x30"),
        ("resnet18", (3, 4, 4), "at least 8 pixels"),
        ("small-cnn", (1, 3, 3), "at least 4 pixels"),
    ],
)
def test_mistakes_are_one_sentence(name: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        build_model(name, num_classes=10, shape=shape)
    assert len(str(error.value)) < 600


def test_a_model_needs_a_class() -> None:
    with pytest.raises(BadInput, match="at least 1 class"):
        build_model("small-cnn", num_classes=0, shape=(1, 8, 8))
