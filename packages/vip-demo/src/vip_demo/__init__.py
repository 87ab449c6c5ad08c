"""A browser page that shows what a VIP adapter answers, which codes its prompt tokens take for each input, and what they do.

Read `inspection.py`, then `effects.py`, `survey.py`, `service.py`, `app.py` and a file of `views/`.
"""

from vip_demo.adapters import bundled_adapter
from vip_demo.app import build_app
from vip_demo.comparison import Comparison, compare
from vip_demo.effects import Effect, effects, only, without
from vip_demo.heatmap import heat_map
from vip_demo.inspection import Inspection, inspect
from vip_demo.survey import Survey, survey

__all__ = [
    "Comparison",
    "Effect",
    "Inspection",
    "Survey",
    "build_app",
    "bundled_adapter",
    "compare",
    "effects",
    "heat_map",
    "inspect",
    "only",
    "survey",
    "without",
]
