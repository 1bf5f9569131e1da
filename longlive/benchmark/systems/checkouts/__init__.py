"""Programs that run a system from its authors' checkout, in that checkout's own Python.

None of them imports ours: they stand alone, and print what they measured as one line of JSON.
"""
