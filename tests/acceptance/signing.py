"""Signs as Zenoti does, written from the vendor's facts and not from the product."""

import hashlib
import hmac

SECRET = "test-secret"


def signed(body: bytes, *, secret: str = SECRET) -> dict[str, str]:
    """The header that goes with a body: upper-case hex pairs joined by dashes, a space before the equals sign."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().upper()
    pairs = "-".join(digest[i : i + 2] for i in range(0, len(digest), 2))
    return {"zenoti-webhook-signature": f"sha256 ={pairs}", "Content-Type": "application/json"}
