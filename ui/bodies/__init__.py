"""What is drawn on one page, by that page's name (``words`` serves Heads as well)."""
