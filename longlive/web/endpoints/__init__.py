"""What the page and programs call."""
