"""hcal_root_ad: finds faulty HCAL channels in DQM files and publishes the verdict for the DQM GUI.

The names in ``__all__`` are the public interface: docs/api.md lists them, and they keep their meaning within a major
version. Everything else may move.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # As type checkers know it, without the import of typing: the command line starts faster.
if TYPE_CHECKING:
    from hcal_root_ad.api import certify_run, compare_run, inspect_file, judge_run, read_lumi_maps, train, transfer
    from hcal_root_ad.certify.policy import load_policy
    from hcal_root_ad.detector import channel_table
    from hcal_root_ad.errors import HcalRootAdError
    from hcal_root_ad.harvest.read import stream_lumi_maps
    from hcal_root_ad.judge.run_verdict import RunVerdict
    from hcal_root_ad.judge.verdict import CommonPart, Finding, Interval, Kind, Level, State, Trust, Verdict
    from hcal_root_ad.lumi_maps import LumiMaps
    from hcal_root_ad.model.model import Model, load_model
    from hcal_root_ad.publish.gui_rules import check_file
    from hcal_root_ad.publish.publish import publish as publish_run
    from hcal_root_ad.publish.published_run import PublishedRun, read_published
    from hcal_root_ad.publish.saved_verdict import record_of
    from hcal_root_ad.publish.verdict_tables import write_flags
    from hcal_root_ad.references import load_reference

__all__ = [
    "CommonPart",
    "Finding",
    "HcalRootAdError",
    "Interval",
    "Kind",
    "Level",
    "LumiMaps",
    "Model",
    "PublishedRun",
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
    "read_published",
    "record_of",
    "stream_lumi_maps",
    "train",
    "transfer",
    "write_flags",
]

_HOMES = {
    "api": ("certify_run", "compare_run", "inspect_file", "judge_run", "read_lumi_maps", "train", "transfer"),
    "certify.policy": ("load_policy",),
    "detector": ("channel_table",),
    "errors": ("HcalRootAdError",),
    "harvest.read": ("stream_lumi_maps",),
    "judge.run_verdict": ("RunVerdict",),
    "judge.verdict": (
        "CommonPart", "Finding", "Interval", "Kind", "Level", "State", "Trust", "Verdict",
    ),
    "lumi_maps": ("LumiMaps",),
    "model.model": ("Model", "load_model"),
    "publish.gui_rules": ("check_file",),
    "publish.verdict_tables": ("write_flags",),
    "publish.publish": ("publish_run",),
    "publish.published_run": ("PublishedRun", "read_published"),
    "publish.saved_verdict": ("record_of",),
    "references": ("load_reference",),
}  # fmt: skip
_PLACES = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that ``import hcal_root_ad`` stays light."""
    if name == "__version__":
        from importlib.metadata import version

        return version("hcal-root-ad")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # The package ``publish`` is called as its function.
    return getattr(import_module(f"hcal_root_ad.{_PLACES[name]}"), {"publish_run": "publish"}.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
