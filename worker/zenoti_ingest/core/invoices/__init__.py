"""The calls to the invoice API: what they ask, when they may go, and which process makes them."""
