"""The `data` of guest package events. Tolerant readings.

Source: https://docs.zenoti.com/reference/guest-package-events
"""

from msgspec import field

from schemas.fields import Id, Money, Number, Reading, Time
from schemas.invoice import ItemPrice
from schemas.membership import InvoiceReference, Named, Person, Purchase


class PackagePlan(Reading, frozen=True):
    """What was bought. `is_OTP_required` is the vendor's spelling."""

    id: Id | None = None
    name: str | None = None
    code: str | None = None
    type: Number | None = None
    is_otp_required: bool | None = None
    _is_otp_required: bool | None = field(default=None, name="is_OTP_required")


class Validity(Reading, frozen=True):
    """From when to when a package can be used; naive."""

    start: Time | None = None
    end: Time | None = None
    end_date_with_grace: Time | None = None


class Schedule(Reading, frozen=True):
    """How far a scheduled package is; the time is naive."""

    completed_schedules: Number | None = None
    next_schedule_date: Time | None = None


class PackageBenefitInfo(Reading, frozen=True):
    """A service or product, a category or a tag of them; `duration` in minutes."""

    id: Id | None = None
    name: str | None = None
    service_category_type: Number | None = None
    product_category_type: Number | None = None
    duration: Number | None = None
    has_segments: bool | None = None


class PackageBenefit(Reading, frozen=True):
    """What a package holds: counts in units, amounts in major units."""

    service_type_info: PackageBenefitInfo | None = None
    product_type_info: PackageBenefitInfo | None = None
    exists_in_current_center: bool | None = None
    total: Number | None = None
    used: Number | None = None
    balance: Number | None = None
    balance_amount: Money | None = None
    price: ItemPrice | Money | None = None
    package_service_price: Money | None = None
    package_product_price: Money | None = None
    book_with_partial_balance: Number | None = None


class Redemption(Reading, frozen=True):
    """One use of a package, or its reversal. `usage_date` has a space instead of `T`, and no zone."""

    invoice: InvoiceReference | None = None
    service: Named | None = None
    product: Named | None = None
    service_type_info: PackageBenefitInfo | None = None
    product_type_info: PackageBenefitInfo | None = None
    therapist: Person | None = None
    usage_date: Time | None = None
    center: Named | None = None


class Package(Reading, frozen=True):
    """Guest package creation, redemption, redemption reversal, status and validity updates.

    https://docs.zenoti.com/reference/guest-package-creation and the pages beside it; published without an envelope, so
    their event types are open. `receipt_no` is `"0"` before there is one; `sale_invoice` can hold nulls only.
    """

    user_package_id: Id | None = None
    guest_id: Id | None = None
    status: Number | None = None
    user_package_state: Number | None = None
    invoice: InvoiceReference | None = None
    sale_invoice: InvoiceReference | None = None
    package: PackagePlan | None = None
    purchase: Purchase | None = None
    date: Validity | None = None
    schedule: Schedule | None = None
    center: Named | None = None
    is_refunded: bool | None = None
    lookup_package_user_id: Id | None = None
    start_validity_at_first_redemption: bool | None = None
    never_expires: bool | None = None
    has_first_redemption: bool | None = None
    expiration_days: Number | None = None
    services: tuple[PackageBenefit, ...] | None = None
    products: tuple[PackageBenefit, ...] | None = None
    service_redemptions: tuple[Redemption, ...] | None = None
    product_redemptions: tuple[Redemption, ...] | None = None
    service_redemptions_reversal: tuple[Redemption, ...] | None = None
    product_redemptions_reversal: tuple[Redemption, ...] | None = None
