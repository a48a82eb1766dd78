"""Effects: one outside thing per file, strangers to each other. They wait and do not decide."""
