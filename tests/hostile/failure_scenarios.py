"""All scenarios by their names."""

from failures_mgmt import LaunchControl, MgmtLife, MgmtRest, Vmmctl
from failures_vmm import SwitchControl, SwitchLife, VmmControl, VmmLife

SCENARIOS = {scenario.name: scenario for scenario in (
    VmmLife, VmmControl, SwitchLife, SwitchControl, LaunchControl, MgmtLife, MgmtRest, Vmmctl)}
