"""The `data` of guest membership, guest pass and guest package events. Tolerant readings.

Source: https://docs.zenoti.com/reference/guest-membership-events, …/guestpass-redemption, …/guest-package-events
"""

from msgspec import UNSET, field

from zenoti_schemas.fields import Id, Maybe, Money, Number, Personal, Reading, Time, Unread
from zenoti_schemas.invoice import ItemPrice


class Named(Reading, frozen=True):
    """A thing: its id and its name; either may be null."""

    id: Maybe[Id] = None
    name: Maybe[str] = None


class Person(Reading, frozen=True):
    """A person: a member, a seller, a therapist. A member's name can end with ` (Primary)`."""

    id: Maybe[Id] = None
    name: Maybe[Personal] = None


class InvoiceReference(Reading, frozen=True):
    """The invoice that a thing was sold with: `no` and `receipt_no` here are `invoice_number` and `receipt_number`."""

    id: Maybe[Id] = None
    item_id: Maybe[Id] = None
    invoice_number: Maybe[str] = None
    _invoice_number: Maybe[str] = field(default=None, name="no")
    receipt_number: Maybe[str] = None
    _receipt_number: Maybe[str] = field(default=None, name="receipt_no")
    status: Maybe[Number] = None
    allow_other_centers_for_action_on_invoices: Maybe[bool] = None


class Purchase(Reading, frozen=True):
    """When a thing was bought (without a zone), and for how much."""

    price: Maybe[ItemPrice] = None
    date: Maybe[Time] = None


class Balance(Reading, frozen=True):
    """What is left of a benefit, in its units. `frequncy` and `transfered` are the vendor's spellings."""

    service: Maybe[Named] = None
    product: Maybe[Named] = None
    total: Maybe[Number] = None
    balance: Maybe[Number] = None
    redeemable_balance: Maybe[Number] = None
    used: Maybe[Number] = None
    transferred: Maybe[Number] = None
    _transferred: Maybe[Number] = field(default=None, name="transfered")
    expired: Maybe[Number] = None
    frequency: Maybe[str] = None
    _frequency: Maybe[str] = field(default=None, name="frequncy")
    last_usage_date: Maybe[Time] = None
    accrued_on: Maybe[Time] = None
    is_category: Maybe[bool] = None
    exists_in_current_center: Maybe[bool] = None


class Credit(Reading, frozen=True):
    """A member's credit in major units."""

    total: Maybe[Money] = None
    service: Maybe[Money] = None
    product: Maybe[Money] = None
    other: Maybe[Money] = None
    comments: Maybe[Personal] = None


class MembershipPlan(Reading, frozen=True):
    """What was bought. The vendor spells `OTP_required` and, in one place, `is_dicount_only_membership`."""

    id: Maybe[Id] = None
    name: Maybe[str] = None
    code: Maybe[str] = None
    type: Maybe[Number] = None
    otp_required: Maybe[bool] = None
    _otp_required: Maybe[bool] = field(default=None, name="OTP_required")
    is_discount_only_membership: Maybe[bool] = None
    _is_discount_only_membership: Maybe[bool] = field(default=None, name="is_dicount_only_membership")
    add_on_members_count: Maybe[Number] = None
    guestpass_total: Maybe[Number] = None
    guestpass_balance: Maybe[Number] = None
    lock_cycles: Maybe[Number] = None
    freeze_fee: Maybe[Money] = None


class Freeze(Reading, frozen=True):
    """From when to when (without a zone), and for which fee in major units."""

    start_date: Maybe[Time] = None
    end_date: Maybe[Time] = None
    type: Maybe[Number] = None
    fee: Maybe[Money] = None
    fee_type: Maybe[Number] = None
    comments: Maybe[Personal] = None
    froze_by: Maybe[Personal] = None


class Cancellation(Reading, frozen=True):
    """When it was requested and when it takes effect (without a zone), and by whom."""

    cancel_initiated_date: Maybe[Time] = None
    cancel_date: Maybe[Time] = None
    termination_date: Maybe[Time] = None
    reason: Maybe[str] = None
    cancelled_by: Maybe[Personal] = None


class Membership(Reading, frozen=True):
    """Guest.Membership.Created, Freeze, Unfreeze, Cancelled, Reinstate.

    https://docs.zenoti.com/reference/guest-membership-created; the others are published without an envelope, and
    Freeze, Unfreeze and Cancelled without their invoice. Dates have no zone; -1 means no recurrence.
    """

    guest_id: Maybe[Id] = None
    user_membership_id: Maybe[Id] = None
    group_user_membership_id: Maybe[Id] = None
    status: Maybe[Number] = None
    recurrence_status: Maybe[Number] = None
    is_refunded: Maybe[bool] = None
    has_digital_form: Maybe[bool] = None
    invoice: Maybe[InvoiceReference] = None
    membership: Maybe[MembershipPlan] = None
    purchase: Maybe[Purchase] = None
    sold_by: Maybe[Person] = None
    members: Maybe[tuple[Person, ...]] = None
    member_code: Maybe[str] = None
    credit_balance: Maybe[Credit] = None
    service_balance: Maybe[tuple[Balance, ...]] = None
    product_balance: Maybe[tuple[Balance, ...]] = None
    center: Maybe[Named] = None
    expiry_date: Maybe[Time] = None
    next_collection_date: Maybe[Time] = None
    pending_waive_collections: Maybe[Number] = None
    grace_period_date: Maybe[Time] = None
    grace_period_days: Maybe[Number] = None
    tc_acceptedon: Maybe[Time] = None
    freeze: Maybe[Freeze] = None
    cancel: Maybe[Cancellation] = None
    payments: Unread = UNSET
    payment_history: Unread = UNSET
    recurring_details: Unread = UNSET
    auto_renewal: Unread = UNSET


class GuestpassRedeemed(Reading, frozen=True):
    """Guestpass.redeemed (https://docs.zenoti.com/reference/guestpass-redemption).

    `session_id` is a number; counts are units of the benefit; `date` has no zone.
    """

    id: Maybe[Id] = None
    date: Maybe[Time] = None
    guestpass_id: Maybe[Id] = None
    guest_id: Maybe[Id] = None
    session_id: Maybe[Number] = None
    invoice_id: Maybe[Id] = None
    user_membership_id: Maybe[Id] = None
    membership: Maybe[Named] = None
    is_category: Maybe[bool] = None
    total: Maybe[Number] = None
    balance: Maybe[Number] = None
    used: Maybe[Number] = None
    transferred: Maybe[Number] = None
    _transferred: Maybe[Number] = field(default=None, name="transfered")
    expired: Maybe[Number] = None
    frequency: Maybe[str] = None
    _frequency: Maybe[str] = field(default=None, name="frequncy")
