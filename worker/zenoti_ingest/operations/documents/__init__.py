"""Documents that are made from the code: what is on the wire, on the broker and at the door."""
