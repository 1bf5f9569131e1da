"""What a LoRA's file, or a config beside it, states about alpha; and what it says that is not read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from longlive.errors import CheckpointError
from longlive.weights.formats.lora_reading import lora_files, read_lora
from tests.support.lora_pairs import pairs_for

Q, FFN = "blocks.0.attn1.to_q", "blocks.1.ffn.net.2"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def scales(path: Path) -> tuple[float, float]:
    lora = read_lora(path)
    return lora[f"{Q}.weight"].scale, lora[f"{FFN}.weight"].scale


def peft_file(folder: Path, config: dict[str, Any] | None, *, rank: int = 4, ffn_rank: int = 4) -> Path:
    path = folder / "adapter_model.safetensors"
    pairs = pairs_for(Q, rank=rank) | pairs_for(FFN, rank=ffn_rank)
    save_file({f"base_model.model.{name}": half for name, half in pairs.items()}, path)
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("config", "ranks", "expected"),
    [
        (None, (4, 4), (1, 1)),
        (CONFIG, (4, 4), (2, 2)),
        ({"r": 4}, (4, 4), (2, 2)),  # peft's own lora_alpha is 8
        (CONFIG | {"use_rslora": True}, (4, 4), (4, 4)),
        (CONFIG | {"rank_pattern": {"ffn.net.2": 16}}, (4, 16), (2, 0.5)),
        (CONFIG | {"alpha_pattern": {"ffn.net.2": 2}}, (4, 4), (2, 0.5)),
        (CONFIG | {"alpha_pattern": {r"blocks\.0\..*": 12}}, (4, 4), (3, 2)),
        (CONFIG | {"rank_pattern": {Q: 2}, "alpha_pattern": {Q: 1}}, (2, 4), (0.5, 2)),
        (CONFIG | {"alpha_pattern": {"^blocks.1.ffn.net.2": 4}}, (4, 4), (2, 1)),
        (CONFIG | {"rank_pattern": {"ffn.net.2": 16}, "use_rslora": True}, (4, 16), (4, 2)),
    ],
)
@pytest.mark.parametrize("given", ["file", "folder"])
def test_pefts_config_beside_the_file_decides_pair_by_pair(
    config: dict[str, Any] | None,
    ranks: tuple[int, int],
    expected: tuple[float, float],
    given: str,
    tmp_path: Path,
) -> None:
    path = peft_file(tmp_path, config, rank=ranks[0], ffn_rank=ranks[1])
    assert scales(path if given == "file" else tmp_path) == expected
    assert len(lora_files(path)) == (1 if config is None else 2), (
        "a change of the config is a change of the LoRA"
    )


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"alpha": "6"}, 1.5),
        ({"lora_alpha": "2"}, 0.5),
        ({"ss_network_alpha": "16.0", "ss_network_dim": "4"}, 4),
        ({"ss_network_alpha": "Dynamic"}, 1),
        ({"lora_adapter_metadata": json.dumps({"transformer.r": 4, "transformer.lora_alpha": 8})}, 2),
        (
            {
                "lora_adapter_metadata": json.dumps(
                    {"transformer.r": 4, "transformer.lora_alpha": 8, "text_encoder.lora_alpha": 99}
                )
            },
            2,
        ),
        (
            {
                "lora_adapter_metadata": json.dumps(
                    {"transformer.r": 1, "transformer.rank_pattern": {"to_q": 4, "net.2": 4}}
                    | {"transformer.alpha_pattern": {"to_q": 12, "net.2": 12}}
                )
            },
            3,
        ),
        ({"lora_config": json.dumps({"r": 4, "lora_alpha": 32})}, 8),
        ({"format": "pt"}, 1),
    ],
)
def test_alpha_is_read_from_the_metadata_of_every_program(
    metadata: dict[str, str], expected: float, tmp_path: Path
) -> None:
    save_file(pairs_for(Q, FFN, rank=4), tmp_path / "w.safetensors", metadata=metadata)
    assert scales(tmp_path / "w.safetensors") == (expected, expected)


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"alpha": 8}, 2),
        ({"lora_alpha": 6.0, "rank": 4}, 1.5),
        ({"lora_config": {"r": 4, "lora_alpha": 16}}, 4),
        ({"step": 700, "alpha": None}, 1),
    ],
)
def test_a_number_beside_the_pairs_of_a_torch_file_is_alpha(
    beside: dict[str, Any], expected: float, tmp_path: Path
) -> None:
    torch.save({"lora": pairs_for(Q, FFN, rank=4)} | beside, tmp_path / "w.pt")
    assert scales(tmp_path / "w.pt") == (expected, expected)


def test_what_the_file_itself_states_comes_before_the_config_beside_it(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    path = tmp_path / "w.safetensors"
    save_file(pairs_for(Q, FFN, rank=4), path, metadata={"alpha": "12"})
    assert scales(path) == (3, 3)
    save_file(pairs_for(Q, FFN, rank=4) | {f"{Q}.alpha": torch.tensor(2.0)}, path, metadata={"alpha": "12"})
    assert scales(path) == (0.5, 3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CONFIG | {"r": 16}, "states rank 16 for .*, but its pair has rank 4. It belongs to another LoRA"),
        (CONFIG | {"peft_type": "LOHA"}, "peft's LOHA, which is not read"),
        (CONFIG | {"use_dora": True}, "it is a DoRA"),
        (CONFIG | {"init_lora_weights": "pissa_niter_4"}, "changed the base weights too"),
        (CONFIG | {"lora_alpha": "much"}, "a number of the LoRA is none"),
        (CONFIG | {"lora_alpha": float("inf")}, "a number of the LoRA is none .inf is not finite"),
        (CONFIG | {"alpha_pattern": {"to_q": float("nan")}}, "a number of the LoRA is none .nan is not"),
        (CONFIG | {"r": float("inf")}, "a number of the LoRA is none"),
        (CONFIG | {"alpha_pattern": {"(": 3}}, "is no pattern of layers"),
        ([], "holds a list, but an object is expected"),
    ],
)
def test_a_config_that_is_not_read_or_not_of_this_lora_is_refused(
    config: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_lora(peft_file(tmp_path, config))


def test_broken_numbers_are_named(tmp_path: Path) -> None:
    path = peft_file(tmp_path, None)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"adapter_config.json is no JSON"):
        read_lora(path)
    (tmp_path / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"adapter_config.json is no JSON"):
        read_lora(path)
    (tmp_path / "adapter_config.json").unlink()
    torch.save(pairs_for(Q) | {"lora_alpha": float("inf")}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="lora_alpha is inf, but it must be a finite number"):
        read_lora(tmp_path / "w.pt")
    save_file(pairs_for(Q), path, metadata={"alpha": "nan"})
    with pytest.raises(CheckpointError, match="alpha is 'nan', but it must be a finite number"):
        read_lora(path)
    save_file(pairs_for(Q) | {f"{Q}.alpha": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"alpha is \[1.0, 1.0\], but it must be one number"):
        read_lora(path)
