"""What is asked of the invoice API, when, and by whom."""
