"""The door over HTTP (aiohttp): limits connections, enforces deadlines for heads and bodies, asks the stage, answers.

Bodies stay as they came over the wire: aiohttp's decompression is off. Errors are problem details (RFC 9457).
"""

from zenoti_ingest.adapters.http_door.answers import RETRY_AFTER_SECONDS, TITLES
from zenoti_ingest.adapters.http_door.door import METHODS, Answer, Arrival, HttpDoor
from zenoti_ingest.adapters.http_door.limits import Limits

__all__ = ["METHODS", "RETRY_AFTER_SECONDS", "TITLES", "Answer", "Arrival", "HttpDoor", "Limits"]
