"""VIP's method in pure torch: contextualizer, quantizer, losses and the prompt they make (Bhardwaj et al., EMNLP 2022).

Read `prompt.py`, then `contextualizer.py`, `quantizer.py`, `selection.py`, `codebook.py`.
"""

from vip_core.codebook import Codebook
from vip_core.config import ContextualizerConfig, QuantizerConfig, VIPConfig
from vip_core.contextualizer import Contextualizer
from vip_core.losses import commitment_loss, target_nll
from vip_core.prompt import Prompted, VIPPrompt
from vip_core.quantizer import Quantized, Quantizer
from vip_core.selection import select
from vip_core.statistics import entropy, mutual_information, perplexity, rollout, usage, used_share

__all__ = [
    "Codebook",
    "Contextualizer",
    "ContextualizerConfig",
    "Prompted",
    "Quantized",
    "Quantizer",
    "QuantizerConfig",
    "VIPConfig",
    "VIPPrompt",
    "commitment_loss",
    "entropy",
    "mutual_information",
    "perplexity",
    "rollout",
    "select",
    "target_nll",
    "usage",
    "used_share",
]
