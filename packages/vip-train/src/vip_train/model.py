"""A frozen T5 and a VIP prompt as one model.

B batch, S source tokens, P prompt tokens, L = P + S, T target tokens, D width, V vocabulary, K codes, A answers.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from vip_core import Prompted, VIPPrompt, target_nll
from vip_core.config import Evaluation


class VIPOutput(NamedTuple):
    """One forward pass with labels."""

    loss: Tensor
    """Mean over the batch of the target's negative log-likelihood, plus the commitment term; a scalar."""
    nll_B: Tensor
    """Negative log-likelihood of each whole target, in nats."""
    logit_BTV: Tensor
    """The decoder's logits."""
    prompted: Prompted
    """What the encoder read, with the selection that was made."""


class VIPModel(nn.Module):
    """Conditions a frozen encoder-decoder through its encoder's input; the decoder is untouched.

    The backbone never trains and stays in evaluation mode, also after `train()`, unless it recomputes layers; without dropout
    the modes are the same. Only `prompt` has state of ours.

    Args:
        backbone: a T5-family model, already loaded.
        prompt: made for the same vocabulary.
    """

    def __init__(self, backbone: T5ForConditionalGeneration, prompt: VIPPrompt) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.prompt = prompt
        self._recomputes = False
        self._compiled: Callable[..., Tensor] | None = None

    def recompute_layers(self) -> None:
        """From now on training keeps what goes into the backbone's layers only, and computes the rest again going backwards.

        Raises:
            ValueError: the backbone was loaded with dropout, which would come to life: transformers recomputes in training
                mode only. `load_backbone` loads without.
        """
        if self.backbone.config.dropout_rate:
            raise ValueError(f"backbone: has dropout_rate={self.backbone.config.dropout_rate}, load it with dropout_rate=0.0")
        # The older name is deprecated since transformers has the newer one.
        newer = getattr(self.backbone, "activation_checkpointing_enable", None)
        (newer or self.backbone.gradient_checkpointing_enable)({"use_reentrant": False})
        # It makes embedded text ask for gradients, so that there are any. Here the prompt does.
        self.backbone.disable_input_require_grads()
        # For the same end T5's attention asks for those of a bias of zeros, and torch then takes a slower way through it.
        for module in self.backbone.modules():
            if hasattr(module, "gradient_checkpointing") and not isinstance(module, GradientCheckpointingLayer):
                module.gradient_checkpointing = False
        self._recomputes = True
        self.train(self.training)

    def compile_backbone(self, **options: Any) -> None:
        """Compiles what the backbone does in `forward`; the prompt and evaluation stay as they are.

        Args:
            **options: of `torch.compile`.
        """
        self._compiled = torch.compile(self._read, **options)

    def train(self, mode: bool = True) -> "VIPModel":
        """Switches the prompt between training and evaluation."""
        super().train(mode)
        self.backbone.train(mode and self._recomputes)
        return self

    def put_prompt(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        how: Evaluation | None = None,
        allowed_BK: Tensor | None = None,
    ) -> Prompted:
        """Embeds the text and puts the prompt before it.

        Padding moves to the end: T5 counts positions, and between prompt and text it would keep the two apart.

        Args:
            input_ids: [B, S] source token ids.
            attention_mask: [B, S], 1 where there is a token.
            how: overrides the selection of codes.
            allowed_BK: bool, the codes each row may select from, see `vip_core.Quantizer.forward`.
        """
        order_BS = (attention_mask == 0).to(torch.int8).argsort(dim=1, stable=True)
        input_ids, attention_mask = input_ids.gather(1, order_BS), attention_mask.gather(1, order_BS)
        text_BSD = self.backbone.get_input_embeddings()(input_ids)
        prompted: Prompted = self.prompt(text_BSD, attention_mask, how=how, allowed_BK=allowed_BK)
        return prompted

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> VIPOutput:
        """The loss of writing `labels`.

        Args:
            input_ids: [B, S] source token ids.
            attention_mask: [B, S], 1 where there is a token.
            labels: [B, T] target token ids, closed by `</s>`; -100 where padded.
        """
        prompted = self.put_prompt(input_ids, attention_mask)
        given_BT = self.backbone.prepare_decoder_input_ids_from_labels(labels)
        logit_BTV = (self._compiled or self._read)(prompted.embeds_BLD, prompted.mask_BL, given_BT)
        nll_B = target_nll(logit_BTV, labels)
        return VIPOutput(nll_B.mean() + prompted.commitment, nll_B, logit_BTV, prompted)

    def _read(self, embeds_BLD: Tensor, mask_BL: Tensor, given_BT: Tensor) -> Tensor:
        # Without a cache: nobody reads it, and layers that are recomputed would write into it twice.
        logit_BTV: Tensor = self.backbone(
            inputs_embeds=embeds_BLD, attention_mask=mask_BL, decoder_input_ids=given_BT, use_cache=False
        ).logits
        return logit_BTV

    def _encode(self, prompted: Prompted) -> Tensor:
        encoded = self.backbone.get_encoder()(inputs_embeds=prompted.embeds_BLD, attention_mask=prompted.mask_BL)
        hidden_BLD: Tensor = encoded.last_hidden_state
        return hidden_BLD

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Tensor:
        """Writes answers: token ids [B, T] (B·num_return_sequences rows if that is asked for).

        The codes are selected as in evaluation, also while the model trains.

        Args:
            input_ids: [B, S] source token ids, padded anywhere.
            attention_mask: [B, S], 1 where there is a token.
            **options: of transformers' `generate`, such as `num_beams` and `max_new_tokens`.
        """
        was_training = self.training
        self.eval()
        try:
            return self.write(self.put_prompt(input_ids, attention_mask), **options)
        finally:
            self.train(was_training)

    @torch.no_grad()
    def write(self, prompted: Prompted, **options: Any) -> Tensor:
        """As `generate`, from `put_prompt`, so that the selection belongs to this very text."""
        written = self.backbone.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._encode(prompted)),
            attention_mask=prompted.mask_BL,
            **options,
        )
        assert isinstance(written, Tensor), "return_dict_in_generate is not supported"
        return written

    @torch.no_grad()
    def score_answers(self, prompted: Prompted, answers_AT: Tensor) -> Tensor:
        """Negative log-likelihood of each of a fixed set of answers, [B, A] in nats, from one encoder pass.

        Args:
            prompted: from `put_prompt`, so that the selection belongs to these very scores.
            answers_AT: token ids of the answers, closed by `</s>`; -100 where padded.
        """
        batch, answers = len(prompted.mask_BL), len(answers_AT)
        row_N = torch.arange(batch, device=answers_AT.device).repeat_interleave(answers)
        return self.score_targets(prompted, row_N, answers_AT.repeat(batch, 1)).view(batch, answers)

    @torch.no_grad()
    def score_targets(self, prompted: Prompted, row_N: Tensor, label_NT: Tensor) -> Tensor:
        """Negative log-likelihood of N targets, [N] in nats, from one encoder pass, however many of them a text has.

        Args:
            prompted: from `put_prompt`.
            row_N: which row of it each target belongs to.
            label_NT: token ids of the targets, closed by `</s>`; -100 where padded.
        """
        hidden_BLD = self._encode(prompted)
        start_B1 = self.backbone.prepare_decoder_input_ids_from_labels(label_NT)[:1, :1].expand(len(hidden_BLD), 1)
        first = self.backbone(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden_BLD),
            attention_mask=prompted.mask_BL,
            decoder_input_ids=start_B1,
            use_cache=True,
        )
        # The first token and all keys and values of the encoder are computed once per text, not once per target.
        cache = first.past_key_values
        cache.reorder_cache(row_N)
        rest = self.backbone(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden_BLD[row_N]),
            attention_mask=prompted.mask_BL[row_N],
            decoder_input_ids=label_NT[:, :-1].clamp_min(0),
            past_key_values=cache,
        )
        logit_NTV = torch.cat([first.logits[row_N], rest.logits], dim=1)
        return target_nll(logit_NTV, label_NT)

    def save_pretrained(self, folder: Path | str, **facts: Any) -> None:
        """Writes the adapter; see `vip_train.adapter.save_adapter` for the arguments."""
        from vip_train.adapter import save_adapter

        save_adapter(self, folder, **facts)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = "Upload VIP adapter",
        token: str | bool | None = None,
        **facts: Any,
    ) -> str:
        """Writes the adapter and uploads it to the Hugging Face hub; returns the address of the commit.

        See `vip_train.adapter.push_adapter` for the named arguments and `save_adapter` for the facts, such as `backbone`.
        """
        from vip_train.adapter import push_adapter

        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "adapter"
            self.save_pretrained(folder, **facts)
            return push_adapter(folder, repo_id, private=private, revision=revision, commit_message=commit_message, token=token)

    @classmethod
    def from_pretrained(cls, folder: Path | str, **options: Any) -> "VIPModel":
        """Loads an adapter, from a folder or the hub, and its backbone.

        See `vip_train.adapter.load_adapter` for the arguments and more than the model.
        """
        from vip_train.adapter import load_adapter

        return load_adapter(folder, **options).model
