"""Command line: one module per verb, each a thin shell over one library function.

A verb's module has two functions: ``add_arguments(parser)`` declares its options, and
``execute(arguments)`` calls the library, prints, and returns the exit code. Its docstring is its help.
"""
