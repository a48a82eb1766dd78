"""Finds the setting that a misspelt environment variable may mean.

A setting's name has two underscores between its words. Variables that an orchestrator injects do not, and they are not
mistakes: Kubernetes gives each container `<SERVICE>_SERVICE_HOST`, `<SERVICE>_PORT_8080_TCP` and the like
(https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables).
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

_INJECTED = re.compile(
    r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII
)
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")  # the value of `<SERVICE>_PORT`
_ALIKE = 0.75  # matches `config_file` with `config`, but not `intake_image` with `intake_host`


def meant(
    rest: str, value: str, keys: Mapping[str, Sequence[str]], *, named: Collection[str]
) -> tuple[str, ...] | None:
    """The words of the setting that may be meant; None: the variable resembles no setting.

    Args:
        rest: the variable's name after our prefix.
        value: its value.
        keys: by section, its keys; a section without keys is a setting itself.
        named: the sections whose keys belong to a name that the operator chooses.
    """
    if _INJECTED.fullmatch(rest) or _INJECTED_VALUE.match(value):
        return None
    known = {_flat(words): words for words in _candidates(rest.lower().split("_"), keys, named)}
    found = difflib.get_close_matches(_flat([rest.lower()]), known, n=1, cutoff=_ALIKE)
    return known[found[0]] if found else None


def _candidates(
    given: Sequence[str], keys: Mapping[str, Sequence[str]], named: Collection[str]
) -> Iterator[tuple[str, ...]]:
    """Yield every setting; for a section with names, yield it with each name that the given words allow."""
    for section, of_section in keys.items():
        if not of_section:
            yield (section,)
        elif section not in named:
            yield from ((section, key) for key in of_section)
        else:
            names = ("_".join(given[1:end]) for end in range(2, len(given)))
            yield from ((section, name, key) for name in names for key in of_section)


def _flat(words: Sequence[str]) -> str:
    return "".join(words).replace("_", "")
