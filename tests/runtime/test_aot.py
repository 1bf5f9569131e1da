"""Blocks that were compiled ahead of time give what the methods give, each with weights of its own."""

import logging
import multiprocessing
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._inductor.exc import InvalidCxxCompiler

from longlive.errors import ConfigError
from longlive.models.transformer import Block, CausalWanTransformer
from longlive.runtime.aot import package
from longlive.runtime.aot.package import compile_package, find_or_compile, package_folder
from longlive.runtime.aot.parts import apply_package
from longlive.runtime.compilation import optimize_for_inference
from longlive.runtime.quantization import quantize
from tests.support.cpp_compiler import needs_cpp_compiler
from tests.support.tiny_passes import largest_difference, passes
from tests.support.tiny_transformer import random_latents, random_prompt, tiny_transformer

ATOL = 3e-6
METHODS = ("project_qkv", "post_attention")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the tiny transformer."""
    needs_cpp_compiler()
    folder = tmp_path_factory.mktemp("aot") / "package"
    compile_package(optimized(), folder)
    return folder


@pytest.fixture
def forbid_methods(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, a block that runs eagerly fails."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("a block ran eagerly")

    return lambda: [monkeypatch.setattr(Block, name, refuse) for name in METHODS] and None


def optimized() -> CausalWanTransformer:
    model = tiny_transformer()
    optimize_for_inference(model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_all_passes_of_a_stream_are_those_of_the_plain_transformer(
    compiled: Path, positions: str, forbid_methods: Callable[[], None]
) -> None:
    """For all layers and numbers of tokens by the same two libraries."""
    expected = passes(tiny_transformer(), positions)
    model = optimized()
    apply_package(model, compiled)
    forbid_methods()
    assert largest_difference(passes(model, positions), expected) < ATOL


@pytest.mark.slow
def test_each_block_is_run_with_its_own_weights(compiled: Path, forbid_methods: Callable[[], None]) -> None:
    """Weights that change in place are followed, and another set of weights is run by the same package."""
    other = tiny_transformer()
    for number, weight in enumerate(other.blocks.parameters()):  # type: ignore[attr-defined]
        weight.mul_(1.01 + 0.001 * number)
    expected = passes(other, "relative")
    model = optimized()
    apply_package(model, compiled)
    before = passes(model, "relative")
    model.load_state_dict(other.state_dict())
    forbid_methods()
    assert largest_difference(passes(model, "relative"), expected) < ATOL
    assert largest_difference(before, expected) > 100 * ATOL
    first, second = model.blocks
    for name in METHODS:
        vars(second)[name] = vars(first)[name]
    assert largest_difference(passes(model, "relative"), expected) > 100 * ATOL, "one layer's for another"


@pytest.mark.slow
def test_what_it_was_not_compiled_for_runs_eagerly(compiled: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, plain = optimized(), tiny_transformer()
    apply_package(model, compiled)
    batch, times = random_latents(3, batch=2), torch.tensor([[900.0, 500.0, 100.0]])
    for latents, timestep in ((batch, 700.0), (random_latents(3), times)):
        made, expected = (one(latents, timestep, random_prompt(one)) for one in (model, plain))
        assert largest_difference([made], [expected]) < ATOL
    with torch.enable_grad():
        latents = random_latents(3).requires_grad_()
        model(latents, 700.0, random_prompt(model)).sum().backward()
    assert latents.grad is not None
    model.double()
    made, expected = (one(batch[:1].double(), 700.0, random_prompt(one)) for one in (model, plain.double()))
    assert made.dtype == torch.float64
    assert largest_difference([made], [expected]) < ATOL
    assert not caplog.records


@pytest.mark.slow
def test_weights_that_it_was_not_compiled_for_are_never_given_to_it(
    compiled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A library trusts what it is given: other dtypes or shapes would be read as if they were its own."""
    for model in (tiny_transformer(), optimized().double()):
        plain = tiny_transformer().to(model.proj_out.weight.dtype)
        apply_package(model, compiled)
        latents = random_latents(3).to(model.proj_out.weight.dtype)
        made, expected = (one(latents, 700.0, random_prompt(one)) for one in (model, plain))
        assert largest_difference([made], [expected]) < ATOL
    assert caplog.text.count("it was compiled for other weights") == 4


