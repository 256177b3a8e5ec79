"""Every error that a user can cause, as one tree.

::

    HcalRootAdError
    ├── InputError         a file is missing, unreadable, of another kind, or contradicts itself
    │   └── NoHcalError    the file is fine but holds no HCAL maps that we could judge
    │       └── EmptyFileError   it holds no lumisection at all
    ├── DefinitionError    a harvester definition is wrong or unknown
    ├── ModelError         a model is missing, damaged, or made for something else
    ├── CatalogueError     a catalogue of reference runs is wrong, or a reference unknown or damaged
    ├── StateError         a detector state is missing or damaged, or does not fit the run
    ├── PolicyError        a certification policy is wrong or unknown
    ├── OutputError        the output cannot be written, or would be refused by a GUI
    └── UsageError         options that contradict each other, values out of range

Each message is one sentence: the file, what was expected, what was found, what to do.
"""


class HcalRootAdError(Exception):
    """Base of all errors that end in one clear sentence and exit code 2."""


class InputError(HcalRootAdError):
    """An input file is missing, unreadable, of another kind, or contradicts itself."""


class NoHcalError(InputError):
    """The input holds no HCAL maps that can be judged."""


class EmptyFileError(NoHcalError):
    """The input holds no lumisection, as a job leaves it that had no event."""


class DefinitionError(HcalRootAdError):
    """A harvester definition is wrong or unknown."""


class ModelError(HcalRootAdError):
    """A model is missing, damaged, or made for another detector."""


class CatalogueError(HcalRootAdError):
    """A catalogue of reference runs is wrong, or a reference is unknown, damaged, or of another detector."""


class StateError(HcalRootAdError):
    """A detector state is missing, damaged, or does not fit the run."""


class PolicyError(HcalRootAdError):
    """A certification policy is wrong or unknown."""


class OutputError(HcalRootAdError):
    """The output cannot be written, or a GUI would refuse it."""


class UsageError(HcalRootAdError):
    """Options that contradict each other, or values out of range."""
