"""Names of environment variables that set nothing, and what their author may have meant.

A setting's name has two underscores between its words. What an orchestrator injects has not, and must not be taken for
a slip: Kubernetes gives each container `<SERVICE>_SERVICE_HOST`, `<SERVICE>_PORT_8080_TCP` and their like
(https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables).
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

_INJECTED = re.compile(
    r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII
)
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")  # of `<SERVICE>_PORT`
_ALIKE = 0.75  # `config_file` and `config`; not `intake_image` and `intake_host`


def meant(
    rest: str, value: str, keys: Mapping[str, Sequence[str]], *, named: Collection[str]
) -> tuple[str, ...] | None:
    """The words of the setting that may be meant; None: it looks like none.

    Args:
        rest: the variable's name behind our prefix.
        value: its value.
        keys: of each section; a section without keys is a name of its own.
        named: those sections whose keys stand beneath a name that the operator chose.
    """
    if _INJECTED.fullmatch(rest) or _INJECTED_VALUE.match(value):
        return None
    known = {_flat(words): words for words in _candidates(rest.lower().split("_"), keys, named)}
    found = difflib.get_close_matches(_flat([rest.lower()]), known, n=1, cutoff=_ALIKE)
    return known[found[0]] if found else None


def _candidates(
    given: Sequence[str], keys: Mapping[str, Sequence[str]], named: Collection[str]
) -> Iterator[tuple[str, ...]]:
    """Every setting; in a section with names each way to read a name out of what was given."""
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