@pytest.mark.slow
def test_a_forked_process_loads_it_for_itself(compiled: Path, forbid_methods: Callable[[], None]) -> None:
    """The process that applies a package has no need to load it."""
    expected = passes(tiny_transformer(), "relative")
    model = optimized()
    apply_package(model, compiled)
    forbid_methods()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=lambda: theirs.send([one.numpy() for one in passes(model, "relative")]), daemon=True
    )
    process.start()
    theirs.close()
    made = [torch.from_numpy(one) for one in ours.recv()]
    process.join(60)
    assert largest_difference(made, expected) < ATOL


@pytest.mark.slow
def test_a_library_that_computes_something_else_is_not_kept(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for a wrong block, it is as wrong as a miscompiled one."""
    wrong = tiny_transformer()
    optimize_for_inference(wrong)
    monkeypatch.setattr(
        package, "_compile_part", lambda block, name, folder: folder.symlink_to(compiled / name)
    )
    compile_package(wrong, tmp_path / "right")
    assert (tmp_path / "right" / "facts.json").exists()
    for block in wrong.blocks:
        block.eps = 0.5
    with pytest.raises(ConfigError, match="more than rounding explains"):
        compile_package(wrong, tmp_path / "wrong")
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


@pytest.mark.slow
def test_its_libraries_ask_for_no_executable_stack(compiled: Path) -> None:
    for name in METHODS:
        (library,) = (compiled / name).glob("*.so")
        assert stack_flags(library.read_bytes()) == [6], "read and write alone"


def stack_flags(library: bytes) -> list[int]:
    """Of the program headers of kind PT_GNU_STACK."""
    (first,), (size, count) = struct.unpack_from("<Q", library, 32), struct.unpack_from("<HH", library, 54)
    headers = [struct.unpack_from("<II", library, first + size * number) for number in range(count)]
    return [flags for kind, flags in headers if kind == 0x6474E551]


def test_a_library_that_cannot_be_loaded_leaves_the_block_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = optimized()
    for name in METHODS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.so").write_bytes(b"no library")
    apply_package(model, tmp_path)
    assert largest_difference(passes(model, "relative"), passes(tiny_transformer(), "relative")) < ATOL
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 2, "once for each library"
    assert "blocks run eagerly" in messages[0]


def test_without_a_compiler_the_mode_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_nothing(*_: Any, **__: Any) -> None:
        raise InvalidCxxCompiler

    monkeypatch.setattr(package, "cache_folder", lambda: tmp_path)
    exported = SimpleNamespace(example_inputs=((), {}), module=lambda: None)
    monkeypatch.setattr(package, "_export", lambda *_: exported)
    monkeypatch.setattr(torch._inductor, "aot_compile", compile_nothing)
    with pytest.raises(ConfigError, match=r"InvalidCxxCompiler.*Install a C\+\+ compiler"):
        optimize_for_inference(tiny_transformer(), compile_mode="aot")
    assert not list((tmp_path / "aot").iterdir())


def test_products_in_8_bits_are_refused() -> None:
    model = tiny_transformer()
    quantize(model, "int8")
    with pytest.raises(ConfigError, match="Int8Linear cannot be compiled ahead of time"):
        optimize_for_inference(model, compile_mode="aot", fuse=False)


def test_a_package_is_made_once_for_all_that_is_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(model: CausalWanTransformer, folder: Path) -> None:
        folder.mkdir(parents=True)
        made.append(folder)

    monkeypatch.setattr(package, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(package, "compile_package", make)
    folder = find_or_compile(optimized())
    assert find_or_compile(optimized()) == folder
    assert made == [folder]
    assert package_folder(tiny_transformer()) != folder, "not fused"
    assert package_folder(optimized().double()) != folder
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert package_folder(optimized()) != folder
