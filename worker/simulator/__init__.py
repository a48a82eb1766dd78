"""A Zenoti of our own: synthetic visits, their webhooks, and the invoice API that knows them.

`world` invents and remembers (pure), `api` answers, `webhooks` posts. Nothing of it is needed, or imported, to ingest.
"""
