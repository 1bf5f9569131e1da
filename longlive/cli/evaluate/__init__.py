"""The command ``evaluate WHAT``: a module for each table or measure, registered in ``command``."""
