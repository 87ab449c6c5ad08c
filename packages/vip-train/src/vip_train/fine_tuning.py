"""Full fine-tuning, what prompts are compared with: the whole backbone learns the task, and nothing is put before the text.

`WholeBackbone` stands where a prompt stands, so there is one training loop. What is trained is the backbone itself, so this
is for backbones small enough to be trained, and a run ends in a whole model.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, T5ForConditionalGeneration
from vip_core import Prompted, VIPConfig, VIPPrompt
from vip_core.config import Evaluation

from vip_train.files import new_folder


class WholeBackbone(VIPPrompt):
    """No prompt, in the place of one: its parameters are the backbone's.

    Args:
        backbone: in fp32. `VIPModel` freezes it, so call `requires_grad_()` on this after that model is made.
    """

    def __init__(self, backbone: T5ForConditionalGeneration) -> None:
        nn.Module.__init__(self)  # nothing of a prompt is made
        self.config = VIPConfig(method="pt", prompt_length=1)
        self.contextualizer, self.quantizer = None, None
        self.backbone = backbone

    def prompt_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    @torch.no_grad()
    def code_vectors(self) -> Tensor:
        """None, [0, D]."""
        embedding_VD: Tensor = self.backbone.get_input_embeddings().weight
        return embedding_VD.new_zeros(0, embedding_VD.shape[1])

    def held(self) -> AbstractContextManager[None]:
        """There is no codebook to hold."""
        return nullcontext()

    def forward(
        self,
        text_BSD: Tensor,
        mask_BS: Tensor,
        *,
        how: Evaluation | None = None,
        generator: torch.Generator | None = None,
        allowed_BK: Tensor | None = None,
    ) -> Prompted:
        """The text as it is."""
        batch, _, dim = text_BSD.shape
        no_tokens_BPD, no_codes_BPK = text_BSD.new_zeros(batch, 0, dim), text_BSD.new_zeros(batch, 1, 0)
        return Prompted(text_BSD, mask_BS, no_tokens_BPD, no_codes_BPK, text_BSD.new_zeros(()))


def save_backbone(
    prompt: WholeBackbone, tokenizer: PreTrainedTokenizerBase, folder: Path, state: dict[str, Tensor] | None
) -> None:
    """Writes a fine-tuned backbone in transformers' format, in one step; `--backbone` takes the folder.

    Args:
        prompt: that holds it.
        tokenizer: of the backbone.
        folder: to create, or to replace.
        state: weights to write, which it has from then on; None writes those it has.
    """
    if state is not None:
        prompt.load_state_dict(state)
    with new_folder(folder, replace=True) as temporary:
        prompt.backbone.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
