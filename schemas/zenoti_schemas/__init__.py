"""The wire: every shape that crosses a process border, as msgspec Structs and nothing else.

A downstream service can use it alone: it is a distribution of its own, zenoti-schemas, that needs only msgspec.
Readers are tolerant (unknown fields are not an error, every field can be absent); the writer is strict. Money is a
Decimal, ids and times are text as received, and each key has a single spelling, whatever the vendor writes:

>>> from zenoti_schemas import downstream
>>> from zenoti_schemas.fields import personal
>>> from zenoti_schemas.webhook import InvoiceClosed
>>> body = b'''{
...   "specversion": "1.0", "id": "64f1c0de5a5e0a0001ab0001", "source": "/zenoti/main",
...   "type": "com.zenoti.invoice.closed", "datacontenttype": "application/json",
...   "dataschema": "urn:zenoti-ingest:enriched-event:v1",
...   "data": {
...     "event": {"event_type": "Invoice.Closed", "data": {"invoice": {
...       "id": "A1", "total_price": {"sum_total": 488.10}, "guest": {"guest_email": "ada@example.com"},
...       "appointments": [{"TherapistId": "T1", "serviceduration_in_miutes": 45.0}]}}},
...     "invoice": {"id": "a1", "is_closed": true, "newer_field": 0.1},
...     "enrichment": {"status": "enriched"}}}'''
>>> delivered = downstream.read(body)
>>> match delivered.event:
...     case InvoiceClosed(invoice=closed) if closed and closed.total_price and closed.guest and closed.appointments:
...         closed.total_price.sum_total, closed.guest.email, closed.appointments[0].service_duration_in_minutes
(Decimal('488.10'), 'ada@example.com', 45)
>>> delivered.invoice.is_closed, delivered.invoice.invoice_items, delivered.unread
(True, None, ())

A field with a value of another type is UNSET, which is false like None, and `unread` names it; nothing else is lost:

>>> odd = downstream.read(body.replace(b"488.10", b'"NaN"'))
>>> odd.event.invoice.total_price.sum_total, odd.unread
(UNSET, ('data.event.data.invoice.total_price.sum_total',))
>>> odd.event.invoice.guest.email
'ada@example.com'
>>> "invoice.guest.email" in personal(InvoiceClosed)
True
"""
