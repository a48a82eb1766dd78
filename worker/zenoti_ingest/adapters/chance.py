"""This host's random numbers, and the ids that are made of them."""

import random
import uuid

import uuid_utils


class SystemChance:
    """The port `Chance`; not fit for secrets."""

    def below(self, count: int) -> int:
        """As the port says."""
        return random.randrange(count)  # noqa: S311  # nothing secret comes of it


class SystemIds:
    """The port `Ids`."""

    def sortable(self) -> str:
        """As the port says."""
        return str(uuid_utils.uuid7())

    def random(self) -> str:
        """As the port says."""
        return str(uuid.uuid4())
