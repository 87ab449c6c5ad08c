"""What a run leaves when it is over.

    adapter/       what users load: the prompt of the last step, or the best one where the best is kept
    adapter-last/  the prompt of the last step, where the best is kept
    model/, model-last/  in their place in full fine-tuning: a whole backbone, for `--backbone`
    results.json   of `adapter/`, with its step and the last one; it comes last and says that the run is finished

Both adapters are written only now. Until then the best prompt is in memory and in the checkpoints, so there is nothing that
could be half written or older than the run.
"""

from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vip_train import report
from vip_train.config import TrainConfig
from vip_train.fine_tuning import WholeBackbone, save_backbone
from vip_train.model import VIPModel
from vip_train.runs import RunFolder
from vip_train.stopping import Best


def write_outcome(
    model: VIPModel,
    folder: RunFolder,
    config: TrainConfig,
    *,
    tokenizer: PreTrainedTokenizerBase,
    answers: tuple[str, ...],
    backbone_fingerprint: str,
    last: dict[str, Any],
    best: Best | None,
    facts: dict[str, Any],
) -> None:
    """Writes all of it.

    Args:
        model: after the last step, its prompt whole.
        folder: of the run.
        config: of the run.
        tokenizer: of the backbone.
        answers: the task's.
        backbone_fingerprint: see `vip_train.backbones.fingerprint`.
        last: the last evaluation's line of the metrics.
        best: the best evaluation, if the run keeps it and there was one that counts.
        facts: what a constant answer would reach, which data and backbone it was, and what else is said of the whole run.

    Raises:
        ValueError: a tensor is not finite.
        UserError: the folder cannot be written.
    """
    ends = {"last_step": last["step"], "stopped_early": last["step"] < config.optimizer.steps}

    def save(name: str, record: dict[str, Any], prompt: dict[str, Tensor] | None = None) -> dict[str, Any]:
        results = {**record, **ends, **facts}
        if isinstance(model.prompt, WholeBackbone):
            save_backbone(model.prompt, tokenizer, folder.path / name, prompt)
            return results
        model.save_pretrained(
            folder.path / name,
            backbone=config.backbone,
            task=config.task if config.train_file is None else "",
            answers=answers,
            max_source_length=config.max_source_length,
            results=report.table(results),
            backbone_fingerprint=backbone_fingerprint,
            prompt=prompt,
        )
        return results

    name = "model" if config.full_fine_tuning else "adapter"
    if config.optimizer.stopping.keeps_best:
        save(f"{name}-last", last)
    folder.finish(save(name, best.record, best.prompt) if best else save(name, last))
