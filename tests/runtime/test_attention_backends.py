"""Which attention is chosen, and that packages are called with our layout."""

import re
import sys
import threading
from types import ModuleType

import pytest
import torch
from torch import Tensor

from longlive.errors import ConfigError
from longlive.models.attention import SDPA, attend
from longlive.runtime import attention_backends as backends
from longlive.runtime.attention_backends import attend_to_prompt, choose_backend
from tests.support.paths import ROOT

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def package(name: str, function: str, result: str) -> ModuleType:
    """A module whose function computes our attention and answers as that package does."""

    def compute(queries: Tensor, keys: Tensor, values: Tensor, **options: str) -> object:
        assert options == ({"tensor_layout": "NHD"} if name == "sageattention" else {})
        output = attend(queries, keys, values).unflatten(2, queries.shape[2:])
        return (output, None) if result == "pair" else output

    module = ModuleType(name)
    setattr(module, function, compute)
    return module


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that looks as if it had an H100 and no package."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    monkeypatch.setattr(backends, "_is_installed", lambda name: name in sys.modules)


def test_a_cpu_takes_torch_s_own() -> None:
    assert choose_backend(CPU, torch.float32) is SDPA
    assert choose_backend(CPU, torch.bfloat16, "sdpa") is SDPA


def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        choose_backend(CPU, torch.float32)
    assert "attention: sdpa" in caplog.text


def test_a_hopper_takes_cudnn_unless_a_quicker_package_is_there(
    hopper: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_backend(CUDA, torch.bfloat16).name == "cudnn"
    monkeypatch.setitem(sys.modules, "sageattention", package("sageattention", "sageattn", "one"))
    assert choose_backend(CUDA, torch.bfloat16).name == "cudnn", "8 bits must be asked for"
    flash = package("flash_attn_interface", "flash_attn_func", "one")
    monkeypatch.setitem(sys.modules, "flash_attn_interface", flash)
    assert choose_backend(CUDA, torch.bfloat16).name == "flash3"
    assert choose_backend(CUDA, torch.float32).name == "sdpa", "these kernels have 16 bits"


def test_an_older_card_takes_torch_s_own(hopper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    flash = package("flash_attn_interface", "flash_attn_func", "one")
    monkeypatch.setitem(sys.modules, "flash_attn_interface", flash)
    assert choose_backend(CUDA, torch.bfloat16).name == "sdpa"


@pytest.mark.parametrize(
    ("name", "module", "function", "result"),
    [
        ("flash3", "flash_attn_interface", "flash_attn_func", "one"),
        ("flash4", "flash_attn.cute", "flash_attn_func", "pair"),
        ("sage", "sageattention", "sageattn", "one"),
    ],
)
def test_packages_get_our_layout_and_give_ours(
    hopper: None, monkeypatch: pytest.MonkeyPatch, name: str, module: str, function: str, result: str
) -> None:
    monkeypatch.setitem(sys.modules, module, package(module, function, result))
    if "." in module:
        monkeypatch.setitem(sys.modules, module.split(".")[0], ModuleType(module.split(".")[0]))
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 5, 2, 8), torch.randn(1, 7, 2, 8), torch.randn(1, 7, 2, 8)
    chosen = choose_backend(CUDA, torch.bfloat16, name)
    assert chosen.name == name
    assert torch.equal(chosen.attend(q, k, v), attend(q, k, v))


@pytest.mark.parametrize(("name", "cure"), [("flash3", "install the package"), ("cudnn", "another")])
def test_an_attention_that_is_not_there_is_refused_with_the_cure(name: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=f"not available on cpu .* {cure}"):
        choose_backend(CPU, torch.float32, name)


def test_an_unknown_attention_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        choose_backend(CPU, torch.float32, "fast")


def sdp_flags() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return (
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    )


@pytest.mark.parametrize("kernel", ["cudnn", "flash"])
def test_another_thread_can_attend_while_a_kernel_is_called(
    hopper: None, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    """Flags that choose torch's kernels are the process's: a decoder's thread must not see them change."""
    before, seen = sdp_flags(), []

    def attend_elsewhere(q: Tensor, k: Tensor, v: Tensor) -> None:
        seen.append((sdp_flags(), torch.nn.functional.scaled_dot_product_attention(q, k, v)))

    def compute(q: Tensor, k: Tensor, v: Tensor, *_: object) -> tuple[Tensor, ...]:
        other = threading.Thread(target=attend_elsewhere, args=(q, k, v))
        other.start()
        other.join()
        return seen[-1][1], torch.zeros(0)

    monkeypatch.setattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention", compute)
    monkeypatch.setattr(backends, "_can_flash", lambda queries: True)
    called = choose_backend(CUDA, torch.bfloat16, "cudnn").attend if kernel == "cudnn" else attend_to_prompt
    q, k, v = torch.randn(3, 5, 2, 8), torch.randn(1, 7, 2, 8), torch.randn(1, 7, 2, 8)
    assert torch.equal(called(q, k, v), attend(q, k, v))
    assert [flags for flags, _ in seen] == [before]
    assert sdp_flags() == before


@pytest.mark.parametrize("kernel", ["cudnn", "flash"])
def test_kernels_are_called_by_their_schema(kernel: str) -> None:
    """Positional arguments as in ``_attend_with_cudnn`` and ``attend_to_prompt``."""
    operator = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention")
    names = [argument.name for argument in operator.default._schema.arguments]
    assert names[:3] == ["query", "key", "value"]
    if kernel == "cudnn":
        assert names[3:5] == ["attn_bias", "compute_log_sumexp"]


def test_the_running_path_sets_no_flags_of_the_process() -> None:
    """Only counting FLOPs does."""
    pattern = re.compile(r"\bsdpa_kernel\(|\benable_\w*_sdp\b")
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("longlive/**/*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    counting = ("benchmark/cost.py", "benchmark/systems/counting.py", "training/cost/flops.py")
    assert found == {f"longlive/{name}" for name in counting}


def test_a_prompt_is_read_by_torch_s_own_choice_on_a_cpu() -> None:
    q, k, v = torch.randn(1, 5, 2, 8), torch.randn(1, 7, 2, 8), torch.randn(1, 7, 2, 8)
    assert torch.equal(attend_to_prompt(q, k, v), attend(q, k, v))
