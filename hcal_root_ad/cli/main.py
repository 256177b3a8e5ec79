"""``hcal-root-ad VERB …``: finds the verb, takes its options, imports its module alone; errors are one sentence.

Exit codes: 0 done, 1 a problem was found (``check``, ``compare --strict``, ``reference verify``, ``certify``,
``reproduce``), 2 wrong use or unreadable input, 3 an error of ours, 130 interrupted, 141 nobody reads the output.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NamedTuple, NoReturn

from hcal_root_ad.cli.terminal import plain, plain_line
from hcal_root_ad.errors import HcalRootAdError


class Verb(NamedTuple):
    """The module of this package that has ``execute_VERB``; its options are declared by ``options.add_VERB``."""

    module: str
    what: str


VERBS = {
    "inspect": Verb("files", "what is in this file, and which harvester definition fits"),
    "harvest": Verb("files", "save the digi counts per lumisection and channel as a tensor file"),
    "run": Verb("run", "judge runs and write the ROOT file for the DQM GUI"),
    "report": Verb("run", "make an HTML page to look at, of a run or a campaign"),
    "certify": Verb("certify", "which lumisections of many runs are good, by a written policy"),
    "watch": Verb("run", "judge a run while it is taken: a folder that fills, published again after each LS"),
    "check": Verb("files", "will both DQM GUIs take this file?"),
    "provenance": Verb("files", "what was this output made of, and with which versions?"),
    "reproduce": Verb("files", "make an output again and compare it, object by object"),
    "simulate": Verb("files", "write runs of a simulated detector, with known faults"),
    "train": Verb("models", "make a model of clean runs alone"),
    "transfer": Verb("models", "adapt a model to your detector, or to another sub-detector, on clean runs"),
    "adapt": Verb("models", "keep a detector state that learns from run to run, and never a fault"),
    "innovations": Verb("models", "what runs do beyond what a state expects, and what of it follows something"),
    "findings": Verb("models", "open findings of a detector state: list, accept, close"),
    "compare": Verb("references", "hold runs against a reference run: what differs, as table, file and picture"),
    "reference": Verb("references", "keep the catalogue of reference runs: add, list, show, verify"),
    "export": Verb("models", "write a model as ONNX, or as a model for CMSSW's HcalMLTask"),
    "config": Verb("settings", "which settings hold, and where they come from"),
}
"""All verbs."""

PROGRAM = "hcal-root-ad"
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
DONE, PROBLEM_FOUND, WRONG_USE, OUR_FAULT, INTERRUPTED, NOT_READ = 0, 1, 2, 3, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. ``argparse`` exits by itself on wrong options (2)."""
    _print_anything()
    threading.excepthook = lambda failure: _say(_fault(failure.exc_value))
    try:
        return _execute(list(sys.argv[1:] if argv is None else argv))
    except HcalRootAdError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        _say("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except MemoryError:
        return _refuse("There is not enough memory; give fewer or smaller inputs at a time, or another machine.")
    except Exception as error:
        # The disk, not the program: full, read-only, not ours. Of anything else, without a file name, we are the cause.
        if isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_THE_DISK):
            place = "The output" if error.filename is None else error.filename
            return _refuse(f"{place}: {(error.strerror or 'cannot be used').lower()}.")
        _say(_fault(error))
        return OUR_FAULT


def _execute(words: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    verb = _front_door().parse_args(words[:1]).verb
    from hcal_root_ad.cli.settings import apply  # what only verbs need is imported once there is one

    arguments = _parser_of(verb).parse_args(words[1:])
    apply(arguments)
    code: int = getattr(import_module(f"hcal_root_ad.cli.{VERBS[verb].module}"), f"execute_{verb}")(arguments)
    sys.stdout.flush()
    return code


def _parser_of(verb: str) -> _Parser:
    """The parser of a verb's options."""
    from inspect import getdoc

    from hcal_root_ad.cli import options

    add_arguments = getattr(options, f"add_{verb}")
    width = {} if verb != "config" else {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(f"{PROGRAM} {verb}", description=getdoc(add_arguments), **width)
    add_arguments(parser)
    options.add_settings(parser)
    return parser


def _complete() -> None:
    """Answer the shell, which asks how a word may go on: ``eval "$(register-python-argcomplete hcal-root-ad)"``."""
    import argcomplete

    parser = argparse.ArgumentParser(PROGRAM)
    verbs = parser.add_subparsers()
    asked = os.environ.get("COMP_LINE", "").split()[1:2]
    for verb in VERBS:
        own = _parser_of(verb) if [verb] == asked else None
        verbs.add_parser(verb, help=VERBS[verb].what, parents=[own] if own else [], add_help=own is None)
    argcomplete.autocomplete(parser)


def _fault(error: BaseException | None) -> str:
    from hcal_root_ad.errors import fault_sentence

    return fault_sentence(error or RuntimeError())


def _nobody_reads() -> int:
    """End as a program does whose reader is gone, without a word at the last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return NOT_READ


def _print_anything() -> None:
    """Let no name out of a damaged file, and no terminal without UTF-8, break the printing of a sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refuse(sentence: str) -> int:
    _say(sentence)
    return WRONG_USE


def _say(sentence: str) -> None:
    print(plain_line(f"{PROGRAM}: {sentence}"), file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Takes no abbreviation, names the option nearest to a wrong one, and repeats nothing that a terminal acts on."""

    def __init__(self, *args: Any, **form: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **form})
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = list(args or ())
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        known = [option for parser in self._parsers() for option in parser._option_string_actions]
        asked = [word.partition("=")[0] for word in self._words if word.startswith("--") and word != "--"]
        near = " ".join(_nearest(word, known) for word in asked if word not in known).strip()
        super().error(message + (f"; did you mean {near}?" if near else ""))

    def _parsers(self) -> Iterator[argparse.ArgumentParser]:
        """This parser and those of its sub-commands."""
        yield self
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from action.choices.values()

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and plain(message))


def _nearest(word: str, known: Iterable[str]) -> str:
    """The most similar of the known words, "" if none is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1)), "")


def _verb(word: str) -> str:
    """Argument type: a verb."""
    if word not in VERBS:
        near = _nearest(word, VERBS)
        raise argparse.ArgumentTypeError(f"{word} is no verb" + (f"; did you mean {near}?" if near else ""))
    return word


def _front_door() -> argparse.ArgumentParser:
    width = max(map(len, VERBS))
    parser = _Parser(
        PROGRAM,
        usage=f"{PROGRAM} VERB …",
        # A width of our own, because asking the terminal for one imports shutil.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100),
        description="Finds dead, hot, noisy and degraded HCAL channels in CMS DQM files.",
        epilog="verbs:\n"
        + "\n".join(f"  {name:{width}}  {verb.what}" for name, verb in VERBS.items())
        + f"\n\n{PROGRAM} VERB --help tells more.",
    )  # fmt: skip
    parser.add_argument("verb", type=_verb, metavar="VERB", help="one of the verbs below")
    parser.add_argument("--version", action=_Version)
    return parser


class _Version(argparse.Action):
    """Prints the version; an action of its own because ``importlib.metadata`` is slow to import."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(PROGRAM, version("hcal-root-ad"))
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
