"""A simulated Zenoti: synthetic visits, their webhooks, and the invoice API that knows them.

These modules are pure: `world` invents and remembers, `plans` decides what is sent when, `switches` and `board` set how
everything behaves. `api` answers, with `faults`; `webhooks` posts, `registration` follows the vendor's rules, `sending`
carries out a plan; `control` and `listener` serve. The worker never imports or needs any of it to ingest.
"""
