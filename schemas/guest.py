"""The `data` of guest and employee events. Tolerant readings; most of what stands here is personal.

Source: https://docs.zenoti.com/reference/guest-created, …/employee-created and the pages beside them.
"""

from typing import Annotated

from msgspec import UNSET, field

from schemas.fields import PERSONAL, Id, Money, Number, Personal, Reading, Switch, Time, Unread
from schemas.invoice import Phone

AnyPhone = Personal | Phone


class PersonalInfo(Reading, frozen=True):
    """Who it is. A guest's birthday is spelled `date_of_birth`, an employee's `birth_date`; 0001-01-01 stands for none.

    Telephones are objects in employee events, an object or null in guest events, text elsewhere.
    """

    user_name: Personal | None = None
    first_name: Personal | None = None
    middle_name: Personal | None = None
    last_name: Personal | None = None
    nick_name: Personal | None = None
    notification_name: Personal | None = None
    email: Personal | None = None
    _email: Personal | None = field(default=None, name="guest_email")
    mobile_phone: AnyPhone | None = None
    work_phone: AnyPhone | None = None
    home_phone: AnyPhone | None = None
    gender: Annotated[Number, PERSONAL] | None = None
    date_of_birth: Annotated[Time, PERSONAL] | None = None
    _date_of_birth: Annotated[Time, PERSONAL] | None = field(default=None, name="birth_date")
    dob_incomplete_year: Personal | Annotated[int, PERSONAL] | None = None
    is_minor: bool | None = None
    nationality_id: Number | None = None
    anniversary_date: Annotated[Time, PERSONAL] | None = None
    lock_guest_custom_data: bool | None = None
    pan: Personal | None = None


class Address(Reading, frozen=True):
    """Where somebody lives. Country and state are Zenoti's own numbers, -1 stands for none."""

    address_1: Personal | None = None
    address_2: Personal | None = None
    city: Personal | None = None
    country_id: Number | None = None
    state_id: Number | None = None
    state_other: Personal | None = None
    zip_code: Personal | None = None


class Preferences(Reading, frozen=True):
    """What a guest agreed to receive. `…_optin` are Zenoti's own numbers; `recieve_lp_stmt` is how they spell it."""

    receive_transactional_email: bool | None = None
    receive_transactional_sms: bool | None = None
    receive_transactional_whatsapp: bool | None = None
    receive_marketing_email: bool | None = None
    receive_marketing_sms: bool | None = None
    receive_lp_stmt: bool | None = None
    _receive_lp_stmt: bool | None = field(default=None, name="recieve_lp_stmt")
    opt_in_for_loyalty_program: bool | None = None
    transactional_sms_optin: Number | None = None
    transactional_email_optin: Number | None = None
    transactional_whatsapp_optin: Number | None = None
    marketing_sms_optin: Number | None = None
    marketing_email_optin: Number | None = None


class Guest(Reading, frozen=True):
    """Guest.Created, .Updated, .Deleted, .Merged, .OptedIn, .OptedOut (https://docs.zenoti.com/reference/guest-created).

    The last three are published without a sample: they are read as the others. `_id` is a second, numeric id; it is
    `number` here. `created_date` bears no zone.
    """

    id: Id | None = None
    number: Number | None = field(default=None, name="_id")
    code: str | None = None
    center_id: Id | None = None
    center_name: str | None = None
    _center_name: str | None = field(default=None, name="center_Name")
    created_date: Time | None = None
    last_updated: Time | None = None
    personal_info: PersonalInfo | None = None
    address_info: Address | None = None
    preferences: Preferences | None = None


class Login(Reading, frozen=True):
    """How an employee signs in."""

    username: Personal | None = None


class Job(Reading, frozen=True):
    """An employee's post: pay in major units, hours and days as numbers; 0001-01-01T00:00:00 stands for no date."""

    job_id: Id | None = None
    job_name: str | None = None
    designation_id: Id | None = None
    company_name: str | None = None
    salary: Annotated[Money, PERSONAL] | None = None
    hourly_rate: Annotated[Money, PERSONAL] | None = None
    overtime_baseline_hours: Number | None = None
    overtime_type: Number | None = None
    overtime_multiplier: Number | None = None
    work_task_ids: Unread = UNSET
    request_therapist_bonus: Annotated[Money, PERSONAL] | None = None
    mandatory_break_period: Number | None = None
    is_eligible_for_additional_commission_bonus: bool | None = None
    _is_eligible_for_additional_commission_bonus: bool | None = field(
        default=None, name="is_elgible_for_additional_commision_bonus"
    )
    max_work_hours: Number | None = None
    target_revenue: Money | None = None
    vacation_days: Number | None = None
    special_leave_days: Number | None = None
    start_date: Time | None = None
    end_date: Time | None = None
    tenure_start_date: Time | None = None
    pay_type: Number | None = None


class Catalog(Reading, frozen=True):
    """How an employee is shown to guests."""

    show_in_catalog: Switch | None = None
    display_name: Personal | None = None
    description: str | None = None


class Employee(Reading, frozen=True):
    """Employee.Created, .Updated, .Deleted (https://docs.zenoti.com/reference/employee-created).

    `created_by` is all zeros where nobody is named. Preferences, payroll and roles are kept as bytes.
    """

    id: Id | None = None
    code: str | None = None
    center_id: Id | None = None
    is_consultant: bool | None = None
    created_by: Id | None = None
    personal_info: PersonalInfo | None = None
    address: Address | None = None
    _address: Address | None = field(default=None, name="address_info")
    login_info: Login | None = None
    job_info: Job | None = None
    catalog_info: Catalog | None = None
    vanity_image_url: str | None = None
    preference_info: Unread = UNSET
    payroll_info: Unread = UNSET
    roles: Unread = UNSET
