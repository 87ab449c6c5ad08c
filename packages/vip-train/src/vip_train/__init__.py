"""Trains and runs VIP prompts on a frozen T5.

Read `model.py`, then `adapter.py`, `training.py`, `tasks/task.py`.
"""

from vip_train.adapter import Adapter, AdapterConfig, load_adapter, push_adapter, save_adapter
from vip_train.backbones import BUNDLED, Backbone, load_backbone
from vip_train.config import TrainConfig
from vip_train.errors import UserError
from vip_train.exchange import export_to_peft, import_soft_prompt
from vip_train.mixed import put_prompts
from vip_train.model import VIPModel, VIPOutput
from vip_train.predict import Prediction, predict, predict_mixed
from vip_train.tasks import TASKS, TextTask
from vip_train.training import train

__all__ = [
    "BUNDLED",
    "TASKS",
    "Adapter",
    "AdapterConfig",
    "Backbone",
    "Prediction",
    "TextTask",
    "TrainConfig",
    "UserError",
    "VIPModel",
    "VIPOutput",
    "export_to_peft",
    "import_soft_prompt",
    "load_adapter",
    "load_backbone",
    "predict",
    "predict_mixed",
    "push_adapter",
    "put_prompts",
    "save_adapter",
    "train",
]
