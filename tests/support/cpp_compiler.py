"""Whether what torch compiles on the processor can be compiled here."""

import pytest
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler


def needs_cpp_compiler() -> None:
    """Skip the test that calls this, aloud, where there is no C++ compiler: nothing else can do its work."""
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        pytest.skip("NOT TESTED HERE: compiling ahead of time needs a C++ compiler, and there is none")
