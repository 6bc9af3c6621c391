"""The metamorphic checks, one row each, in the order of their codes."""

from __future__ import annotations

from .accumulation import accumulation_check
from .decay_change import decay_change_check
from .exclusion import exclusion_check
from .grouping import grouping_check
from .lr_change import lr_change_check
from .maximize import maximize_check
from .missing_gradients import missing_gradients_check
from .mutated_gradients import mutated_gradients_check
from .options import options_check
from .paths import paths_check
from .reproducibility import reproducibility_check
from .restore import restore_check
from .setting import MetamorphicCheck
from .sparse import sparse_check
from .zero_gradients import zero_gradients_check

CHECKS: tuple[MetamorphicCheck, ...] = (
    MetamorphicCheck("maximize", "OC401", maximize_check, cost=3),
    MetamorphicCheck("grouping", "OC402", grouping_check, cost=6, also=("OC108",)),
    MetamorphicCheck("missing gradients", "OC403", missing_gradients_check, cost=3),
    MetamorphicCheck("mutated gradients", "OC404", mutated_gradients_check, cost=1),
    MetamorphicCheck("restore", "OC405", restore_check, cost=1),
    MetamorphicCheck("accumulation", "OC406", accumulation_check, cost=3),
    MetamorphicCheck("sparse gradients", "OC407", sparse_check, cost=2),
    MetamorphicCheck("paths", "OC408", paths_check, cost=8, also=("OC305",)),
    MetamorphicCheck("zero gradients", "OC409", zero_gradients_check, cost=2),
    MetamorphicCheck("exclusion", "OC410", exclusion_check, cost=2),
    MetamorphicCheck("reproducibility", "OC411", reproducibility_check, cost=2),
    MetamorphicCheck("lr change", "OC412", lr_change_check, cost=2),
    MetamorphicCheck("options", "OC413", options_check, cost=8),
    MetamorphicCheck("decay change", "OC414", decay_change_check, cost=2),
)
