"""The `data` of guest package events. Tolerant readings.

Source: https://docs.zenoti.com/reference/guest-package-events
"""

from msgspec import field

from zenoti_schemas.fields import Id, Maybe, Money, Number, Reading, Time
from zenoti_schemas.invoice import ItemPrice
from zenoti_schemas.membership import InvoiceReference, Named, Person, Purchase


class PackagePlan(Reading, frozen=True):
    """What was bought. `is_OTP_required` is the vendor's spelling."""

    id: Maybe[Id] = None
    name: Maybe[str] = None
    code: Maybe[str] = None
    type: Maybe[Number] = None
    is_otp_required: Maybe[bool] = None
    _is_otp_required: Maybe[bool] = field(default=None, name="is_OTP_required")


class Validity(Reading, frozen=True):
    """From when to when a package can be used; without a zone."""

    start: Maybe[Time] = None
    end: Maybe[Time] = None
    end_date_with_grace: Maybe[Time] = None


class Schedule(Reading, frozen=True):
    """The progress of a scheduled package; the time has no zone."""

    completed_schedules: Maybe[Number] = None
    next_schedule_date: Maybe[Time] = None


class PackageBenefitInfo(Reading, frozen=True):
    """A service or product, or a category or tag of these; `duration` in minutes."""

    id: Maybe[Id] = None
    name: Maybe[str] = None
    service_category_type: Maybe[Number] = None
    product_category_type: Maybe[Number] = None
    duration: Maybe[Number] = None
    has_segments: Maybe[bool] = None


class PackageBenefit(Reading, frozen=True):
    """A benefit of a package: counts in units, amounts in major units."""

    service_type_info: Maybe[PackageBenefitInfo] = None
    product_type_info: Maybe[PackageBenefitInfo] = None
    exists_in_current_center: Maybe[bool] = None
    total: Maybe[Number] = None
    used: Maybe[Number] = None
    balance: Maybe[Number] = None
    balance_amount: Maybe[Money] = None
    price: Maybe[ItemPrice | Money] = None
    package_service_price: Maybe[Money] = None
    package_product_price: Maybe[Money] = None
    book_with_partial_balance: Maybe[Number] = None


class Redemption(Reading, frozen=True):
    """A use of a package, or its reversal. `usage_date` has a space instead of `T`, and no zone."""

    invoice: Maybe[InvoiceReference] = None
    service: Maybe[Named] = None
    product: Maybe[Named] = None
    service_type_info: Maybe[PackageBenefitInfo] = None
    product_type_info: Maybe[PackageBenefitInfo] = None
    therapist: Maybe[Person] = None
    usage_date: Maybe[Time] = None
    center: Maybe[Named] = None


class Package(Reading, frozen=True):
    """Guest package creation, redemption, redemption reversal, status and validity updates.

    https://docs.zenoti.com/reference/guest-package-creation and the pages next to it; published without an envelope, so
    their event types are unknown. `receipt_no` is `"0"` before there is a receipt; `sale_invoice` may have only nulls.
    """

    user_package_id: Maybe[Id] = None
    guest_id: Maybe[Id] = None
    status: Maybe[Number] = None
    user_package_state: Maybe[Number] = None
    invoice: Maybe[InvoiceReference] = None
    sale_invoice: Maybe[InvoiceReference] = None
    package: Maybe[PackagePlan] = None
    purchase: Maybe[Purchase] = None
    date: Maybe[Validity] = None
    schedule: Maybe[Schedule] = None
    center: Maybe[Named] = None
    is_refunded: Maybe[bool] = None
    lookup_package_user_id: Maybe[Id] = None
    start_validity_at_first_redemption: Maybe[bool] = None
    never_expires: Maybe[bool] = None
    has_first_redemption: Maybe[bool] = None
    expiration_days: Maybe[Number] = None
    services: Maybe[tuple[PackageBenefit, ...]] = None
    products: Maybe[tuple[PackageBenefit, ...]] = None
    service_redemptions: Maybe[tuple[Redemption, ...]] = None
    product_redemptions: Maybe[tuple[Redemption, ...]] = None
    service_redemptions_reversal: Maybe[tuple[Redemption, ...]] = None
    product_redemptions_reversal: Maybe[tuple[Redemption, ...]] = None
