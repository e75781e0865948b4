"""The training methods by name; comparing two of them is a difference of config files, not of loops."""

from scl_core.methods.base import Method, StepDraws
from scl_core.methods.cps import Cps
from scl_core.methods.cutmix_seg import CutmixSeg
from scl_core.methods.fixmatch import FixMatch
from scl_core.methods.mean_teacher import MeanTeacher
from scl_core.methods.pcr import Pcr
from scl_core.methods.rc2l import Rc2l
from scl_core.methods.rc2l_pp import Rc2lPp
from scl_core.methods.scl import Scl
from scl_core.methods.supervised import Supervised
from scl_core.methods.unimatch import UniMatch

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "mean_teacher": MeanTeacher,
    "cutmix_seg": CutmixSeg,
    "scl": Scl,
    "fixmatch": FixMatch,
    "unimatch": UniMatch,
    "cps": Cps,
    "pcr": Pcr,
    "rc2l_pp": Rc2lPp,
    "rc2l": Rc2l,
}

__all__ = ["METHODS", "Method", "StepDraws"]
