"""Nearest words, the map and the trace, against slow or known answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from vip_demo.codes import codebook_map, nearest_words, read_trace
from vip_train import Adapter, Backbone, load_adapter


def test_nearest_words_are_those_of_least_angle(adapter: Adapter) -> None:
    vector_D = adapter.model.prompt.code_vectors()[3]
    embedding_VD = adapter.model.backbone.get_input_embeddings().weight.detach()
    found = nearest_words(adapter, 3, most=5)
    cosine = {}
    for number in range(len(adapter.tokenizer)):
        if number not in adapter.tokenizer.all_special_ids:
            row_D = embedding_VD[number]
            cosine[adapter.tokenizer.convert_ids_to_tokens(number)] = float(row_D @ vector_D / row_D.norm() / vector_D.norm())
    expected = sorted(cosine, key=cosine.__getitem__, reverse=True)[:5]
    assert [near.token for near in found] == expected
    assert [near.cosine for near in found] == pytest.approx([cosine[token] for token in expected], abs=1e-5)


def test_the_map_keeps_distances_of_a_flat_codebook(adapter: Adapter) -> None:
    found = codebook_map(adapter)
    code_KD = adapter.model.prompt.code_vectors()
    centred_KD = code_KD - code_KD.mean(0)
    assert found.place_K2.shape == (60, 2)
    variance_D = torch.linalg.eigvalsh(centred_KD.T @ centred_KD).flip(0)
    assert found.explained == pytest.approx([float(variance_D[number] / variance_D.sum()) for number in (0, 1)], rel=1e-3)
    torch.testing.assert_close(found.place_K2.square().sum(0), variance_D[:2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("codes", [1, 2])
def test_the_map_of_few_codes(make_adapter: Callable[..., Path], backbone: Backbone, codes: int) -> None:
    found = codebook_map(load_adapter(make_adapter(codes=codes), backbone=backbone))
    assert found.place_K2.shape == (codes, 2)
    assert torch.isfinite(found.place_K2).all()


def test_no_codebook_has_no_map(make_adapter: Callable[..., Path], backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="no codebook"):
        codebook_map(load_adapter(make_adapter("pt"), backbone=backbone))


def log(folder: Path, *records: object) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder / "adapter"


def test_a_trace_is_read_from_the_log_of_the_run(tmp_path: Path) -> None:
    folder = log(
        tmp_path,
        {"step": 50, "validation_code_share_K": []},
        {"step": 75},
        {"step": 100, "validation_code_share_K": [0.25, 0.75]},
    )
    found = read_trace(folder, 2)
    assert found is not None
    assert found.step_T == (50, 100)
    assert found.share_TK.tolist() == [[0.0, 0.0], [0.25, 0.75]]


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 1}],
        [{"step": 1, "validation_code_share_K": []}],
        [{"step": 1, "validation_code_share_K": [1.0]}],
        [{"validation_code_share_K": [0.5, 0.5]}],
        [[1]],
        [{"step": 1, "validation_code_share_K": ["a", "b"]}],
    ],
)
def test_a_log_that_does_not_say_is_no_trace(tmp_path: Path, records: list[object]) -> None:
    assert read_trace(log(tmp_path, *records), 2) is None


def test_no_log_is_no_trace(tmp_path: Path) -> None:
    assert read_trace(tmp_path / "adapter", 2) is None
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff{")
    assert read_trace(tmp_path / "adapter", 2) is None
