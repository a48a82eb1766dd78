"""The `data` of guest membership, guest pass and guest package events. Tolerant readings.

Source: https://docs.zenoti.com/reference/guest-membership-events, …/guestpass-redemption, …/guest-package-events
"""

from msgspec import UNSET, field

from schemas.fields import Id, Money, Number, Personal, Reading, Time, Unread
from schemas.invoice import ItemPrice


class Named(Reading, frozen=True):
    """A thing: its id and its name, either of which may be null."""

    id: Id | None = None
    name: str | None = None


class Person(Reading, frozen=True):
    """Somebody: a member, a seller, a therapist. A member's name can bear ` (Primary)` at its end."""

    id: Id | None = None
    name: Personal | None = None


class InvoiceReference(Reading, frozen=True):
    """The invoice that a thing was sold with: `no` and `receipt_no` here are `invoice_number` and `receipt_number`."""

    id: Id | None = None
    item_id: Id | None = None
    invoice_number: str | None = None
    _invoice_number: str | None = field(default=None, name="no")
    receipt_number: str | None = None
    _receipt_number: str | None = field(default=None, name="receipt_no")
    status: Number | None = None
    allow_other_centers_for_action_on_invoices: bool | None = None


class Purchase(Reading, frozen=True):
    """When a thing was bought (naive), and for what."""

    price: ItemPrice | None = None
    date: Time | None = None


class Balance(Reading, frozen=True):
    """What is left of a benefit, in units of it. `frequncy` and `transfered` are the vendor's spellings."""

    service: Named | None = None
    product: Named | None = None
    total: Number | None = None
    balance: Number | None = None
    redeemable_balance: Number | None = None
    used: Number | None = None
    transferred: Number | None = None
    _transferred: Number | None = field(default=None, name="transfered")
    expired: Number | None = None
    frequency: str | None = None
    _frequency: str | None = field(default=None, name="frequncy")
    last_usage_date: Time | None = None
    accrued_on: Time | None = None
    is_category: bool | None = None
    exists_in_current_center: bool | None = None


class Credit(Reading, frozen=True):
    """A member's credit in major units."""

    total: Money | None = None
    service: Money | None = None
    product: Money | None = None
    other: Money | None = None
    comments: Personal | None = None


class MembershipPlan(Reading, frozen=True):
    """What was bought. Spelled `OTP_required` and, in one place, `is_dicount_only_membership` by the vendor."""

    id: Id | None = None
    name: str | None = None
    code: str | None = None
    type: Number | None = None
    otp_required: bool | None = None
    _otp_required: bool | None = field(default=None, name="OTP_required")
    is_discount_only_membership: bool | None = None
    _is_discount_only_membership: bool | None = field(default=None, name="is_dicount_only_membership")
    add_on_members_count: Number | None = None
    guestpass_total: Number | None = None
    guestpass_balance: Number | None = None
    lock_cycles: Number | None = None
    freeze_fee: Money | None = None


class Freeze(Reading, frozen=True):
    """From when to when (naive), and for what fee in major units."""

    start_date: Time | None = None
    end_date: Time | None = None
    type: Number | None = None
    fee: Money | None = None
    fee_type: Number | None = None
    comments: Personal | None = None
    froze_by: Personal | None = None


class Cancellation(Reading, frozen=True):
    """When it was asked for and when it takes effect (naive), and by whom."""

    cancel_initiated_date: Time | None = None
    cancel_date: Time | None = None
    termination_date: Time | None = None
    reason: str | None = None
    cancelled_by: Personal | None = None


class Membership(Reading, frozen=True):
    """Guest.Membership.Created, Freeze, Unfreeze, Cancelled, Reinstate.

    https://docs.zenoti.com/reference/guest-membership-created; the others are published without an envelope, freeze,
    unfreeze and cancelled without their invoice. Dates are naive; -1 stands for no recurrence.
    """

    guest_id: Id | None = None
    user_membership_id: Id | None = None
    group_user_membership_id: Id | None = None
    status: Number | None = None
    recurrence_status: Number | None = None
    is_refunded: bool | None = None
    has_digital_form: bool | None = None
    invoice: InvoiceReference | None = None
    membership: MembershipPlan | None = None
    purchase: Purchase | None = None
    sold_by: Person | None = None
    members: tuple[Person, ...] | None = None
    member_code: str | None = None
    credit_balance: Credit | None = None
    service_balance: tuple[Balance, ...] | None = None
    product_balance: tuple[Balance, ...] | None = None
    center: Named | None = None
    expiry_date: Time | None = None
    next_collection_date: Time | None = None
    pending_waive_collections: Number | None = None
    grace_period_date: Time | None = None
    grace_period_days: Number | None = None
    tc_acceptedon: Time | None = None
    freeze: Freeze | None = None
    cancel: Cancellation | None = None
    payments: Unread = UNSET
    payment_history: Unread = UNSET
    recurring_details: Unread = UNSET
    auto_renewal: Unread = UNSET


class GuestpassRedeemed(Reading, frozen=True):
    """Guestpass.redeemed (https://docs.zenoti.com/reference/guestpass-redemption).

    `session_id` is a number; counts are units of the benefit; `date` is naive.
    """

    id: Id | None = None
    date: Time | None = None
    guestpass_id: Id | None = None
    guest_id: Id | None = None
    session_id: Number | None = None
    invoice_id: Id | None = None
    user_membership_id: Id | None = None
    membership: Named | None = None
    is_category: bool | None = None
    total: Number | None = None
    balance: Number | None = None
    used: Number | None = None
    transferred: Number | None = None
    _transferred: Number | None = field(default=None, name="transfered")
    expired: Number | None = None
    frequency: str | None = None
    _frequency: str | None = field(default=None, name="frequncy")
