"""The metrics that tasks name. Adding one is a function in a file beside this one, and a line here."""

from vip_train.metrics.classification import accuracy, macro_f1, matthews
from vip_train.metrics.entities import entity_f1, is_listing
from vip_train.metrics.metric import Metric
from vip_train.metrics.questions import f1a, question_match
from vip_train.metrics.relations import directed_macro_f1, positive_micro_f1
from vip_train.metrics.text import exact_match, f1

METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, wants_frequent=True),
    "macro_f1": Metric(macro_f1, wants_frequent=True),
    "matthews": Metric(matthews),
    "f1a": Metric(f1a),
    "question_match": Metric(question_match),
    "exact_match": Metric(exact_match),
    "f1": Metric(f1),
    "entity_f1": Metric(entity_f1, is_listing),
    "directed_macro_f1": Metric(directed_macro_f1),
    "positive_micro_f1": Metric(positive_micro_f1),
}

__all__ = ["METRICS", "Metric"]
