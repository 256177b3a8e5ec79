"""hcal_root_ad: finds faulty HCAL channels in DQM files and publishes the verdict for the DQM GUI.

The names in ``__all__`` are the public interface: docs/api.md lists them, and they keep their meaning within a major
version. Everything else may move.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # As type checkers know it, without the import of typing: the command line starts faster.
if TYPE_CHECKING:
    from hcal_root_ad.certify.certification import certify_run
    from hcal_root_ad.certify.policy import load_policy
    from hcal_root_ad.compare.comparison import compare as compare_run
    from hcal_root_ad.detector import channel_table
    from hcal_root_ad.errors import HcalRootAdError
    from hcal_root_ad.harvest.inspect import inspect_file
    from hcal_root_ad.harvest.read import read_lumi_maps, stream_lumi_maps
    from hcal_root_ad.judge.run import judge_run
    from hcal_root_ad.judge.verdict import CommonPart, Finding, Interval, Kind, Level, RunVerdict, State, Trust, Verdict
    from hcal_root_ad.lumi_maps import LumiMaps
    from hcal_root_ad.model.model import Model, load_model
    from hcal_root_ad.model.transfer import train, transfer
    from hcal_root_ad.publish.gui_rules import check_file
    from hcal_root_ad.publish.publish import publish as publish_run
    from hcal_root_ad.publish.saved_verdict import record_of
    from hcal_root_ad.publish.verdict_tables import write_flags
    from hcal_root_ad.references.catalogue import load_reference

__all__ = [
    "CommonPart",
    "Finding",
    "HcalRootAdError",
    "Interval",
    "Kind",
    "Level",
    "LumiMaps",
    "Model",
    "RunVerdict",
    "State",
    "Trust",
    "Verdict",
    "certify_run",
    "channel_table",
    "check_file",
    "compare_run",
    "inspect_file",
    "judge_run",
    "load_model",
    "load_policy",
    "load_reference",
    "publish_run",
    "read_lumi_maps",
    "record_of",
    "stream_lumi_maps",
    "train",
    "transfer",
    "write_flags",
]

_HOMES = {
    "certify.certification": ("certify_run",),
    "certify.policy": ("load_policy",),
    "detector": ("channel_table",),
    "errors": ("HcalRootAdError",),
    "harvest.inspect": ("inspect_file",),
    "harvest.read": ("read_lumi_maps",),
    "harvest.stream": ("stream_lumi_maps",),
    "judge.run": ("judge_run",),
    "judge.verdict": (
        "CommonPart",
        "Finding",
        "Interval",
        "Kind",
        "Level",
        "RunVerdict",
        "State",
        "Trust",
        "Verdict",
    ),
    "lumi_maps": ("LumiMaps",),
    "model.model": ("Model", "load_model"),
    "model.transfer": ("train", "transfer"),
    "publish.check": ("check_file",),
    "publish.flags_table": ("write_flags",),
    "publish.record": ("record_of",),
    "references.catalogue": ("load_reference",),
}
_PLACES = {name: (home, name) for home, names in _HOMES.items() for name in names}
# Here, ``compare`` and ``publish`` are the packages of these names.
_PLACES |= {"compare_run": ("compare.comparison", "compare"), "publish_run": ("publish.publish", "publish")}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that ``import hcal_root_ad`` stays light."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, own_name = _PLACES[name]
    return getattr(import_module(f"hcal_root_ad.{home}"), own_name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
