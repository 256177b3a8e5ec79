# The verdict in the shift workspace of the newer DQM GUI: goes into python/layouts/layouts of the server. Every picture
# has a place of its own (00 Shift/Hcal/<layout>/<name>), because two pictures of one place would be one.

from layouts.layout_manager import LayoutScope, register_layout


def shifthcaladlayout(name, *pictures):
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

shifthcaladlayout(
    "10 AD Summary",
    shown(
        "HcalADClient/StateSummary/RBXNow",
        "<b>Start here.</b> Worst state of each readout box (RBX) in the last ten assessed lumisections: what is "
        "wrong now. All green: nothing to do. A red box has lost a module or a quarter of its channels: call the "
        "HCAL expert on call with the name of the box and what <i>10 AD Summary</i> lists for it. Yellow alone: "
        "write it into the shift log." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/FaultList",
        "The strongest faults, the worst on top: what is broken, how, and in which lumisections. Read units, kinds "
        "and lumisections off here when you call or write into the shift log." + COLOURS,
    ),
    shown(
        "HcalADClient/EventInfo/runSummary",
        "State of the run: red if a unit of the readout was lost in 5 percent of the assessed lumisections or more. "
        "White: not judged with a trusted reference, tell the DQM shift leader." + COLOURS,
    ),
    shown(
        "HcalADClient/EventInfo/TrustSummary",
        "Green: the verdict rests on a model or reference run that knows this detector. Yellow or red: it does not, "
        "green elsewhere proves nothing; tell the DQM shift leader.",
    ),
    shown(
        "HcalADClient/StateSummaryvsLS/StateSummaryvsLS",
        "State of each sub-detector in each lumisection, that of its worst unit. White for more than ten "
        "lumisections in stable beams: tell the DQM shift leader that HCAL is not being judged." + COLOURS,
    ),
)

shifthcaladlayout(
    "11 AD RBX states",
    shown(
        "HcalADClient/StateSummaryvsLS/SubdetPM/HBM",
        "HB, minus side: state of each readout box against lumisection. Red up to the right edge: the fault is there"
        " now, call the HCAL expert on call. Red that ends: write box and lumisections into the shift log. All boxes"
        " white at once: no collisions or no data, not a fault of HCAL." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummaryvsLS/SubdetPM/HBP",
        "HB, plus side; to be read as HBM." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummaryvsLS/SubdetPM/HEM",
        "HE, minus side; to be read as HBM." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummaryvsLS/SubdetPM/HEP",
        "HE, plus side; to be read as HBM." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/RBXRun",
        "Worst state of each readout box since the run began. Red here and green in <i>10 AD Summary</i>: it has "
        "recovered, write it into the shift log." + COLOURS,
    ),
)

shifthcaladlayout(
    "12 AD faults",
    shown(
        "HcalADClient/FlaggedKindsvsLS/FlaggedKindsvsLS",
        "Number of flagged channels of each sub-detector and kind against lumisection, white where there are none. A"
        " step up that stays is a new fault: look for its box in <i>11 AD RBX states</i>.",
    ),
    shown(
        "HcalADClient/LossvsLS/RBX",
        "Digis that the flagged channels miss, in percent of what their readout box should have; white where nothing"
        " is flagged. 100 is a dead box: call the HCAL expert on call. A few percent are single channels: nothing to"
        " do now.",
    ),
    shown(
        "HcalADClient/ExcessvsLS/RBX",
        "The same for digis that are too many: write it into the shift log where it is more than 10 percent.",
    ),
)

shifthcaladlayout(
    "13 AD electronics",
    shown(
        "HcalADClient/StateSummaryvsLS/FED",
        "Worst state of what each FED of HB and HE reads out. One FED red and its neighbours green: call the HCAL "
        "expert on call, and say that it may be the back end." + COLOURS,
    ),
    shown(
        "HcalADClient/FlaggedChannelsvsLS/uHTR",
        "Number of flagged channels by uHTR, twelve slots to a crate. One line of 40 channels or more is a lost "
        "uHTR: call the HCAL expert on call with crate and slot.",
    ),
)

shifthcaladlayout(
    "14 AD channel states",
    shown(
        "HcalADClient/StateSummary/depth/depth1",
        "Worst state of each channel of depth 1 since the run began, ieta against iphi. A block of red is a module "
        "or a box: look for it in <i>10 AD Summary</i>. Single red channels: nothing to do now." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/depth/depth2",
        "Depth 2; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/depth/depth3",
        "Depth 3; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/depth/depth4",
        "Depth 4; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/depth/depth5",
        "Depth 5, HE only; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/depth/depth6",
        "Depth 6, HE only; to be read as depth 1." + COLOURS,
    ),
    shown(
        "HcalADClient/StateSummary/depth/depth7",
        "Depth 7, HE only; to be read as depth 1." + COLOURS,
    ),
)

shifthcaladlayout(
    "15 AD input",
    shown(
        "HcalADTask/EventsvsLS/EventsvsLS",
        "Events against lumisection: what the verdict rests on. Where there are few, HCAL is not assessed (white); "
        "in stable beams tell the DQM shift leader.",
    ),
    shown(
        "HcalADTask/PullvsLS/Subdet/HB",
        "HB: how far counts are from what is expected; 1 is chance alone, no point means not assessed. Above 2 for a"
        " whole fill without a red box: the model no longer fits the detector, write to the HCAL DQM experts.",
    ),
    shown(
        "HcalADTask/PullvsLS/Subdet/HE",
        "HE; to be read as HB.",
    ),
)
