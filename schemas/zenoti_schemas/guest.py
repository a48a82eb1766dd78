"""The `data` of guest and employee events. Tolerant readings; most of these fields are personal.

Source: https://docs.zenoti.com/reference/guest-created, …/employee-created and the pages next to them.
"""

from typing import Annotated

from msgspec import UNSET, field

from zenoti_schemas.fields import PERSONAL, Id, Maybe, Money, Number, Personal, Reading, Switch, Time, Unread
from zenoti_schemas.invoice import Phone

AnyPhone = Personal | Phone


class PersonalInfo(Reading, frozen=True):
    """A person. A guest's birthday is spelled `date_of_birth`, an employee's `birth_date`; 0001-01-01 means none.

    Telephones are objects in employee events, objects or null in guest events, text elsewhere.
    """

    user_name: Maybe[Personal] = None
    first_name: Maybe[Personal] = None
    middle_name: Maybe[Personal] = None
    last_name: Maybe[Personal] = None
    nick_name: Maybe[Personal] = None
    notification_name: Maybe[Personal] = None
    email: Maybe[Personal] = None
    _email: Maybe[Personal] = field(default=None, name="guest_email")
    mobile_phone: Maybe[AnyPhone] = None
    work_phone: Maybe[AnyPhone] = None
    home_phone: Maybe[AnyPhone] = None
    gender: Maybe[Annotated[Number, PERSONAL]] = None
    date_of_birth: Maybe[Annotated[Time, PERSONAL]] = None
    _date_of_birth: Maybe[Annotated[Time, PERSONAL]] = field(default=None, name="birth_date")
    dob_incomplete_year: Maybe[Personal | Annotated[int, PERSONAL]] = None
    is_minor: Maybe[bool] = None
    nationality_id: Maybe[Number] = None
    anniversary_date: Maybe[Annotated[Time, PERSONAL]] = None
    lock_guest_custom_data: Maybe[bool] = None
    pan: Maybe[Personal] = None


class Address(Reading, frozen=True):
    """A person's address. Country and state are Zenoti's own numbers; -1 means none."""

    address_1: Maybe[Personal] = None
    address_2: Maybe[Personal] = None
    city: Maybe[Personal] = None
    country_id: Maybe[Number] = None
    state_id: Maybe[Number] = None
    state_other: Maybe[Personal] = None
    zip_code: Maybe[Personal] = None


class Preferences(Reading, frozen=True):
    """What a guest agreed to receive. `…_optin` are Zenoti's own numbers; `recieve_lp_stmt` is Zenoti's spelling."""

    receive_transactional_email: Maybe[bool] = None
    receive_transactional_sms: Maybe[bool] = None
    receive_transactional_whatsapp: Maybe[bool] = None
    receive_marketing_email: Maybe[bool] = None
    receive_marketing_sms: Maybe[bool] = None
    receive_lp_stmt: Maybe[bool] = None
    _receive_lp_stmt: Maybe[bool] = field(default=None, name="recieve_lp_stmt")
    opt_in_for_loyalty_program: Maybe[bool] = None
    transactional_sms_optin: Maybe[Number] = None
    transactional_email_optin: Maybe[Number] = None
    transactional_whatsapp_optin: Maybe[Number] = None
    marketing_sms_optin: Maybe[Number] = None
    marketing_email_optin: Maybe[Number] = None


class Guest(Reading, frozen=True):
    """Guest.Created, .Updated, .Deleted, .Merged, .OptedIn, .OptedOut (https://docs.zenoti.com/reference/guest-created).

    The last three are published without a sample, and are read like the others. `_id` is a second, numeric id; it is
    `number` here. `created_date` has no zone.
    """

    id: Maybe[Id] = None
    number: Maybe[Number] = field(default=None, name="_id")
    code: Maybe[str] = None
    center_id: Maybe[Id] = None
    center_name: Maybe[str] = None
    _center_name: Maybe[str] = field(default=None, name="center_Name")
    created_date: Maybe[Time] = None
    last_updated: Maybe[Time] = None
    personal_info: Maybe[PersonalInfo] = None
    address_info: Maybe[Address] = None
    preferences: Maybe[Preferences] = None


class Login(Reading, frozen=True):
    """How an employee signs in."""

    username: Maybe[Personal] = None


class Job(Reading, frozen=True):
    """An employee's job: pay in major units, hours and days as numbers; 0001-01-01T00:00:00 means no date."""

    job_id: Maybe[Id] = None
    job_name: Maybe[str] = None
    designation_id: Maybe[Id] = None
    company_name: Maybe[str] = None
    salary: Maybe[Annotated[Money, PERSONAL]] = None
    hourly_rate: Maybe[Annotated[Money, PERSONAL]] = None
    overtime_baseline_hours: Maybe[Number] = None
    overtime_type: Maybe[Number] = None
    overtime_multiplier: Maybe[Number] = None
    work_task_ids: Unread = UNSET
    request_therapist_bonus: Maybe[Annotated[Money, PERSONAL]] = None
    mandatory_break_period: Maybe[Number] = None
    is_eligible_for_additional_commission_bonus: Maybe[bool] = None
    _is_eligible_for_additional_commission_bonus: Maybe[bool] = field(
        default=None, name="is_elgible_for_additional_commision_bonus"
    )
    max_work_hours: Maybe[Number] = None
    target_revenue: Maybe[Money] = None
    vacation_days: Maybe[Number] = None
    special_leave_days: Maybe[Number] = None
    start_date: Maybe[Time] = None
    end_date: Maybe[Time] = None
    tenure_start_date: Maybe[Time] = None
    pay_type: Maybe[Number] = None


class Catalog(Reading, frozen=True):
    """How an employee is shown to guests."""

    show_in_catalog: Maybe[Switch] = None
    display_name: Maybe[Personal] = None
    description: Maybe[str] = None


class Employee(Reading, frozen=True):
    """Employee.Created, .Updated, .Deleted (https://docs.zenoti.com/reference/employee-created).

    `created_by` is all zeros if it names nobody. Preferences, payroll and roles are kept as bytes.
    """

    id: Maybe[Id] = None
    code: Maybe[str] = None
    center_id: Maybe[Id] = None
    is_consultant: Maybe[bool] = None
    created_by: Maybe[Id] = None
    personal_info: Maybe[PersonalInfo] = None
    address: Maybe[Address] = None
    _address: Maybe[Address] = field(default=None, name="address_info")
    login_info: Maybe[Login] = None
    job_info: Maybe[Job] = None
    catalog_info: Maybe[Catalog] = None
    vanity_image_url: Maybe[str] = None
    preference_info: Unread = UNSET
    payroll_info: Unread = UNSET
    roles: Unread = UNSET
