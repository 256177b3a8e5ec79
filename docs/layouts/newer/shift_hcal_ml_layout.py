# The ML verdict in the shift workspace of the newer DQM GUI: goes into python/layouts/layouts of the server. Every
# picture has a place of its own (00 Shift/Hcal/<layout>/<name>), because two pictures of one place would be one.

from layouts.layout_manager import LayoutScope, register_layout


def shifthcalmllayout(name, *pictures):
    for source, description in pictures:
        register_layout(
            source=source,
            destination="00 Shift/Hcal/" + name + "/" + " ".join(source.split("/")[2:]),
            name=name,
            description=description,
            scope=LayoutScope.ALL,
        )


def shown(path, description):
    return "Hcal/" + path, description


COLOURS = (
    "<br><font color='green'>GREEN</font> good, <font color='#b8860b'>YELLOW</font> problematic (degraded, warm), "
    "<font color='red'>RED</font> bad (dead, hot, noisy), <font color='gray'>GRAY</font> not connected or masked, "
    "WHITE not assessed: too few events or no data, which is neither good nor bad."
)

shifthcalmllayout(
    "10 ML Summary",
    shown(
        "HcalMLClient/EventInfo/reportSummaryMap",
        "<b>Start here.</b> Worst state of each readout box (RBX) since the run began. "
        "All green: nothing to do. A red box has lost a quarter of its channels or more: find out in <i>11 ML RBX "
        "states</i> whether it still is. If so, call the HCAL expert on call with the name of the box and the "
        "first red lumisection; if it has recovered, write both into the shift log. Yellow alone: write it into "
        "the shift log." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummaryvsLS/StateSummaryvsLS",
        "State of HB and HE in each lumisection, which is that of the worst readout box. Red in the "
        "last five lumisections: act as for a red box. White for more than ten lumisections in stable beams: "
        "tell the DQM shift leader that HCAL is not being judged." + COLOURS,
    ),
)

shifthcalmllayout(
    "11 ML RBX states",
    shown(
        "HcalMLClient/StateSummaryvsLS/SubdetPM/HBM",
        "HB, minus side: state of each readout box against lumisection. Red up to the right edge: "
        "the fault is there now, call the HCAL expert on call. Red that ends: write box and lumisections into the "
        "shift log. All boxes white at once: no collisions or no data, not a fault of HCAL." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummaryvsLS/SubdetPM/HBP",
        "HB, plus side; to be read as HBM." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummaryvsLS/SubdetPM/HEM",
        "HE, minus side; to be read as HBM." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummaryvsLS/SubdetPM/HEP",
        "HE, plus side; to be read as HBM." + COLOURS,
    ),
)

shifthcalmllayout(
    "12 ML flagged channels by RBX",
    shown(
        "HcalMLTask/FlaggedChannelsvsRBXvsLS/SubdetPM/HBM",
        "HB, minus side: number of flagged channels of each readout box against lumisection. A box "
        "has some 250 channels in HB and 190 in HE, a module a quarter of that, a card of HB 16: the number tells "
        "the expert what has failed. A few channels: nothing to do now, they are listed offline.",
    ),
    shown(
        "HcalMLTask/FlaggedChannelsvsRBXvsLS/SubdetPM/HBP",
        "HB, plus side; to be read as HBM.",
    ),
    shown(
        "HcalMLTask/FlaggedChannelsvsRBXvsLS/SubdetPM/HEM",
        "HE, minus side; to be read as HBM.",
    ),
    shown(
        "HcalMLTask/FlaggedChannelsvsRBXvsLS/SubdetPM/HEP",
        "HE, plus side; to be read as HBM.",
    ),
)

shifthcalmllayout(
    "13 ML channel states",
    shown(
        "HcalMLClient/StateSummary/depth/depth1",
        "Worst state of each channel of depth 1 since the run began, ieta against iphi. A block of "
        "red is a module or a box: see <i>11 ML RBX states</i>. Single red channels: nothing to do now." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummary/depth/depth2",
        "Depth 2; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummary/depth/depth3",
        "Depth 3; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummary/depth/depth4",
        "Depth 4; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummary/depth/depth5",
        "Depth 5, HE only; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummary/depth/depth6",
        "Depth 6, HE only; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalMLClient/StateSummary/depth/depth7",
        "Depth 7, HE only; to be read as depth 1." + COLOURS,
    ),
)

shifthcalmllayout(
    "14 ML faults and events",
    shown(
        "HcalMLTask/MLBadFlagedChannelsvsLS/Subdet/HB",
        "HB: number of flagged channels against lumisection. A step up that stays is a new fault: "
        "look for its box in <i>12 ML flagged channels by RBX</i>.",
    ),
    shown(
        "HcalMLTask/MLBadFlagedChannelsvsLS/Subdet/HE",
        "HE; to be read as HB.",
    ),
    shown(
        "HcalMLTask/EventsvsLS/Subdet/HB",
        "Events against lumisection: what the verdict rests on. Where there are few, HCAL is not "
        "assessed (white); in stable beams tell the DQM shift leader.",
    ),
    shown(
        "HcalMLTask/ReconstructionErrorvsLS/Subdet/HB",
        "HB: how far counts are from what the model expects; 1 is chance alone. Above 2 for a whole "
        "fill without a red box: the model no longer fits the detector, write to the HCAL DQM experts.",
    ),
    shown(
        "HcalMLTask/ReconstructionErrorvsLS/Subdet/HE",
        "HE; to be read as HB.",
    ),
)
