"""A browser page that shows what a VIP adapter answers and which codes its prompt tokens take for each input.

Read `inspection.py`, then `heatmap.py`, `app.py`.
"""

from vip_demo.heatmap import heat_map
from vip_demo.inspection import Inspection, inspect

__all__ = ["Inspection", "heat_map", "inspect"]
