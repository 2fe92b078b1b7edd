"""The page for those who come from PyTorch: its lines run, and a script's idioms work or are answered with the right word."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

import gpucnn
from gpucnn import layers
from gpucnn.errors import GpucnnError
from tests.pytorch_rows import ROWS, names_here, result_of


class Idiom(NamedTuple):
    """A line or two of a PyTorch script, after its imports were changed."""

    code: str
    answer: str = ""
    """What an error says instead; empty for what works."""


SCRIPT = [
    # Layers and what they hold.
    Idiom("net = nn.Sequential(OrderedDict([('conv', nn.Conv2d(3, 4, 3)), ('act', nn.ReLU())])); net.conv; net(x)"),
    Idiom("net.append(nn.ReLU()); net(x)"),
    Idiom("net[1] = nn.Tanh(); net(x)"),
    Idiom("net[:2](x)"),
    Idiom("net[-1]"),
    Idiom("nn.ModuleList([nn.ReLU()])", "LayerList"),
    Idiom("nn.ModuleDict({'a': nn.ReLU()})", "LayerDict"),
    Idiom("nn.ParameterList([nn.Parameter(ones)])[0].shape"),
    Idiom("assert nn.Identity()(x) is x"),
    Idiom("nn.Module", "Layer"),
    Idiom("list(net.children())"),
    Idiom("dict(net.named_children())"),
    Idiom("assert list(net.modules())[0] is net"),
    Idiom("dict(net.named_modules())['']"),
    Idiom("net.apply(print)"),
    Idiom("net.register_buffer('seen', ones); net.seen; net.state_dict()['seen']"),
    Idiom("net.register_parameter('scale', nn.Parameter(ones)); dict(net.named_parameters())['scale']"),
    Idiom("nn.Parameter(ones)"),
    Idiom("loss = net(x).mean(); loss.backward(); net.zero_grad(); assert net[0].weight.grad is None"),
    Idiom("net.cpu()(x)"),
    Idiom("net.cuda()", "CuPy"),
    Idiom("net.half()", "float16"),
    Idiom("net.double()(x.astype('float64'))"),
    Idiom("net.float()(x)"),
    Idiom("net.to('cpu')"),
    Idiom("net.train(); net.train(False); net.eval()"),
    Idiom("net.requires_grad_(False)"),
    Idiom("net.register_forward_hook(lambda layer, given, out: None).remove()"),
    Idiom("net.register_forward_pre_hook(lambda layer, given: None).remove()"),
    Idiom("net.register_full_backward_hook(lambda layer, grad_in, grad_out: None).remove()"),
    Idiom("assert 'net.0.weight' in net.state_dict(prefix='net.')"),
    Idiom("missing, unexpected = net.load_state_dict({}, strict=False); assert missing and not unexpected"),
    Idiom("sum(p.numel() for p in net.parameters())", "size"),
    Idiom("net.get_submodule('0')"),
    Idiom("torch.nn", "layers"),
    Idiom("nn.init.kaiming_normal_(net[0].weight)", "initialize"),
    Idiom("nn.functional.relu(x)", "gpucnn.functions"),
    Idiom("nn.CrossEntropyLoss()(logits, labels)", "cross_entropy"),
    Idiom("nn.utils.clip_grad_norm_(net.parameters(), 1.0)", "clip_gradient_norm"),
    Idiom("nn.LSTM(3, 4)", "LSTM"),
    Idiom("nn.Conv3d(3, 4, 3)", "Conv3d"),
    Idiom("nn.DataParallel(net)", "DataParallel"),
    # Tensors.
    Idiom("x.view(2, -1)", "reshape"),
    Idiom("x.flatten(1)"),
    Idiom("x.unsqueeze(0)", "expand_dims"),
    Idiom("x[:, :1].squeeze(1)"),
    Idiom("x.permute(0, 2, 3, 1)", "transpose"),
    Idiom("logits.argmax(1)"),
    Idiom("logits.softmax(dim=1)", "softmax"),
    Idiom("F.softmax(logits, dim=1)", "axis"),
    Idiom("torch.cat([x, x], dim=1)", "concatenate"),
    Idiom("torch.zeros(2, 3)", "Tensor"),
    Idiom("torch.tensor([1.0])", "Tensor"),
    Idiom("torch.from_numpy(ones)", "Tensor"),
    Idiom("x.exp().log().sqrt().abs()"),
    Idiom("x.clamp(0, 1)", "clip"),
    Idiom("logits.T"),
    Idiom("x.clone(); x.detach(); x.cpu().numpy(); x.tolist()"),
    Idiom("x.float()", "astype"),
    Idiom("x.astype('float64')"),
    Idiom("f'{x.mean():.3f}'"),
    Idiom("x.mean().item()"),
    Idiom("(logits.argmax(1) == labels).mean()"),
    Idiom("(x < 0.5), (x >= 0.5)"),
    Idiom("w = Tensor(ones, requires_grad=True); assert w.is_leaf; w.requires_grad_(False)"),
    Idiom("w = Tensor(ones, requires_grad=True); y = w * 2; y.retain_grad(); y.sum().backward(); y.grad"),
    Idiom("w = Tensor(ones, requires_grad=True); y = w * 2; y.register_hook(lambda g: g * 0); y.sum().backward()"),
    Idiom("w = Tensor(ones, requires_grad=True); y = (w * w).sum(); y.backward(retain_graph=True); y.backward()"),
    Idiom("w = Tensor(ones, requires_grad=True); autograd.grad((w * w).sum(), [w])"),
    Idiom(
        "class Double(autograd.Function):\n"
        "    @staticmethod\n"
        "    def forward(ctx, x):\n"
        "        ctx.save_for_backward(x)\n"
        "        return x * 2\n"
        "    @staticmethod\n"
        "    def backward(ctx, grad):\n"
        "        return grad * 2\n"
        "w = Tensor(ones, requires_grad=True)\n"
        "Double.apply(w).sum().backward()\n"
        "assert (w.grad == 2).all()"
    ),
    Idiom("with torch.no_grad(): net(x)"),
    Idiom("with torch.inference_mode(): net(x)", "no_grad"),
    # Optimizers and schedules.
    Idiom("optim.SGD([{'params': net.parameters(), 'lr': 0.1}], lr=0.01)"),
    Idiom("opt.param_groups[0]['lr']"),
    Idiom("opt.zero_grad(); F.cross_entropy(model(x), labels).backward(); opt.step()"),
    Idiom("optim.lr_scheduler.StepLR(opt, 10)", "step_decay"),
    Idiom("torch.optim.SGD(net, lr=0.1)", "parameters"),
    # Data.
    Idiom("[images.shape for images, _ in data.DataLoader(mine, batch_size=2, shuffle=True)]"),
    Idiom("data.DataLoader(mine, batch_size=2, collate_fn=list)", "collate"),
    Idiom("data.DataLoader(mine, batch_size=2, sampler=[3, 1, 2])"),
    Idiom("data.DataLoader(mine, batch_size=2, num_workers=2)", "workers"),
    Idiom("data.TensorDataset(x, labels)", "ArrayDataset"),
    Idiom("data.random_split(mine, [3, 1])", "split"),
    # Around them.
    Idiom("torch.manual_seed(0)", "seed"),
    Idiom("torch.save(net.state_dict(), 'net.pth')", "save"),
    Idiom("torch.cuda.is_available()", "backend"),
    Idiom("torch.device('cuda')", "device"),
    Idiom("with torch.autocast('cuda'): net(x)", "precision"),
    Idiom("torch.compile(net)", "CapturedStep"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_page_has_what_is_asked_for_most() -> None:
    assert (len(ROWS), len(SCRIPT)) == (68, 89)


@pytest.mark.parametrize("row", ROWS, ids=[row[1][:50] for row in ROWS])
def test_a_line_of_the_page(row: tuple[str, str]) -> None:
    result_of(row[1], names_here())


@pytest.mark.parametrize("idiom", SCRIPT, ids=[idiom.code.replace("\n", "; ")[:60] for idiom in SCRIPT])
def test_what_a_pytorch_script_says(idiom: Idiom) -> None:
    names = {**names_here(), "torch": gpucnn, "nn": layers, "ones": names_here()["array"]}
    if not idiom.answer:
        exec(idiom.code, names)
        return
    with pytest.raises(GpucnnError, match=re.escape(idiom.answer)):
        exec(idiom.code, names)
