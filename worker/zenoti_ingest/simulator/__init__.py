"""A Zenoti of our own: synthetic visits, their webhooks, and the invoice API that knows them.

`world` invents and remembers, `plans` says what is sent when, `switches` and `board` how all behaves (pure);
`api` answers, with `faults`; `webhooks` posts, `registration` keeps the vendor's rules, `sending` carries a plan out;
`control` and `listener` serve. Nothing of it is needed, or imported, to ingest.
"""
