"""Effects: one outside system per package. Adapters wait and do not decide, and never import each other."""
